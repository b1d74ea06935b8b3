//! Publishes what is read, exactly once, whatever becomes of the connections.

use super::lines::Piece;
use super::link::{Link, LinkError, Waits};
use super::session::Session;
use super::window::{Window, WindowError};
use crate::failure::{Code, Failure};
use crate::local::stop::StopSignals;
use pipe_protocol::{Answer, Name, Order, Request, Submission};
use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// After being asked to stop, what was written before is read until nothing comes for so long,
const QUIET: Duration = Duration::from_millis(200);
/// and no longer than this.
const LAST_LINES: Duration = Duration::from_secs(2);
/// After being asked to stop, acknowledgements are waited for no longer than this.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// A session's file is written so often at most.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// What to do with a line that is too long to be a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LongLine {
    /// Take nothing behind it.
    Ends,
    /// Leave it out.
    LeaveOut,
}

/// What became of the lines.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Lines that count.
    pub(super) acknowledged: u64,
    /// Lines that counted in earlier runs.
    pub(super) earlier: u64,
    /// Lines that were read and may or may not count.
    pub(super) in_doubt: u64,
    /// Lines that were too long.
    pub(super) left_out: u64,
    /// Connections after the first.
    pub(super) reconnects: u64,
    /// Somebody asked to stop.
    pub(super) was_stopped: bool,
}

/// Publishes lines to one topic.
pub(super) struct Publisher<'a> {
    socket: &'a Path,
    topic: Name,
    session: Session,
    patience: Duration,
    long_line: LongLine,
    lines: mpsc::Receiver<Vec<Piece>>,
    /// Taken from `lines`, and not in the window yet.
    pieces: VecDeque<Piece>,
    window: Window,
    stop: StopSignals,
    /// When somebody asked to stop.
    stopped: Option<Instant>,
    is_read: bool,
    /// What ended the reading early; it is told when everything before it counts.
    read_failure: Option<Failure>,
    /// Since when something waits for the node.
    waiting_since: Option<Instant>,
    noted: Option<Instant>,
    report: Report,
}

/// Why a connection was left.
enum Left {
    Done,
    Link(LinkError),
    Failed(Failure),
}

impl From<LinkError> for Left {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl<'a> Publisher<'a> {
    /// Until the lines end or somebody asks to stop.
    pub(super) fn new(
        socket: &'a Path,
        topic: Name,
        session: Session,
        patience: Duration,
        (lines, long_line): (mpsc::Receiver<Vec<Piece>>, LongLine),
        stop: StopSignals,
    ) -> Self {
        let window = Window::new(session.counted_earlier().is_some());
        Self {
            socket,
            topic,
            session,
            patience,
            long_line,
            lines,
            pieces: VecDeque::new(),
            window,
            stop,
            stopped: None,
            is_read: false,
            read_failure: None,
            waiting_since: Some(Instant::now()),
            noted: None,
            report: Report::default(),
        }
    }

    /// Until the input ends and all of it counts, or something is wrong for good.
    pub(super) async fn run(mut self) -> (Report, Option<Failure>) {
        let mut failure = self.carry_all().await.err();
        if let Err(error) = self.session.note(self.window.counted()) {
            failure = failure.or(Some(error));
        }
        self.report.in_doubt = self.window.len() as u64;
        self.report.acknowledged = self.window.counted() - self.report.earlier;
        (self.report, failure.or(self.read_failure))
    }

    async fn carry_all(&mut self) -> Result<(), Failure> {
        let mut waits = Waits::new();
        let mut is_first = true;
        loop {
            let counted = self.window.counted();
            let left = match self.connect(is_first).await {
                Ok(mut link) => {
                    if !std::mem::take(&mut is_first) {
                        self.report.reconnects += 1;
                    }
                    self.carry(&mut link).await
                }
                Err(left) => left,
            };
            let error = match left {
                Left::Done => return Ok(()),
                Left::Failed(failure) => return Err(failure),
                Left::Link(error) => error,
            };
            let Some(least) = error.retry().filter(|_| !is_first || error.shows_a_node()) else {
                return Err(self.failure(&error));
            };
            if self.window.counted() > counted {
                waits = Waits::new();
            }
            self.waiting_since.get_or_insert_with(Instant::now);
            let next = Instant::now() + waits.next(least);
            if self.deadline().is_some_and(|deadline| next > deadline) {
                return Err(self.failure(&error));
            }
            self.sleep(next).await?;
        }
    }

