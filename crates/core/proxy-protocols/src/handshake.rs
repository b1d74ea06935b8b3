//! The first words between an application and a proxy port, whichever protocol it speaks.

use crate::access::{Access, Identity};
use crate::answer::Protocol;
use crate::http_connect;
use crate::socks5::{self, Method};
use thiserror::Error;
use wire::flow::{Destination, Host, HostName};

/// What the application wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A TCP connection to the destination.
    Connect,
    /// A UDP association (SOCKS5 only). The destination is where the application will send *from*, often
    /// unspecified; it is a hint that nothing relies on.
    UdpAssociate,
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How the answer must be written.
    pub protocol: Protocol,
    /// What is wanted.
    pub command: Command,
    /// Where to. An address that was sent in the form of a name stands here as an address.
    pub destination: Destination,
    /// Who asks.
    pub identity: Identity,
}

/// Why a handshake ended without a request. Always the application's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum RefusalCause {
    /// The first byte belongs to neither protocol.
    #[error("neither SOCKS5 nor HTTP")]
    UnknownProtocol,
    /// SOCKS4, or a version of HTTP other than 1.0 and 1.1.
    #[error("a protocol version that is not served")]
    Version,
    /// A login is required and was not offered.
    #[error("no login was offered")]
    NoLogin,
    /// Unknown user or wrong password.
    #[error("the login is wrong")]
    WrongLogin,
    /// SOCKS5 BIND, or an HTTP method other than CONNECT.
    #[error("a command that is not served")]
    Command,
    /// The destination is no address and no host name, or its port is missing.
    #[error("not a destination")]
    Destination,
    /// A field has a value that the protocol forbids.
    #[error("a malformed request")]
    Malformed,
    /// The head of an HTTP request is longer than [`crate::handshake::HEAD_MAX`].
    #[error("a request that is too long")]
    TooLong,
}

impl RefusalCause {
    /// Every cause, for counters.
    pub const ALL: [Self; 8] = [
        Self::UnknownProtocol,
        Self::Version,
        Self::NoLogin,
        Self::WrongLogin,
        Self::Command,
        Self::Destination,
        Self::Malformed,
        Self::TooLong,
    ];
}

/// The end of a handshake without a request: send `reply` (it may be empty), then close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the application can be told in its own protocol.
    pub reply: Vec<u8>,
    /// Why.
    pub cause: RefusalCause,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until more bytes come.
    NeedMore,
    /// Send these bytes, then poll again: what follows may have arrived already.
    Reply(Vec<u8>),
    /// The request is complete. Bytes that came behind it are [`Handshake::into_leftover`].
    Ready(Request),
    /// The handshake has failed.
    Refused(Refusal),
}

/// Bytes of the longest HTTP request head. SOCKS5 messages are shorter by their own length fields.
pub const HEAD_MAX: usize = 8 * 1024;

/// One connection's handshake.
///
/// Feed with [`Self::handle_bytes`], then [`Self::poll_step`] until it says `NeedMore`, `Ready` or
/// `Refused`; after the last two it is over. Polled like that it never holds more than [`HEAD_MAX`] bytes
/// and the last piece that was fed.
#[derive(Debug)]
pub struct Handshake {
    buffer: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Detect,
    Greeting,
    Login,
    Request(Identity),
    /// `scanned` bytes of the buffer hold no end of the head.
    Http {
        scanned: usize,
    },
    Over,
}

impl Default for Handshake {
    fn default() -> Self {
        Self::new()
    }
}

impl Handshake {
    /// Waits for the first byte. Allocates nothing before it comes.
    pub fn new() -> Self {
        Self { buffer: Vec::new(), state: State::Detect }
    }

