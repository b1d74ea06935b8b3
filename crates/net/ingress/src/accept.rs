//! Listening sockets: accepting, and what happens when the system refuses to.

use crate::clients::ClientKey;
use flow_pump::socket::Socket;
use flow_pump::swappable::{Introductions, Swappable};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// First pause after the system had no descriptor or no memory for a connection; it doubles with each further
/// refusal, up to [`PAUSE_MAX`]. Connections wait in the kernel meanwhile.
pub(crate) const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listening socket under tokio.
pub(crate) enum AnyListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection with whoever is at its other end.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    pub(crate) client: ClientKey,
    /// Own and far address; a unix socket has none.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
}

impl AnyListener {
    /// Takes one connection. Cancel-safe.
    pub(crate) async fn accept(&self, introductions: &Rc<Introductions>) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, far) = listener.accept().await?;
                let own = stream.local_addr()?;
                let client = ClientKey::of_address(far);
                Ok(Accepted { socket: Socket::tcp(stream)?, client, addresses: Some((own, far)) })
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let client = ClientKey::LocalUser(stream.peer_cred()?.uid());
                let socket = Socket::Swappable(Box::new(Swappable::new(stream, introductions.clone())));
                Ok(Accepted { socket, client, addresses: None })
            }
        }
    }
}

/// How long to pause after `error`, when the last pause was `last`. `None`: the error is about one connection only.
pub(crate) fn pause_after(error: &io::Error, last: Option<Duration>) -> Option<Duration> {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            Some(last.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn only_a_lack_of_resources_pauses_and_pauses_grow_to_a_bound() {
        let full = io::Error::from(Errno::MFILE);
        let mut pause = None;
        for _ in 0..10 {
            pause = pause_after(&full, pause);
        }
        assert_eq!(pause_after(&full, None), Some(PAUSE_MIN));
        assert_eq!(pause, Some(PAUSE_MAX));
        assert_eq!(pause_after(&io::Error::from(Errno::CONNABORTED), pause), None);
    }
}
