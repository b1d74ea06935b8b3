//! Which sockets are ready. A thin layer over epoll, level-triggered, so that work may stop at any bound and go on in
//! the next turn.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fs::Timespec;

use crate::table::Key;

/// Most events that one turn handles. What is left is reported again in the next one.
pub(crate) const EVENTS_A_TURN_MAX: usize = 256;

/// What a registered descriptor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A socket on which strangers or programs are heard.
    Listener,
    /// A socket of one flow.
    Flow,
    /// Another thread has something to say.
    Wake,
}

/// Names a registered descriptor for as long as its key means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
}

impl Token {
    fn pack(self) -> u64 {
        let kind = match self.kind {
            Kind::Listener => 0,
            Kind::Flow => 1,
            Kind::Wake => 2,
        };
        kind << 62 | self.key.pack()
    }

    fn unpack(word: u64) -> Self {
        let kind = match word >> 62 {
            0 => Kind::Listener,
            1 => Kind::Flow,
            _ => Kind::Wake,
        };
        Self { kind, key: Key::unpack(word) }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    /// Something can be read, errors included.
    pub(crate) readable: bool,
    /// There is room to write.
    pub(crate) writable: bool,
}

/// The set of watched descriptors.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor for reading.
    pub(crate) fn add(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(token.pack()), EventFlags::IN)?)
    }

    /// Changes whether a watched descriptor is also watched for writing.
    pub(crate) fn watch_writing(&self, descriptor: impl AsFd, token: Token, writing: bool) -> io::Result<()> {
        let flags = if writing { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.epoll, descriptor, EventData::new_u64(token.pack()), flags)?)
    }

    /// Ends watching. A descriptor that is not watched is none of its business.
    pub(crate) fn remove(&self, descriptor: impl AsFd) {
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Waits for events, at most `timeout`, and puts them into `ready`.
    pub(crate) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        // Rounded up: waking before a deadline would be waking twice.
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut room = [MaybeUninit::<Event>::uninit(); EVENTS_A_TURN_MAX];
        let events = match epoll::wait(&self.epoll, &mut room[..], timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            Ready {
                token: Token::unpack(data.u64()),
                readable: flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP),
                writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn interest_in_writing_is_changed_and_never_added_twice() -> io::Result<()> {
        let poller = Poller::new()?;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
        let token = Token { kind: Kind::Flow, key: Table::new().insert(()) };
        poller.add(&socket, token)?;
        let mut ready = Vec::new();
        for writing in [false, true, true, false] {
            poller.watch_writing(&socket, token, writing)?;
            poller.wait(Some(Duration::ZERO), &mut ready)?;
            let expected = Ready { token, readable: false, writable: true };
            assert_eq!(ready, if writing { vec![expected] } else { vec![] });
        }
        poller.remove(&socket);
        poller.remove(&socket);
        Ok(())
    }
}
