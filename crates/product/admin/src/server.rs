//! The node's side of the admin socket.

use crate::protocol::{REQUEST_LINE_MAX, Request, Response};
use rustix::process::geteuid;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Clients served at once; the next one waits in the kernel's backlog.
pub const CLIENTS_MAX: usize = 16;

/// How long a client may be silent or refuse to read before its connection is closed.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Pause after an accept that failed, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Why the socket cannot be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody answers there already.
    #[error("a node is already running with the admin socket {}", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket has the name.
    #[error("{} exists and is no socket, so it is not replaced", .0.display())]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot open the admin socket {}", .path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// The listening socket. Dropping it removes its file.
#[derive(Debug)]
pub struct Server {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
}

impl Server {
    /// Opens the socket with mode 0600, in place of one that a dead node left behind.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |source| BindError::System { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => return Err(BindError::InUse(path.to_owned())),
                Err(_) => std::fs::remove_file(path).map_err(failed)?,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
        // From here on the file is ours and goes with the value.
        let server = Self { listener, path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        server.listener.set_nonblocking(true).map_err(failed)?;
        Ok(server)
    }

    /// Answers requests until it is dropped; returns at once if the runtime takes no more sockets. Cancel-safe:
    /// dropping the future ends all connections. Needs a tokio runtime with I/O.
    pub async fn serve<F>(&self, answer: F)
    where
        F: Fn(Request) -> Response + Send + Sync + 'static,
    {
        self.serve_later(move |request| std::future::ready(answer(request))).await;
    }

    /// As [`Server::serve`], with answers that take their time. Each connection waits for its own only.
    pub async fn serve_later<F, A>(&self, answer: F)
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let listener = self.listener.try_clone().and_then(tokio::net::UnixListener::from_std);
        let Ok(listener) = listener else { return };
        let answer = Arc::new(answer);
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        let mut clients = tokio::task::JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) if is_allowed(&stream) => {
                    let answer = Arc::clone(&answer);
                    clients.spawn(async move {
                        let _place = place;
                        // A client that goes away is no event for the node.
                        let _ = serve_client(stream, answer.as_ref()).await;
                    });
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing can be done about a file that is already gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The node's own user and root. Mode 0600 says the same, but only from the moment after the socket exists.
fn is_allowed(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|who| who.uid() == 0 || who.uid() == geteuid().as_raw())
}

async fn serve_client<F, A>(stream: UnixStream, answer: &F) -> io::Result<()>
where
    F: Fn(Request) -> A,
    A: Future<Output = Response>,
{
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(REQUEST_LINE_MAX as u64);
        let length = tokio::time::timeout(CLIENT_PATIENCE, limited.read_until(b'\n', &mut line)).await??;
        if length == 0 {
            return Ok(());
        }
        let complete = line.ends_with(b"\n");
        let response = match serde_json::from_slice(&line) {
            Ok(request) if complete => answer(request).await,
            _ => Response::Refused { reason: "this line is not a request that I know".to_owned() },
        };
        let mut text = serde_json::to_vec(&response)?;
        text.push(b'\n');
        tokio::time::timeout(CLIENT_PATIENCE, writer.write_all(&text)).await??;
        if !complete {
            return Ok(());
        }
    }
}