    /// Takes the next bytes of the connection.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What to do next. After `Ready` or `Refused` always `NeedMore`.
    pub fn poll_step(&mut self, access: &Access) -> Step {
        if matches!(self.state, State::Detect) {
            match self.detect() {
                Ok(Some(state)) => self.state = state,
                Ok(None) => return Step::NeedMore,
                Err(refusal) => return self.refuse(refusal),
            }
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Detect | State::Over => Step::NeedMore,
            State::Greeting => match socks5::parse_greeting(&self.buffer, access) {
                Parsed::Incomplete => self.wait(State::Greeting),
                Parsed::Done(method, length) => {
                    let next = match method {
                        Method::NoLogin => State::Request(Identity::Anonymous),
                        Method::Login => State::Login,
                    };
                    self.reply(method.reply(), length, next)
                }
                Parsed::Refused(refusal) => self.refuse(refusal),
            },
            State::Login => match socks5::parse_login(&self.buffer, access) {
                Parsed::Incomplete => self.wait(State::Login),
                Parsed::Done(identity, length) => {
                    self.reply(socks5::LOGIN_ACCEPTED.to_vec(), length, State::Request(identity))
                }
                Parsed::Refused(refusal) => self.refuse(refusal),
            },
            State::Request(identity) => match socks5::parse_request(&self.buffer) {
                Parsed::Incomplete => self.wait(State::Request(identity)),
                Parsed::Done((command, destination), length) => {
                    self.buffer.drain(..length);
                    Step::Ready(Request { protocol: Protocol::Socks5, command, destination, identity })
                }
                Parsed::Refused(refusal) => self.refuse(refusal),
            },
            State::Http { scanned } => match http_connect::parse_head(&self.buffer, scanned, access) {
                Parsed::Incomplete => self.wait(State::Http { scanned: self.buffer.len() }),
                Parsed::Done((destination, identity), length) => {
                    self.buffer.drain(..length);
                    let command = Command::Connect;
                    Step::Ready(Request { protocol: Protocol::HttpConnect, command, destination, identity })
                }
                Parsed::Refused(refusal) => self.refuse(refusal),
            },
        }
    }

    /// Bytes that came behind the request: the first that belong to the destination.
    pub fn into_leftover(self) -> Vec<u8> {
        self.buffer
    }

    fn detect(&self) -> Result<Option<State>, Refusal> {
        match self.buffer.first() {
            None => Ok(None),
            Some(&socks5::VERSION) => Ok(Some(State::Greeting)),
            Some(4) => Err(Refusal { reply: socks5::SOCKS4_REJECTED.to_vec(), cause: RefusalCause::Version }),
            Some(byte) if byte.is_ascii_alphabetic() => Ok(Some(State::Http { scanned: 0 })),
            // Whatever this is, no answer of ours would be understood.
            Some(_) => Err(Refusal { reply: Vec::new(), cause: RefusalCause::UnknownProtocol }),
        }
    }

    fn wait(&mut self, state: State) -> Step {
        self.state = state;
        Step::NeedMore
    }

    fn reply(&mut self, bytes: Vec<u8>, consumed: usize, next: State) -> Step {
        self.buffer.drain(..consumed);
        self.state = next;
        Step::Reply(bytes)
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.buffer = Vec::new();
        self.state = State::Over;
        Step::Refused(refusal)
    }
}

/// What a parser makes of the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parsed<T> {
    /// They end before the message does.
    Incomplete,
    /// The message, and how many bytes it took.
    Done(T, usize),
    /// They can never become a message.
    Refused(Refusal),
}

