//! A program's end of a pipe.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pipe_protocol::{Answer, Form, MAGIC, Reader, Request, SessionId, VERSION, encode};

/// How long one read of the socket waits, so that a worker sees in time that it is to end.
const READ_WITHIN: Duration = Duration::from_millis(100);
/// A node that takes nothing for so long, or does not greet, is given up, as a program would that has others to turn to. It is
/// longer than an election and shorter than what a test stops a node for.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Connection {
    socket: UnixStream,
    answers: Reader<Answer>,
    form: Form,
    /// The next number of the session, as the node greeted.
    pub(crate) next: u64,
}

impl Connection {
    pub(crate) fn open(pipe: &Path, session: SessionId, form: Form) -> anyhow::Result<Self> {
        let socket = UnixStream::connect(pipe)?;
        socket.set_read_timeout(Some(READ_WITHIN))?;
        socket.set_write_timeout(Some(SILENCE_MAX))?;
        let mut connection = Self { socket, answers: Reader::with_form(form), form, next: 0 };
        if form == Form::Frames {
            connection.socket.write_all(&MAGIC)?;
        }
        connection.say(&[Request::Hello { version: VERSION, session: Some(session) }])?;
        let deadline = Instant::now() + SILENCE_MAX;
        while Instant::now() < deadline {
            match connection.hear()? {
                Some(Answer::Welcome { next, .. }) => {
                    connection.next = next;
                    return Ok(connection);
                }
                Some(other) => bail!("the node greets with {other:?}"),
                None => {}
            }
        }
        bail!("the node does not greet")
    }

    pub(crate) fn say(&mut self, requests: &[Request]) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        requests.iter().for_each(|request| encode(request, self.form, &mut bytes));
        Ok(self.socket.write_all(&bytes)?)
    }

    /// The next answer; none if there is none within a moment.
    pub(crate) fn hear(&mut self) -> anyhow::Result<Option<Answer>> {
        loop {
            if let Some(answer) = self.answers.next_message() {
                return Ok(Some(answer?));
            }
            let mut bytes = [0; 16 << 10];
            match self.socket.read(&mut bytes) {
                Ok(0) => bail!("the node is gone"),
                Ok(length) => self.answers.push(bytes.get(..length).context("a read is no longer than its room")?),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