    fn failure(&self, error: &LinkError) -> Failure {
        error.failure(&format!("publish to `{}`", self.topic.as_str()), self.socket)
    }

    /// Nothing came for too long, and nobody said why.
    fn silence(&self) -> Failure {
        let (topic, socket) = (self.topic.as_str(), self.socket.display());
        let seconds = self.waiting_since.map_or(self.patience, |since| since.elapsed()).as_secs();
        Failure::new(
            Code::Unavailable,
            format!("cannot publish to `{topic}` at {socket}: the node gave no answer for {seconds} s"),
        )
        .remedy("see with `hushwire cluster status` whether a majority of the nodes runs")
    }

    /// When waiting for the node ends.
    fn deadline(&self) -> Option<Instant> {
        let patience = self.waiting_since.map(|since| since + self.patience);
        let stopped = self.stopped.map(|stopped| stopped + LAST_ANSWERS);
        patience.into_iter().chain(stopped).min()
    }

    /// Waits; a second wish to stop ends everything.
    async fn sleep(&mut self, until: Instant) -> Result<(), Failure> {
        loop {
            tokio::select! {
                () = sleep_until(until) => return Ok(()),
                () = self.stop.wait() => self.begin_to_stop()?,
            }
        }
    }

    async fn connect(&mut self, is_first: bool) -> Result<Link, Left> {
        let mut opening = pin!(Link::open(self.socket, Some(self.session.id())));
        let (link, next) = loop {
            let deadline = self.deadline();
            tokio::select! {
                opened = &mut opening => break opened?,
                () = until(deadline) => return Err(Left::Failed(self.silence())),
                () = self.stop.wait() => {
                    self.begin_to_stop().map_err(Left::Failed)?;
                    if is_first && !self.has_lines().await {
                        return Err(Left::Done);
                    }
                }
            }
        };
        if let Some(counted) = self.session.counted_earlier().filter(|counted| next <= *counted) {
            return Err(Left::Failed(self.not_alone(WindowError::Forgotten { counted, next })));
        }
        let before = self.window.counted();
        self.window.resume(next).map_err(|error| Left::Failed(self.not_alone(error)))?;
        if is_first {
            self.report.earlier = self.window.counted();
        }
        if self.window.is_empty() || self.window.counted() > before {
            self.note_progress();
        }
        Ok(link)
    }

    /// Whether anything was written before it was asked to stop.
    async fn has_lines(&mut self) -> bool {
        if self.pieces.is_empty() {
            match timeout(QUIET, self.lines.recv()).await {
                Ok(Some(batch)) => self.pieces.extend(batch),
                Ok(None) => self.is_read = true,
                Err(_) => {}
            }
        }
        !self.pieces.is_empty()
    }

    fn not_alone(&self, error: WindowError) -> Failure {
        let remedy = match error {
            WindowError::Forgotten { .. } => {
                "see with `hushwire cluster sub` what counted, and publish the rest in another session"
            }
            WindowError::Shared { .. } => "give every input a session of its own",
        };
        let failure = Failure::new(Code::Data, format!("cannot publish to `{}`: {error}", self.topic.as_str()));
        failure.remedy(remedy)
    }

    /// Something counts, or nothing waits.
    fn note_progress(&mut self) {
        self.waiting_since = (!self.window.is_empty()).then(Instant::now);
    }

