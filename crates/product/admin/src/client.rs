//! The side of `hushwire status` and of everything else that asks a node.

use crate::cluster::{ClusterAnswer, ClusterRequest};
use crate::hop_proxy::HopStatus;
use crate::mirror::MirrorStatus;
use crate::parts::{PartsAnswer, PartsRequest};
use crate::protocol::{RESPONSE_LINE_MAX, Request, Response};
use crate::relay::RelayStatus;
use crate::status::Status;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long a node may take to answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("no node is running with the admin socket {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket belongs to another user.
    #[error("the admin socket {} belongs to another user", .0.display())]
    NotAllowed(PathBuf),
    /// The connection failed.
    #[error("cannot talk to the node at {}", .path.display())]
    Connection {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in [`ANSWER_TIMEOUT`].
    #[error("the node at {} does not answer", .0.display())]
    Silent(PathBuf),
    /// The answer is not one that this program knows.
    #[error("the node at {} answered what this program does not understand; are both of one version?", .0.display())]
    NotUnderstood(PathBuf),
}

/// Sends one request and waits for its answer.
pub async fn ask(socket: &Path, request: Request) -> Result<Response, AskError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, exchange(socket, request)).await {
        Ok(answered) => answered,
        Err(_) => Err(AskError::Silent(socket.to_owned())),
    }
}

/// The node's state.
pub async fn status(socket: &Path) -> Result<Status, AskError> {
    match ask(socket, Request::Status).await? {
        Response::Status { status } => Ok(*status),
        _ => Err(AskError::NotUnderstood(socket.to_owned())),
    }
}

/// The state of a hop client or server.
pub async fn hop_status(socket: &Path) -> Result<HopStatus, AskError> {
    match ask(socket, Request::HopStatus).await? {
        Response::HopStatus { status } => Ok(*status),
        _ => Err(AskError::NotUnderstood(socket.to_owned())),
    }
}

/// The state of a mirror.
pub async fn mirror(socket: &Path) -> Result<MirrorStatus, AskError> {
    match ask(socket, Request::Mirror).await? {
        Response::Mirror { status } => Ok(*status),
        _ => Err(AskError::NotUnderstood(socket.to_owned())),
    }
}

/// The state of a relay.
pub async fn relay(socket: &Path) -> Result<RelayStatus, AskError> {
    match ask(socket, Request::Relay).await? {
        Response::Relay { status } => Ok(*status),
        _ => Err(AskError::NotUnderstood(socket.to_owned())),
    }
}

/// What became of a request to a node of a cluster.
pub async fn cluster(socket: &Path, request: ClusterRequest) -> Result<ClusterAnswer, AskError> {
    match ask(socket, Request::Cluster(request)).await? {
        Response::Cluster { answer } => Ok(answer),
        _ => Err(AskError::NotUnderstood(socket.to_owned())),
    }
}

/// What became of a request to a node of several parts.
pub async fn parts(socket: &Path, request: PartsRequest) -> Result<PartsAnswer, AskError> {
    match ask(socket, Request::Parts(request)).await? {
        Response::Parts { answer } => Ok(answer),
        _ => Err(AskError::NotUnderstood(socket.to_owned())),
    }
}

async fn exchange(socket: &Path, request: Request) -> Result<Response, AskError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning(socket.to_owned()),
        io::ErrorKind::PermissionDenied => AskError::NotAllowed(socket.to_owned()),
        _ => AskError::Connection { path: socket.to_owned(), source },
    };
    let mut stream = UnixStream::connect(socket).await.map_err(failed)?;
    let mut line = serde_json::to_vec(&request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(failed)?;
    let mut answer = Vec::new();
    let mut reader = BufReader::new(stream).take(RESPONSE_LINE_MAX as u64);
    reader.read_until(b'\n', &mut answer).await.map_err(failed)?;
    serde_json::from_slice(&answer).map_err(|_| AskError::NotUnderstood(socket.to_owned()))
}
