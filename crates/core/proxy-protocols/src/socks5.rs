//! SOCKS5 (RFC 1928) and its login by user name and password (RFC 1929): the parsers of the three
//! messages that an application sends, and the replies.

pub mod datagram;

use crate::access::{Access, Identity};
use crate::handshake::{Command, Parsed, Refusal, RefusalCause, host_of_text};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use wire::flow::{Destination, Host};
use wire::read::{DecodeError, Reader};

/// First byte of every SOCKS5 message but those of the login.
pub const VERSION: u8 = 5;

/// Reply codes of RFC 1928, section 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyCode {
    /// The destination answered.
    Succeeded = 0,
    /// Something that no other code names.
    GeneralFailure = 1,
    /// The exit's policy forbids the destination.
    NotAllowed = 2,
    /// There is no way to the destination's network.
    NetworkUnreachable = 3,
    /// The destination cannot be reached, or its name is unknown.
    HostUnreachable = 4,
    /// The destination refused.
    ConnectionRefused = 5,
    /// The destination did not answer in time.
    TtlExpired = 6,
    /// BIND, or a command that does not exist.
    CommandNotSupported = 7,
    /// An address type that does not exist.
    AddressTypeNotSupported = 8,
}

/// A reply to a request. `bound` is the address that RFC 1928 calls BND.ADDR and BND.PORT.
pub fn reply(code: ReplyCode, bound: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![VERSION, code as u8, 0];
    Destination::from(bound).encode(&mut bytes);
    bytes
}

/// A reply without a bound address.
pub fn failure(code: ReplyCode) -> Vec<u8> {
    reply(code, SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
}

/// Rejects a SOCKS4 request (code 91), so that its sender does not wait.
pub(crate) const SOCKS4_REJECTED: [u8; 8] = [0, 91, 0, 0, 0, 0, 0, 0];
/// Answers a right login (RFC 1929, section 2).
pub(crate) const LOGIN_ACCEPTED: [u8; 2] = [LOGIN_VERSION, 0];

const LOGIN_VERSION: u8 = 1;
const LOGIN_REFUSED: [u8; 2] = [LOGIN_VERSION, 1];
const METHOD_NONE: u8 = 0;
const METHOD_LOGIN: u8 = 2;
const NO_ACCEPTABLE_METHOD: [u8; 2] = [VERSION, 0xff];
const COMMAND_CONNECT: u8 = 1;
const COMMAND_UDP_ASSOCIATE: u8 = 3;
const ADDRESS_IPV4: u8 = 1;
const ADDRESS_NAME: u8 = 3;
const ADDRESS_IPV6: u8 = 4;

/// The method that was chosen from an application's greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    NoLogin,
    Login,
}

impl Method {
    pub(crate) fn reply(self) -> Vec<u8> {
        let method = match self {
            Self::NoLogin => METHOD_NONE,
            Self::Login => METHOD_LOGIN,
        };
        vec![VERSION, method]
    }
}

/// `version 1 | count 1 | methods`. A login is preferred where it is offered: it may name a known user.
pub(crate) fn parse_greeting(bytes: &[u8], access: &Access) -> Parsed<Method> {
    let mut reader = Reader::new(bytes);
    let Ok(methods) = read_greeting(&mut reader) else { return Parsed::Incomplete };
    let length = bytes.len() - reader.rest().len();
    if methods.contains(&METHOD_LOGIN) {
        return Parsed::Done(Method::Login, length);
    }
    if methods.contains(&METHOD_NONE) && !access.is_required() {
        return Parsed::Done(Method::NoLogin, length);
    }
    refused(NO_ACCEPTABLE_METHOD.to_vec(), RefusalCause::NoLogin)
}

