//! Closed-loop clients at a node's pipe (docs/spec/pipe.md): each publishes, waits for the acknowledgement, and publishes again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

/// What is acknowledged in this time does not count.
const WARM_UP: Duration = Duration::from_secs(1);
/// What a client of frames says first.
const FRAMES_BEGIN: &[u8] = b"\0HWPIPE1";
/// Kinds of frames.
const HELLO: u8 = 1;
const PUBLISH: u8 = 2;
const WELCOME: u8 = 1;
const ACKNOWLEDGED: u8 = 2;
const ERROR: u8 = 7;
/// The code of an error that says that nobody leads.
const UNAVAILABLE: u8 = 7;
/// A client that is told so asks again after this.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// More than any answer that a client gets.
const BUFFER_BYTES: usize = 4_096;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Frames of bytes.
    Frames,
    /// Lines of JSON.
    Lines,
}

impl Form {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Lines => "lines",
        }
    }
}

/// What is put on a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) form: Form,
    pub(super) clients: usize,
    pub(super) value_bytes: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    /// Answers that count.
    pub(super) answers: u64,
    /// With those of the time before.
    pub(super) all_answers: u64,
    /// How long those that count took together.
    pub(super) lasting: Duration,
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

/// Runs clients for so long, after a second that does not count.
pub(super) fn run(pipe: PathBuf, load: Load, lasting: Duration) -> anyhow::Result<Served> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..load.clients {
            clients.push(Client::connect(&pipe, load.form, "bench").await?);
        }
        let begin = Instant::now() + WARM_UP;
        let mut tasks = JoinSet::new();
        for client in clients {
            tasks.spawn(publish_until(client, vec![b'v'; load.value_bytes], begin, begin + lasting));
        }
        let (mut times, mut before) = (Vec::new(), 0);
        while let Some(done) = tasks.join_next().await {
            let (counted, warm) = done??;
            times.extend(counted);
            before += warm;
        }
        let quantile = |share| crate::load::quantile(&times, share).context("nothing was acknowledged");
        let answers = times.len() as u64;
        Ok(Served { answers, all_answers: answers + before, lasting, median: quantile(0.5)?, p99: quantile(0.99)? })
    })
}

/// Answer times that count, and how many came before them.
async fn publish_until(
    mut client: Client,
    data: Vec<u8>,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<(Vec<Duration>, u64)> {
    let (mut times, mut before) = (Vec::new(), 0);
    loop {
        let asked = Instant::now();
        if asked >= end {
            return Ok((times, before));
        }
        client.publish(&data).await?;
        if asked >= begin {
            times.push(asked.elapsed());
        } else {
            before += 1;
        }
    }
}

/// Publishes so many messages as fast as many clients can, and says how long it took.
pub(super) fn fill(pipe: PathBuf, clients: usize, messages: u64, value_bytes: usize) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let mut client = Client::connect(&pipe, Form::Frames, "fill").await?;
            let own = messages / clients as u64;
            tasks.spawn(async move {
                for _ in 0..own {
                    client.publish(&vec![b'v'; value_bytes]).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(begin.elapsed())
    })
}

/// One client with a session that the node draws.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    form: Form,
    topic: &'static str,
    /// The number of the last message.
    sequence: u64,
    request: Vec<u8>,
    buffer: Vec<u8>,
    filled: usize,
}

impl Client {
    /// Connects and says hello.
    pub(super) async fn connect(pipe: &Path, form: Form, topic: &'static str) -> anyhow::Result<Self> {
        let connected = UnixStream::connect(pipe).await;
        let stream = connected.with_context(|| format!("cannot connect to {}", pipe.display()))?;
        let (request, buffer) = (Vec::new(), vec![0; BUFFER_BYTES]);
        let mut client = Self { stream, form, topic, sequence: 0, request, buffer, filled: 0 };
        match form {
            Form::Frames => {
                client.request.extend_from_slice(FRAMES_BEGIN);
                client.put_frame(HELLO, &[&1_u32.to_be_bytes(), &[0]]);
            }
            Form::Lines => client.request.extend_from_slice(b"{\"op\":\"hello\"}\n"),
        }
        let answer = client.exchange().await?;
        let is_welcome = match form {
            Form::Frames => answer.get(4) == Some(&WELCOME),
            Form::Lines => answer.starts_with(b"{\"op\":\"welcome\""),
        };
        anyhow::ensure!(is_welcome, "the node does not welcome: {}", String::from_utf8_lossy(&answer));
        Ok(client)
    }

