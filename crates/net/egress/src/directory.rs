//! Directory streams: to the one unix socket that the configuration names, past the exit policy, which is about addresses. The service
//! there is told first that a stranger speaks (docs/spec/relay-directory.md, section 10).

use flow_pump::socket::Socket;
use relay_directory::OF_A_STRANGER;
use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;
use wire::flow::ResetReason;

/// Directory streams at a time. A further one is refused with [`ResetReason::TooManyFlows`]: each may have a whole document
/// under way, and the service behind the socket serves them all.
pub const DIRECTORY_FLOWS_MAX: usize = 64;

/// The way to the directory's service.
pub(crate) struct Directory {
    socket: Option<PathBuf>,
    patience: Duration,
    open: Cell<usize>,
}

/// A stream's place among those that may be open; given back when dropped.
pub(crate) struct DirectoryPlace(Rc<Directory>);

impl Directory {
    /// `None`: this node has none.
    pub(crate) fn new(socket: Option<PathBuf>, patience: Duration) -> Rc<Self> {
        Rc::new(Self { socket, patience, open: Cell::new(0) })
    }

    /// Streams that are open.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    /// Connects a stream, or says why not. Cancel-safe.
    pub(crate) async fn connect(self: &Rc<Self>) -> Result<(Socket, DirectoryPlace), ResetReason> {
        let path = self.socket.as_ref().ok_or(ResetReason::NotOffered)?;
        if self.open.get() >= DIRECTORY_FLOWS_MAX {
            return Err(ResetReason::TooManyFlows);
        }
        self.open.set(self.open.get() + 1);
        let place = DirectoryPlace(self.clone());
        match timeout(self.patience, stranger_at(path)).await {
            Ok(Ok(stream)) => Ok((Socket::Unix(stream), place)),
            Ok(Err(error)) => {
                // The path is the operator's own; what went through the stream is not said.
                tracing::warn!(%error, socket = %path.display(), "the directory's socket cannot be connected");
                Err(reason(&error))
            }
            Err(_) => Err(ResetReason::TimedOut),
        }
    }
}

impl Drop for DirectoryPlace {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// A stream on which the service knows that a stranger speaks.
async fn stranger_at(path: &Path) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(&OF_A_STRANGER).await?;
    Ok(stream)
}

fn reason(error: &io::Error) -> ResetReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ResetReason::Refused,
        _ => ResetReason::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    const SOON: Duration = Duration::from_secs(30);

    fn path(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hushwire-egress-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[tokio::test]
    async fn a_node_without_a_directory_says_so() {
        let none = Directory::new(None, SOON);
        assert_eq!(none.connect().await.err(), Some(ResetReason::NotOffered));
        let path = path("gone");
        let gone = Directory::new(Some(path.clone()), SOON);
        assert_eq!(gone.connect().await.err(), Some(ResetReason::Unreachable));
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        assert_eq!(gone.connect().await.err(), Some(ResetReason::Refused), "its service has ended");
        assert_eq!(gone.open(), 0);
        std::fs::remove_file(path).expect("it is there");
    }

    #[tokio::test]
    async fn a_service_is_told_that_a_stranger_speaks() {
        let path = path("stranger");
        let service = tokio::net::UnixListener::bind(&path).expect("a socket");
        let directory = Directory::new(Some(path.clone()), SOON);
        let _open = directory.connect().await.expect("there is room");
        let (mut stream, _) = service.accept().await.expect("a stream");
        let mut first = [0; OF_A_STRANGER.len()];
        stream.read_exact(&mut first).await.expect("its first frame");
        assert_eq!(first, OF_A_STRANGER);
        std::fs::remove_file(path).expect("it is there");
    }

    #[tokio::test]
    async fn streams_are_bounded_and_places_come_back() {
        let path = path("full");
        let _service = tokio::net::UnixListener::bind(&path).expect("a socket");
        let directory = Directory::new(Some(path.clone()), SOON);
        let mut open = Vec::new();
        for _ in 0..DIRECTORY_FLOWS_MAX {
            open.push(directory.connect().await.expect("there is room"));
        }
        assert_eq!(directory.connect().await.err(), Some(ResetReason::TooManyFlows));
        open.pop();
        assert!(directory.connect().await.is_ok());
        drop(open);
        assert_eq!(directory.open(), 0);
        std::fs::remove_file(path).expect("it is there");
    }
}