    /// Publishes over one connection.
    async fn carry(&mut self, link: &mut Link) -> Left {
        loop {
            self.fill(link);
            if self.is_read && self.pieces.is_empty() && self.window.is_empty() {
                return Left::Done;
            }
            if let Err(left) = self.turn(link).await {
                return left;
            }
        }
    }

    /// Waits for one thing to happen and deals with it.
    async fn turn(&mut self, link: &mut Link) -> Result<(), Left> {
        let reads = !self.is_read && self.pieces.is_empty();
        let deadline = self.deadline();
        let quiet = self.stopped.map(|stopped| (stopped + LAST_LINES).min(Instant::now() + QUIET));
        tokio::select! {
            batch = self.lines.recv(), if reads => match batch {
                Some(batch) => self.pieces.extend(batch),
                None => self.is_read = true,
            },
            () = until(quiet), if reads => self.is_read = true,
            exchanged = link.exchange() => {
                exchanged?;
                while let Some(answer) = link.hear()? {
                    self.handle(answer)?;
                }
            }
            () = until(deadline) => return Err(Left::Failed(self.silence())),
            () = self.stop.wait() => self.begin_to_stop().map_err(Left::Failed)?,
        }
        Ok(())
    }

    /// Moves lines into the window and from there to the connection, as far as there is room.
    fn fill(&mut self, link: &mut Link) {
        while self.window.has_room() {
            match self.pieces.pop_front() {
                Some(Piece::Line(line)) => {
                    if self.window.push(line) {
                        self.waiting_since.get_or_insert_with(Instant::now);
                    }
                }
                Some(Piece::TooLong { line }) => self.handle_long_line(line),
                Some(Piece::Failed(error)) => self.end_reading(Failure::io("cannot read the input", &error)),
                None => break,
            }
        }
        while link.has_room() {
            let Some((sequence, data)) = self.window.next_to_send() else { return };
            let order = Order::Publish { topic: self.topic.clone(), data: data.to_vec() };
            link.say(&Request::Submit(Submission { sequence, order }));
        }
    }

    fn handle_long_line(&mut self, line: u64) {
        let sentence = format!("line {line} of the input is longer than {} bytes", pipe_protocol::DATA_BYTES_MAX);
        if self.long_line == LongLine::LeaveOut {
            self.report.left_out += 1;
            crate::terminal::complain(&format!("{sentence}; it is left out\n"));
            return;
        }
        let failure = Failure::new(Code::Data, format!("{sentence}; nothing from there on is published"));
        self.end_reading(failure.remedy("cut it into several messages"));
    }

    fn end_reading(&mut self, failure: Failure) {
        self.pieces.clear();
        self.is_read = true;
        self.read_failure = Some(failure);
    }

    fn handle(&mut self, answer: Answer) -> Result<(), Left> {
        match answer {
            Answer::Done { sequence, .. } => {
                let before = self.window.counted();
                self.window.acknowledge(sequence).map_err(|error| Left::Failed(self.not_alone(error)))?;
                if self.window.counted() > before {
                    self.note_progress();
                    self.note_counted().map_err(Left::Failed)?;
                }
                Ok(())
            }
            Answer::Error(refusal) => Err(Left::Link(LinkError::Refused(refusal))),
            // A subscription or a read was not asked for.
            Answer::Welcome { .. } | Answer::Message(_) | Answer::Reached { .. } | Answer::Value { .. } => Ok(()),
        }
    }

    fn note_counted(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if self.noted.is_none_or(|noted| now >= noted + NOTE_INTERVAL) {
            self.noted = Some(now);
            self.session.note(self.window.counted())?;
        }
        Ok(())
    }

    /// Takes what was written before, and waits until it counts; at the second time it does not wait.
    fn begin_to_stop(&mut self) -> Result<(), Failure> {
        if self.report.was_stopped {
            return Err(Failure::new(Code::InputOutput, "stopped before everything counted")
                .remedy("wait for the acknowledgements next time: stop it once only"));
        }
        self.report.was_stopped = true;
        self.stopped = Some(Instant::now());
        Ok(())
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
