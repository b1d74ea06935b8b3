//! Asking a service, for programs that may wait.

use relay_directory::{FrameError, FrameReader, ServiceAnswer, ServiceRequest, frame};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// A service that says nothing for so long has stopped. It is longer than a command takes at most.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The socket.
    #[error("{0}")]
    System(#[from] io::Error),
    /// What came is no answer.
    #[error("what the service says is no answer of a directory")]
    NoAnswer,
    /// It closed the stream.
    #[error("the service closed the connection")]
    Closed,
}

impl From<FrameError> for AskError {
    fn from(_: FrameError) -> Self {
        Self::NoAnswer
    }
}

/// A connection to the service of a member.
#[derive(Debug)]
pub struct ServiceClient {
    stream: UnixStream,
    reader: FrameReader,
    buffer: Vec<u8>,
}

impl ServiceClient {
    /// Connects.
    ///
    /// # Errors
    /// When nobody serves the socket.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, reader: FrameReader::answers(), buffer: vec![0; READ_BYTES] })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`AskError`]; the connection is of no use then.
    pub fn ask(&mut self, request: &ServiceRequest) -> Result<ServiceAnswer, AskError> {
        self.stream.write_all(&frame(&request.encode()))?;
        loop {
            let count = self.stream.read(&mut self.buffer)?;
            if count == 0 {
                return Err(AskError::Closed);
            }
            // One request is on the way, so there is nothing behind its answer.
            let taken = self.reader.handle_bytes(&self.buffer[..count])?;
            if taken < count {
                return Err(AskError::NoAnswer);
            }
            if let Some(answer) = self.reader.poll_frame() {
                return ServiceAnswer::decode(&answer).map_err(|_| AskError::NoAnswer);
            }
        }
    }
}