/// The host that a name stands for: programs put addresses into name fields, with and without brackets.
pub(crate) fn host_of_text(text: &str) -> Option<Host> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Some(Host::Ip(address));
    }
    HostName::new(text).ok().map(Host::Name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All replies and the end of a handshake that is given `pieces` one after the other.
    fn run(access: &Access, pieces: &[&[u8]]) -> (Vec<u8>, Option<Step>, Vec<u8>) {
        let mut handshake = Handshake::new();
        let mut replies = Vec::new();
        let mut end = None;
        for piece in pieces {
            handshake.handle_bytes(piece);
            loop {
                match handshake.poll_step(access) {
                    Step::NeedMore => break,
                    Step::Reply(bytes) => replies.extend(bytes),
                    step @ (Step::Ready(_) | Step::Refused(_)) => end = Some(step),
                }
            }
        }
        (replies, end, handshake.into_leftover())
    }

    #[test]
    fn the_first_byte_tells_the_protocol() {
        let access = Access::open();
        let (_, end, _) = run(&access, &[&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80]]);
        assert!(matches!(end, Some(Step::Ready(Request { protocol: Protocol::Socks5, .. }))));
        let (_, end, _) = run(&access, &[b"CONNECT a:1 HTTP/1.1\r\n\r\n"]);
        assert!(matches!(end, Some(Step::Ready(Request { protocol: Protocol::HttpConnect, .. }))));
        let (_, end, _) = run(&access, &[&[4, 1, 0, 80]]);
        let reply = socks5::SOCKS4_REJECTED.to_vec();
        assert_eq!(end, Some(Step::Refused(Refusal { reply, cause: RefusalCause::Version })));
        for first in [0u8, 1, 3, 6, 0x16, b' ', b'\r', 0x80, 0xff] {
            let (_, end, _) = run(&access, &[&[first, 1, 2, 3]]);
            let refusal = Refusal { reply: Vec::new(), cause: RefusalCause::UnknownProtocol };
            assert_eq!(end, Some(Step::Refused(refusal)), "first byte {first}");
        }
    }

    #[test]
    fn nothing_happens_after_the_end() {
        let access = Access::open();
        let mut handshake = Handshake::new();
        handshake.handle_bytes(&[0xff]);
        assert!(matches!(handshake.poll_step(&access), Step::Refused(_)));
        handshake.handle_bytes(&[5, 1, 0]);
        assert_eq!(handshake.poll_step(&access), Step::NeedMore);
    }

    #[test]
    fn an_address_in_a_name_field_is_an_address() {
        let is_address = |text: &str| host_of_text(text).map(|host| matches!(host, Host::Ip(_)));
        assert_eq!(is_address("127.0.0.1"), Some(true));
        assert_eq!(is_address("[::1]"), Some(true));
        assert_eq!(is_address("127.0.0.1.example"), Some(false));
        assert_eq!(is_address(""), None);
    }

    fn any_handshake() -> impl Strategy<Value = Vec<u8>> {
        let name = "[a-z]{1,30}(\\.[a-z]{1,20}){0,3}";
        let socks = (name, any::<u16>(), any::<bool>()).prop_map(|(name, port, login)| {
            let mut bytes = if login { vec![5, 1, 2, 1, 1, b'u', 1, b'p'] } else { vec![5, 2, 0, 9] };
            bytes.extend([5, 1, 0, 3, name.len() as u8]);
            bytes.extend(name.as_bytes());
            bytes.extend(port.to_be_bytes());
            bytes
        });
        let http = (name, any::<u16>(), "[A-Za-z-]{1,20}", "[ -~]{0,80}").prop_map(|(name, port, field, value)| {
            format!("CONNECT {name}:{port} HTTP/1.1\r\nX-{field}: {value}\r\n\r\n").into_bytes()
        });
        prop_oneof![socks, http]
    }

    proptest! {
        /// Where the network cuts a request changes nothing.
        #[test]
        fn pieces_do_not_matter(mut bytes in any_handshake(), cuts in proptest::collection::vec(any::<usize>(), 0..6), tail in proptest::collection::vec(any::<u8>(), 0..20)) {
            bytes.extend(&tail);
            let access = Access::open();
            let whole = run(&access, &[&bytes]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(run(&access, &pieces), whole);
        }

        #[test]
        fn any_bytes_end_in_an_answer_or_wait(bytes in proptest::collection::vec(any::<u8>(), 0..600), first in prop_oneof![Just(5u8), Just(b'C'), any::<u8>()], required in any::<bool>()) {
            let logins = [("u".to_owned(), "p".to_owned())];
            let access = Access::new(&logins, required).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let _ = run(&access, &[&[first], &bytes]);
        }
    }
}
