//! One program at the pipe.

use super::subscription::Subscription;
use crate::clients::{Answer, Client};
use crate::driver::{Input, Request, Running};
use crate::history::{HistoryError, Told};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use pipe_protocol::{
    Connection, Effect, ErrorCode, Event, From, Level, Name, Of, Order, Receipt, Refusal, SessionId, Submission,
};
use replicated_log::apps::{self, App, Kv, KvRequest, KvResult, LogRequest};
use replicated_log::{AppId, Offset, OpenRefusal, RESULTS_KEPT, Sequence, SubmitError, SubmitRefusal};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

/// What is read from a program at once.
const READ_BYTES: usize = 64 * 1024;
/// Submissions of a program that the log has at once; more wait here. The log keeps the answers to so many of a session, so a node
/// that missed entries can still answer all of them when it submits them again.
const IN_FLIGHT_MAX: usize = RESULTS_KEPT;
/// When a program should try again if the node takes nothing at the moment.
const UNAVAILABLE_RETRY_MS: u32 = 500;

/// What an answer of the node is about.
enum Pending {
    /// The session of the greeting, or of the first submission.
    Open,
    Submission(Receipt, AppId),
    Read(u64),
    /// The state that a subscription of keys begins with.
    Keys(Vec<Name>),
}

/// The session that the program publishes in.
#[derive(PartialEq, Eq)]
enum Session {
    /// Drawn here; it is opened by the first submission.
    Unused,
    Opening {
        owes_welcome: bool,
    },
    Open,
}

/// One program.
pub(super) struct Served {
    stream: UnixStream,
    node: Running,
    connection: Connection,
    id: SessionId,
    session: Session,
    /// Submissions that wait for the session, or for room.
    held: VecDeque<(Submission, Receipt)>,
    /// Submissions that wait for their answer.
    in_flight: usize,
    pending: BTreeMap<u64, Pending>,
    next_tag: u64,
    client: Client,
    answers: mpsc::UnboundedReceiver<(u64, Answer)>,
    subscription: Option<Subscription>,
    end: watch::Receiver<Offset>,
    buffer: Vec<u8>,
}

/// The node is gone, and with it the pipe.
fn gone() -> io::Error {
    io::Error::other("the node has stopped")
}