/// `version 1 | length 1 | user | length 1 | password`.
pub(crate) fn parse_login(bytes: &[u8], access: &Access) -> Parsed<Identity> {
    if bytes.first().is_some_and(|version| *version != LOGIN_VERSION) {
        return refused(LOGIN_REFUSED.to_vec(), RefusalCause::Malformed);
    }
    let mut reader = Reader::new(bytes);
    let Ok((user, password)) = read_login(&mut reader) else { return Parsed::Incomplete };
    match access.identify(user, password) {
        Some(identity) => Parsed::Done(identity, bytes.len() - reader.rest().len()),
        None => refused(LOGIN_REFUSED.to_vec(), RefusalCause::WrongLogin),
    }
}

/// `version 1 | command 1 | reserved 1 | address`. The reserved byte is not looked at. A command or an
/// address type that is not served is refused before the rest has come.
pub(crate) fn parse_request(bytes: &[u8]) -> Parsed<(Command, Destination)> {
    let Some(version) = bytes.first() else { return Parsed::Incomplete };
    if *version != VERSION {
        return refused(failure(ReplyCode::GeneralFailure), RefusalCause::Malformed);
    }
    let command = match bytes.get(1) {
        None => return Parsed::Incomplete,
        Some(&COMMAND_CONNECT) => Command::Connect,
        Some(&COMMAND_UDP_ASSOCIATE) => Command::UdpAssociate,
        Some(_) => return refused(failure(ReplyCode::CommandNotSupported), RefusalCause::Command),
    };
    match bytes.get(3) {
        None => return Parsed::Incomplete,
        Some(&(ADDRESS_IPV4 | ADDRESS_NAME | ADDRESS_IPV6)) => {}
        Some(_) => return refused(failure(ReplyCode::AddressTypeNotSupported), RefusalCause::Destination),
    }
    let mut reader = Reader::new(&bytes[3..]);
    let destination = match decode_destination(&mut reader) {
        Ok(destination) => destination,
        Err(DecodeError::Truncated) => return Parsed::Incomplete,
        Err(_) => return refused(failure(ReplyCode::GeneralFailure), RefusalCause::Destination),
    };
    if command == Command::Connect && destination.port == 0 {
        return refused(failure(ReplyCode::GeneralFailure), RefusalCause::Destination);
    }
    Parsed::Done((command, destination), bytes.len() - reader.rest().len())
}

/// A destination in the form of RFC 1928, section 5, with addresses that were sent as names put right.
fn decode_destination(reader: &mut Reader<'_>) -> Result<Destination, DecodeError> {
    let destination = Destination::decode(reader)?;
    let host = match destination.host {
        Host::Ip(address) => Host::Ip(address),
        Host::Name(name) => host_of_text(name.as_str()).ok_or(DecodeError::Range("host name"))?,
    };
    Ok(Destination { host, port: destination.port })
}

fn read_greeting<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let _version = reader.u8()?;
    let count = usize::from(reader.u8()?);
    reader.take(count)
}

fn read_login<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let _version = reader.u8()?;
    let length = usize::from(reader.u8()?);
    let user = reader.take(length)?;
    let length = usize::from(reader.u8()?);
    Ok((user, reader.take(length)?))
}

