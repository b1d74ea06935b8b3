//! Where directory streams come from.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// No stream takes longer to open: a tunnel has to be built first.
pub const OPEN_TIME_MAX: Duration = Duration::from_secs(60);

/// A stream of bytes.
pub trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// A directory stream: either end of anything that carries bytes in order.
pub type Stream = Box<dyn Bytes>;
/// A stream that is being opened.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Result<Stream, OpenError>> + Send + 'a>>;

/// No stream.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The socket of this machine cannot be reached.
    #[error("{}: {error}; is the node that serves it running?", path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// No tunnel.
    #[error("no directory stream through a tunnel: {0}")]
    Tunnel(String),
    /// Too slow.
    #[error("no directory stream within {} s", OPEN_TIME_MAX.as_secs())]
    Slow,
}

/// Somebody who may be asked.
pub trait Open: Send + Sync + 'static {
    /// A new stream to it. Whoever calls bounds the time.
    fn open(&self) -> Opening<'_>;

    /// What an operator reads where this one is meant. It names no relay.
    fn describe(&self) -> String;
}

/// A stream, within [`OPEN_TIME_MAX`].
///
/// # Errors
/// [`OpenError`].
pub(crate) async fn open(source: &dyn Open) -> Result<Stream, OpenError> {
    timeout(OPEN_TIME_MAX, source.open()).await.unwrap_or(Err(OpenError::Slow))
}

/// A unix socket: the directory's listener of an entry, or the service of a member or of a mirror.
#[derive(Debug, Clone)]
pub struct UnixSource {
    path: PathBuf,
}

impl UnixSource {
    /// At this path.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Open for UnixSource {
    fn open(&self) -> Opening<'_> {
        Box::pin(async {
            match UnixStream::connect(&self.path).await {
                Ok(stream) => Ok(Box::new(stream) as Stream),
                Err(error) => Err(OpenError::Socket { path: self.path.clone(), error }),
            }
        })
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}