impl Served {
    pub(super) fn new(stream: UnixStream, node: Running) -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        let end = node.history.end();
        Self {
            stream,
            node,
            connection: Connection::new(),
            id: SessionId::from_bytes([0; 16]),
            session: Session::Unused,
            held: VecDeque::new(),
            in_flight: 0,
            pending: BTreeMap::new(),
            next_tag: 0,
            client: Client { answers: sender },
            answers,
            subscription: None,
            end,
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Until the program leaves.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            while let Some(event) = self.connection.poll_event() {
                self.handle_event(event).await?;
            }
            self.follow().await;
            if self.connection.is_over() {
                return Ok(());
            }
            if !self.wait().await? {
                return Ok(());
            }
        }
    }

    /// `false`: the program is gone.
    async fn wait(&mut self) -> io::Result<bool> {
        // Most answers fit into the socket at once; only the rest waits for room.
        if !self.connection.output().is_empty() && !self.write()? {
            return Ok(false);
        }
        let (reads, writes) = (self.connection.wants_bytes(), !self.connection.output().is_empty());
        let has_work = self.subscription.as_ref().is_some_and(|one| one.has_work(&self.connection));
        let follows = self.subscription.is_some() && self.connection.may_deliver();
        let (mut from_program, to_program) = self.stream.split();
        tokio::select! {
            count = from_program.read(&mut self.buffer), if reads => {
                let count = count?;
                self.connection.handle_bytes(&self.buffer[..count]);
                return Ok(count > 0);
            }
            ready = to_program.ready(Interest::WRITABLE), if writes => drop(ready?),
            ready = to_program.ready(Interest::ERROR), if !reads => return Ok(!ready?.is_error()),
            answer = self.answers.recv() => {
                let (tag, answer) = answer.ok_or_else(gone)?;
                self.handle_answer(tag, answer).await?;
                while let Ok((tag, answer)) = self.answers.try_recv() {
                    self.handle_answer(tag, answer).await?;
                }
            }
            changed = self.end.changed(), if follows && !has_work => changed.map_err(|_| gone())?,
            () = std::future::ready(()), if has_work => {}
        }
        Ok(true)
    }

    fn write(&mut self) -> io::Result<bool> {
        match self.stream.try_write(self.connection.output()) {
            Ok(count) => {
                self.connection.handle_written(count);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn ask(&mut self, pending: Pending, request: Request) -> io::Result<()> {
        self.next_tag += 1;
        self.pending.insert(self.next_tag, pending);
        let input = Input::Request(self.client.clone(), self.next_tag, request);
        self.node.inputs.send(input).await.map_err(|_| gone())
    }

    async fn handle_event(&mut self, event: Event) -> io::Result<()> {
        match event {
            Event::Hello { session: Some(session) } => {
                self.id = session;
                let Some(id) = log_session(session) else {
                    self.connection.refuse(Refusal::new(ErrorCode::BadMessage, "a session of zeros is none"));
                    return Ok(());
                };
                self.session = Session::Opening { owes_welcome: true };
                self.ask(Pending::Open, Request::Open(id)).await
            }
            Event::Hello { session: None } => {
                let mut drawn = [0; 16];
                SystemRandom::new()
                    .fill(&mut drawn)
                    .map_err(|_| io::Error::other("the system gives no random bytes"))?;
                self.id = SessionId::from_bytes(drawn);
                self.connection.welcome(self.id, 1);
                Ok(())
            }
            Event::Submit(submission, receipt) => self.submit(submission, receipt).await,
            Event::Read { id, key, level } => {
                let key = key.as_str().as_bytes().to_vec();
                let request = match level {
                    Level::Local => Request::ReadLocal(apps::KV, key),
                    Level::Linearizable => Request::Read(apps::KV, key),
                };
                self.ask(Pending::Read(id), request).await
            }
            Event::Subscribe { of: Of::Keys, names, from: From::Oldest } => {
                self.ask(Pending::Keys(names), Request::Snapshot(apps::KV)).await
            }
            Event::Subscribe { of, names, from } => {
                self.subscribe(of, names, from);
                Ok(())
            }
        }
    }

    fn subscribe(&mut self, of: Of, names: Vec<Name>, from: From) {
        let history = self.node.history.clone();
        let position = match from {
            From::Offset(offset) => Ok(Offset(offset)),
            From::Tail => Ok(*self.end.borrow_and_update()),
            From::Oldest => history.oldest(),
        };
        match position {
            Ok(position) => self.subscription = Some(Subscription::new(history, (of, names), position, [])),
            Err(error) => self.connection.refuse_subscription(history_refusal(&error)),
        }
    }

    async fn submit(&mut self, submission: Submission, receipt: Receipt) -> io::Result<()> {
        self.held.push_back((submission, receipt));
        match self.session {
            Session::Open => self.pass_on_held().await,
            Session::Opening { .. } => Ok(()),
            Session::Unused => {
                self.session = Session::Opening { owes_welcome: false };
                let id = log_session(self.id).ok_or_else(|| io::Error::other("a session of zeros was drawn"))?;
                self.ask(Pending::Open, Request::Open(id)).await
            }
        }
    }

    async fn pass_on_held(&mut self) -> io::Result<()> {
        while self.in_flight < IN_FLIGHT_MAX
            && let Some((submission, receipt)) = self.held.pop_front()
        {
            self.in_flight += 1;
            self.pass_on(submission, receipt).await?;
        }
        Ok(())
    }

    async fn pass_on(&mut self, submission: Submission, receipt: Receipt) -> io::Result<()> {
        let (app, body) = match submission.order {
            Order::Publish { topic, data } => {
                (apps::LOG, LogRequest { topic: topic.as_str().as_bytes(), data: &data }.encode())
            }
            Order::Put { key, value, if_version } => {
                (apps::KV, KvRequest { key: key.as_str().as_bytes().to_vec(), if_version, value }.encode())
            }
            Order::Call { app, data } => (AppId(app), data),
        };
        let Some(session) = log_session(self.id) else { return Err(gone()) };
        let request = Request::Submit(session, Sequence(submission.sequence), app, body);
        self.ask(Pending::Submission(receipt, app), request).await
    }

    async fn handle_answer(&mut self, tag: u64, answer: Answer) -> io::Result<()> {
        match (self.pending.remove(&tag), answer) {
            (Some(Pending::Open), Answer::Opened { next }) => {
                if self.session == (Session::Opening { owes_welcome: true }) {
                    self.connection.welcome(self.id, next.0);
                }
                self.session = Session::Open;
                self.pass_on_held().await?;
            }
            (Some(Pending::Open), answer) => self.not_opened(&answer),
            (Some(Pending::Submission(receipt, app)), answer) => {
                self.in_flight -= 1;
                match submitted(app, &answer) {
                    Ok((offset, effect)) => self.connection.acknowledge(receipt, offset.0, effect),
                    Err(refusal) => self.connection.refuse_submission(receipt, refusal),
                }
                self.pass_on_held().await?;
            }
            (Some(Pending::Read(id)), Answer::Read { offset, result }) => {
                let value = match KvResult::decode(&result) {
                    Some(KvResult::Differs { version, value }) => (version, value),
                    _ => (0, None),
                };
                self.connection.tell(id, offset.0, value);
            }
            (Some(Pending::Read(id)), answer) => {
                self.connection.refuse(Refusal { about: Some(id), ..refusal(&answer) });
            }
            (Some(Pending::Keys(names)), Answer::Read { offset, result }) => {
                let known = known_keys(offset, &result);
                let history = self.node.history.clone();
                self.subscription = Some(Subscription::new(history, (Of::Keys, names), offset, known));
            }
            (Some(Pending::Keys(_)), answer) => self.connection.refuse_subscription(refusal(&answer)),
            (None, _) => {}
        }
        Ok(())
    }

    fn not_opened(&mut self, answer: &Answer) {
        self.session = Session::Unused;
        let refusal = refusal(answer);
        if self.held.is_empty() {
            return self.connection.refuse(refusal);
        }
        for (_, receipt) in std::mem::take(&mut self.held) {
            self.connection.refuse_submission(receipt, refusal.clone());
        }
    }

    async fn follow(&mut self) {
        let Some(subscription) = &mut self.subscription else { return };
        if let Err(error) = subscription.advance(&mut self.connection).await {
            self.subscription = None;
            self.connection.refuse_subscription(history_refusal(&error));
        }
    }
}

/// The keys that have a value, as messages of the last place before `offset`.
fn known_keys(offset: Offset, state: &[u8]) -> Vec<Told> {
    let mut kv = Kv::default();
    if kv.restore(state).is_err() {
        return Vec::new();
    }
    let last = Offset(offset.0.saturating_sub(1));
    let nobody = replicated_log::SessionId::new(1).unwrap_or_else(|_| unreachable!("one is not zero"));
    let told = |(name, version, data): (&[u8], u64, &[u8])| Told {
        offset: last,
        of: Of::Keys,
        name: name.to_vec(),
        number: version,
        session: nobody,
        time_s: 0,
        data: Some(data.to_vec()),
    };
    kv.values().map(told).collect()
}

fn log_session(session: SessionId) -> Option<replicated_log::SessionId> {
    replicated_log::SessionId::new(u128::from_be_bytes(session.to_bytes())).ok()
}

/// As the pipe writes it.
pub(super) fn pipe_session(session: replicated_log::SessionId) -> SessionId {
    SessionId::from_bytes(session.bits().to_be_bytes())
}

/// What became of a submission.
fn submitted(app: AppId, answer: &Answer) -> Result<(Offset, Effect), Refusal> {
    match answer {
        Answer::Done { offset, result } => Ok((*offset, effect(app, result)?)),
        other => Err(refusal(other)),
    }
}

/// What an application's answer means to a program.
fn effect(app: AppId, result: &[u8]) -> Result<Effect, Refusal> {
    match app {
        apps::LOG => match <[u8; 8]>::try_from(result) {
            Ok(number) => Ok(Effect::Published { number: u64::from_be_bytes(number) }),
            Err(_) => Err(Refusal::new(ErrorCode::Refused, "there are too many topics")),
        },
        apps::KV => match KvResult::decode(result) {
            Some(KvResult::Done { version }) => Ok(Effect::Changed { version }),
            Some(KvResult::Differs { version, value }) => Ok(Effect::Differs { version, data: value }),
            Some(KvResult::Full) => Err(Refusal::new(ErrorCode::Refused, "there is no room for more values")),
            Some(KvResult::Bad) | None => Err(Refusal::new(ErrorCode::Refused, "a value has at most 960 bytes")),
        },
        _ => Ok(Effect::Called { data: result.to_vec() }),
    }
}

/// What an answer that is none means to a program.
fn refusal(answer: &Answer) -> Refusal {
    let say = |code, text: &dyn ToString| Refusal::new(code, text.to_string());
    match answer {
        Answer::Refused(refused @ SubmitRefusal::Gap { expected }) => {
            Refusal { expected: Some(expected.0), ..say(ErrorCode::Gap, refused) }
        }
        Answer::Refused(refused @ (SubmitRefusal::NotOpen | SubmitRefusal::Old)) => say(ErrorCode::Expired, refused),
        Answer::NotOpened(refused @ OpenRefusal::Late) => {
            Refusal { retry_ms: Some(0), ..say(ErrorCode::Unavailable, refused) }
        }
        Answer::NotOpened(refused @ OpenRefusal::Full) => {
            Refusal { retry_ms: Some(60_000), ..say(ErrorCode::Unavailable, refused) }
        }
        Answer::Busy(retry) => {
            let retry_ms = u32::try_from(retry.as_millis()).unwrap_or(u32::MAX);
            Refusal { retry_ms: Some(retry_ms), ..Refusal::new(ErrorCode::Unavailable, "too many requests wait") }
        }
        Answer::NotTaken(SubmitError::TooLong) => say(ErrorCode::TooLong, &SubmitError::TooLong),
        Answer::NotTaken(SubmitError::NoNumber) => {
            Refusal { expected: Some(1), ..say(ErrorCode::Gap, &SubmitError::NoNumber) }
        }
        Answer::NotTaken(error) => {
            Refusal { retry_ms: Some(UNAVAILABLE_RETRY_MS), ..say(ErrorCode::Unavailable, error) }
        }
        Answer::Opened { .. } | Answer::Done { .. } | Answer::Read { .. } | Answer::Controlled(_) => {
            Refusal::new(ErrorCode::Refused, "the node answered something else")
        }
    }
}

fn history_refusal(error: &HistoryError) -> Refusal {
    match error {
        HistoryError::Horizon { oldest } => {
            Refusal { expected: Some(oldest.0), ..Refusal::new(ErrorCode::Horizon, error.to_string()) }
        }
        HistoryError::Folder(_) | HistoryError::Term { .. } => Refusal {
            retry_ms: Some(UNAVAILABLE_RETRY_MS),
            ..Refusal::new(ErrorCode::Unavailable, "the log on this node's disk cannot be read; its journal says why")
        },
    }
}