    /// Publishes the next message and waits until it is acknowledged.
    pub(super) async fn publish(&mut self, data: &[u8]) -> anyhow::Result<()> {
        self.sequence += 1;
        anyhow::ensure!(self.publish_again(data).await?, "nobody leads");
        Ok(())
    }

    /// The same, asking again while nobody leads.
    pub(super) async fn publish_patiently(&mut self, data: &[u8]) -> anyhow::Result<()> {
        self.sequence += 1;
        while !self.publish_again(data).await? {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }

    /// Publishes under the last number; `false`: the node says that nobody leads.
    async fn publish_again(&mut self, data: &[u8]) -> anyhow::Result<bool> {
        let (sequence, topic) = (self.sequence, self.topic);
        match self.form {
            Form::Frames => {
                let topic_length = u16::try_from(topic.len())?.to_be_bytes();
                self.put_frame(PUBLISH, &[&sequence.to_be_bytes(), &topic_length, topic.as_bytes(), data]);
            }
            Form::Lines => {
                let begin = format!("{{\"op\":\"pub\",\"seq\":{sequence},\"topic\":\"{topic}\",\"data\":\"");
                self.request.extend_from_slice(begin.as_bytes());
                // The data that is measured with needs no escapes.
                self.request.extend_from_slice(data);
                self.request.extend_from_slice(b"\"}\n");
            }
        }
        let answer = self.exchange().await?;
        let is_it = match self.form {
            Form::Frames => answer.get(4) == Some(&ACKNOWLEDGED) && answer.get(5..13) == Some(&sequence.to_be_bytes()),
            Form::Lines => answer.starts_with(format!("{{\"op\":\"ack\",\"seq\":{sequence},").as_bytes()),
        };
        // Behind a code stand an optional number and other fields.
        if self.form == Form::Frames && answer.get(4..6) == Some(&[ERROR, UNAVAILABLE]) {
            return Ok(false);
        }
        anyhow::ensure!(is_it, "message {sequence} was not acknowledged: {}", String::from_utf8_lossy(&answer));
        Ok(true)
    }

    fn put_frame(&mut self, kind: u8, fields: &[&[u8]]) {
        let length: usize = fields.iter().map(|field| field.len()).sum();
        // A message's data is far below what the length can say.
        self.request.extend_from_slice(&(length as u32 + 1).to_be_bytes());
        self.request.push(kind);
        fields.iter().for_each(|field| self.request.extend_from_slice(field));
    }

    /// Sends the request and reads one answer, whole.
    async fn exchange(&mut self) -> anyhow::Result<Vec<u8>> {
        self.stream.write_all(&self.request).await?;
        self.request.clear();
        loop {
            if let Some(end) = self.answer_end() {
                let answer = self.buffer[..end].to_vec();
                self.buffer.copy_within(end..self.filled, 0);
                self.filled -= end;
                return Ok(answer);
            }
            anyhow::ensure!(self.filled < self.buffer.len(), "an answer is too long");
            let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
            anyhow::ensure!(read > 0, "the node closed the pipe");
            self.filled += read;
        }
    }

    fn answer_end(&self) -> Option<usize> {
        let found = &self.buffer[..self.filled];
        match self.form {
            Form::Frames => {
                let length = found.first_chunk().map(|length| u32::from_be_bytes(*length) as usize + 4)?;
                (found.len() >= length).then_some(length)
            }
            Form::Lines => found.iter().position(|byte| *byte == b'\n').map(|end| end + 1),
        }
    }
}