fn refused<T>(reply: Vec<u8>, cause: RefusalCause) -> Parsed<T> {
    Parsed::Refused(Refusal { reply, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::UserName;

    fn login_access(required: bool) -> Access {
        Access::new(&[("ann".to_owned(), "one".to_owned())], required).expect("one login")
    }

    #[test]
    fn a_greeting_is_answered_with_a_method_or_refused() {
        let open = Access::open();
        assert_eq!(parse_greeting(&[5], &open), Parsed::Incomplete);
        assert_eq!(parse_greeting(&[5, 2, 0], &open), Parsed::Incomplete);
        assert_eq!(parse_greeting(&[5, 1, 0, 9, 9], &open), Parsed::Done(Method::NoLogin, 3));
        assert_eq!(parse_greeting(&[5, 2, 0, 2], &open), Parsed::Done(Method::Login, 4));
        let none = refused(vec![5, 0xff], RefusalCause::NoLogin);
        assert_eq!(parse_greeting(&[5, 0], &open), none);
        assert_eq!(parse_greeting(&[5, 1, 1], &open), none);
        assert_eq!(parse_greeting(&[5, 1, 0], &login_access(true)), none);
        assert_eq!(parse_greeting(&[5, 1, 0], &login_access(false)), Parsed::Done(Method::NoLogin, 3));
    }

    #[test]
    fn a_login_is_checked() {
        let access = login_access(true);
        let user = UserName::new(b"ann").expect("a short name");
        let right = [1, 3, b'a', b'n', b'n', 3, b'o', b'n', b'e', 5];
        assert_eq!(parse_login(&right, &access), Parsed::Done(Identity::User(user), 9));
        for cut in 0..9 {
            assert_eq!(parse_login(&right[..cut], &access), Parsed::Incomplete, "cut at {cut}");
        }
        let wrong = [1, 3, b'a', b'n', b'n', 3, b't', b'w', b'o'];
        assert_eq!(parse_login(&wrong, &access), refused(vec![1, 1], RefusalCause::WrongLogin));
        assert_eq!(parse_login(&[5], &access), refused(vec![1, 1], RefusalCause::Malformed));
    }

    #[test]
    fn requests_of_all_address_types_are_read() {
        let ipv4 = [5, 1, 0, 1, 127, 0, 0, 1, 0, 80, 77];
        let destination = Destination::from(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(parse_request(&ipv4), Parsed::Done((Command::Connect, destination), 10));
        let mut ipv6 = vec![5, 3, 0, 4];
        ipv6.extend([0; 18]);
        let destination = Destination::from(SocketAddr::from(([0u16; 8], 0)));
        assert_eq!(parse_request(&ipv6), Parsed::Done((Command::UdpAssociate, destination), 22));
        let name = [5, 1, 0, 3, 2, b'a', b'b', 1, 2];
        let Parsed::Done((_, destination), 9) = parse_request(&name) else { panic!("a whole request") };
        assert_eq!(destination.to_string(), "ab:258");
        let address_as_name = [5, 1, 0, 3, 3, b':', b':', b'1', 0, 9];
        let Parsed::Done((_, destination), 10) = parse_request(&address_as_name) else { panic!("a whole request") };
        assert_eq!(destination, Destination::from(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1u16], 9))));
    }

    #[test]
    fn the_longest_name_is_read_and_bad_ones_are_refused() {
        let mut longest = vec![5, 1, 0, 3, 255];
        longest.extend([b'n'; 255]);
        longest.extend([0, 80]);
        for cut in 0..longest.len() {
            assert_eq!(parse_request(&longest[..cut]), Parsed::Incomplete, "cut at {cut}");
        }
        assert!(matches!(parse_request(&longest), Parsed::Done(_, 262)));
        let bad = refused(failure(ReplyCode::GeneralFailure), RefusalCause::Destination);
        assert_eq!(parse_request(&[5, 1, 0, 3, 0, 0, 80]), bad);
        assert_eq!(parse_request(&[5, 1, 0, 3, 1, b' ', 0, 80]), bad);
        assert_eq!(parse_request(&[5, 1, 0, 3, 1, 0xff, 0, 80]), bad);
        assert_eq!(parse_request(&[5, 1, 0, 1, 1, 2, 3, 4, 0, 0]), bad);
    }

    #[test]
    fn what_is_not_served_is_refused_with_its_code() {
        let code = |bytes: &[u8]| match parse_request(bytes) {
            Parsed::Refused(refusal) => refusal.reply[1],
            other => panic!("not refused: {other:?}"),
        };
        assert_eq!(code(&[5, 2]), 7);
        assert_eq!(code(&[5, 0]), 7);
        assert_eq!(code(&[5, 1, 0, 2]), 8);
        assert_eq!(code(&[4, 1]), 1);
        assert_eq!(failure(ReplyCode::HostUnreachable), [5, 4, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}
