//! A connection to a node's pipe (docs/spec/pipe.md), in frames.

use crate::failure::{Code, Failure};
use pipe_protocol::{Answer, ErrorCode, Form, MAGIC, ReadError, Reader, Refusal, Request, SessionId, VERSION, encode};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;
use thiserror::Error;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that wait to be written. While there are so many, no more messages are made ready.
pub(super) const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// The first wait before connecting again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// No wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A connection is of no use, or no more.
#[derive(Debug, Error)]
pub(super) enum LinkError {
    /// There is none.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// It ended.
    #[error("the connection ended")]
    Lost(#[source] Option<io::Error>),
    /// What came is no message.
    #[error("the node says what this program does not understand")]
    NotUnderstood(#[source] ReadError),
    /// The node does not do it.
    #[error("the node says{}: {}", of_message(.0), .0.text)]
    Refused(Refusal),
}

impl LinkError {
    /// How long to wait at least if trying again may help, and `None` if it cannot.
    pub(super) fn retry(&self) -> Option<Duration> {
        match self {
            Self::Connect(error) if error.kind() == ErrorKind::PermissionDenied => None,
            Self::Connect(_) | Self::Lost(_) => Some(Duration::ZERO),
            Self::NotUnderstood(_) => None,
            Self::Refused(refusal) => match refusal.code {
                ErrorCode::Unavailable => {
                    Some(Duration::from_millis(refusal.retry_ms.unwrap_or_default().into()).min(LONGEST_WAIT))
                }
                // The greeting of the next connection says what counted.
                ErrorCode::Gap | ErrorCode::Expired => Some(Duration::ZERO),
                _ => None,
            },
        }
    }

    /// Whether there is a node all the same, so that even a first connection is tried again.
    pub(super) fn shows_a_node(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            // More programs wait than the system holds.
            Self::Connect(error) => error.kind() == ErrorKind::WouldBlock,
            Self::Lost(_) | Self::NotUnderstood(_) => false,
        }
    }

    /// What a person is told. `what` was to be done.
    pub(super) fn failure(&self, what: &str, socket: &Path) -> Failure {
        let (code, remedy) = match self {
            Self::Connect(error) if error.kind() == ErrorKind::PermissionDenied => {
                (Code::Permission, "run it as the node's user, or as one of the socket's group that the node allows")
            }
            Self::Connect(_) => (Code::Unavailable, "start the node, or name its pipe with --socket"),
            Self::Lost(_) => (Code::Unavailable, "look at the node's log: it has stopped, or does not allow this user"),
            Self::NotUnderstood(_) => (Code::Unavailable, "compare `hushwire version` with the node's"),
            Self::Refused(refusal) => match refusal.code {
                ErrorCode::Unavailable | ErrorCode::Gap | ErrorCode::Expired => {
                    (Code::Unavailable, "see with `hushwire cluster status` whether a majority of the nodes runs")
                }
                ErrorCode::Version => (Code::Unavailable, "compare `hushwire version` with the node's"),
                _ => (Code::Data, "change what is asked for"),
            },
        };
        let cause = match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        };
        Failure::new(code, format!("cannot {what} at {}: {cause}", socket.display())).remedy(remedy)
    }
}

/// How long to wait before connecting again.
#[derive(Debug)]
pub(super) struct Waits(Duration);

impl Waits {
    pub(super) fn new() -> Self {
        Self(FIRST_WAIT)
    }

    /// Not less than `least`.
    pub(super) fn next(&mut self, least: Duration) -> Duration {
        let wait = self.0.max(least);
        self.0 = (self.0 * 2).min(LONGEST_WAIT);
        wait
    }
}

/// A connection that was greeted.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    reader: Reader<Answer>,
    output: Vec<u8>,
    written: usize,
    buffer: Vec<u8>,
}

impl Link {
    /// Connects and greets; gives the number of the session's next message too.
    pub(super) async fn open(socket: &Path, session: Option<SessionId>) -> Result<(Self, u64), LinkError> {
        let stream = UnixStream::connect(socket).await.map_err(LinkError::Connect)?;
        let mut link = Self {
            stream,
            reader: Reader::with_form(Form::Frames),
            output: MAGIC.to_vec(),
            written: 0,
            buffer: vec![0; READ_BYTES],
        };
        link.say(&Request::Hello { version: VERSION, session });
        loop {
            match link.hear()? {
                Some(Answer::Welcome { next, .. }) => return Ok((link, next)),
                Some(Answer::Error(refusal)) => return Err(LinkError::Refused(refusal)),
                // Nothing else may come before the greeting's answer.
                Some(_) => return Err(LinkError::NotUnderstood(ReadError::Magic)),
                None => link.exchange().await?,
            }
        }
    }

    /// Makes ready what is to be said.
    pub(super) fn say(&mut self, request: &Request) {
        encode(request, Form::Frames, &mut self.output);
    }

    /// Whether more should be made ready: not while much waits to be written.
    pub(super) fn has_room(&self) -> bool {
        self.output.len() - self.written < OUTPUT_BYTES_MAX
    }

    /// The next thing that the node said and that is here.
    pub(super) fn hear(&mut self) -> Result<Option<Answer>, LinkError> {
        self.reader.next_message().transpose().map_err(LinkError::NotUnderstood)
    }

    /// Waits until something can be read or written, and does it. Cancel-safe.
    pub(super) async fn exchange(&mut self) -> Result<(), LinkError> {
        let interest = if self.has_output() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = self.stream.ready(interest).await.map_err(lost)?;
        if ready.is_readable() {
            self.read()?;
        }
        if ready.is_writable() && self.has_output() {
            self.write()?;
        }
        Ok(())
    }

    fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    fn read(&mut self) -> Result<(), LinkError> {
        match self.stream.try_read(&mut self.buffer) {
            Ok(0) => Err(LinkError::Lost(None)),
            Ok(count) => {
                self.reader.push(&self.buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(lost(error)),
        }
    }

    fn write(&mut self) -> Result<(), LinkError> {
        match self.stream.try_write(&self.output[self.written..]) {
            Ok(count) => {
                self.written += count;
                if !self.has_output() {
                    self.output.clear();
                    self.written = 0;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            // What the node said before it left is still to be read; the end of that is the end of the connection.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.output.clear();
                self.written = 0;
                Ok(())
            }
            Err(error) => Err(lost(error)),
        }
    }
}

fn of_message(refusal: &Refusal) -> String {
    refusal.about.map(|number| format!(" of message {number}")).unwrap_or_default()
}

fn lost(error: io::Error) -> LinkError {
    LinkError::Lost(Some(error))
}
