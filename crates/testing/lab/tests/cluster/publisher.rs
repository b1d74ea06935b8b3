//! A program that publishes, with one session, at whichever node takes it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use pipe_protocol::{Answer, Effect, ErrorCode, Form, Name, Order, Request, SessionId, Submission};
use rand::Rng;
use simnet::Seed;

use super::connection::{Connection, SILENCE_MAX};
use super::log_witness::{Acknowledged, Publication};
use super::run::{PATIENCE, Run};

/// Messages on their way at once.
const WINDOW: usize = 8;
/// A message is sent so often at most.
const PACE: Duration = Duration::from_millis(15);
/// Before the next node is tried.
const REST: Duration = Duration::from_millis(50);
/// Once in so many messages the connection is cut without need, and the next node is gone on with.
const CUT_ONCE_IN: u64 = 60;
/// Bytes behind the sequence number.
const FILLING: usize = 100;

/// Publishes until the run is over and everything is acknowledged.
pub(crate) fn publish(run: &Run, number: u8, seed: Seed) -> anyhow::Result<Vec<Publication>> {
    let mut generator = seed.generator(u64::from(number) + 1);
    let mut bytes = [0; 16];
    generator.fill_bytes(&mut bytes);
    // Two publishers to a topic.
    let topic = Name::new(&format!("topic-{}", number / 2))?;
    let form = if number.is_multiple_of(2) { Form::Frames } else { Form::Lines };
    let mut publisher = Publisher {
        run: run.clone(),
        session: SessionId::from_bytes(bytes),
        topic,
        form,
        node: usize::from(number),
        all: Vec::new(),
        waiting: VecDeque::new(),
    };
    let mut deadline = None;
    loop {
        let turn = publisher.visit(|| generator.next_u64().is_multiple_of(CUT_ONCE_IN));
        if let Err(error) = turn {
            ensure!(!error.is::<Broken>(), "publisher {number}: {error:#}");
        }
        if run.is_over() {
            if publisher.waiting.is_empty() {
                return Ok(publisher.all);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            let waiting = publisher.waiting.len();
            ensure!(Instant::now() < deadline, "publisher {number}: {waiting} messages are never acknowledged");
        }
        publisher.node += 1;
        std::thread::sleep(REST);
    }
}

/// What a program may never be told, whatever happens to nodes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

struct Publisher {
    run: Run,
    session: SessionId,
    topic: Name,
    form: Form,
    node: usize,
    all: Vec<Publication>,
    /// Places in `all` of what is not acknowledged, oldest first.
    waiting: VecDeque<usize>,
}

impl Publisher {
    /// Publishes through one node until that fails, or `cut` says so.
    fn visit(&mut self, mut cut: impl FnMut() -> bool) -> anyhow::Result<()> {
        let pipes = self.run.pipes();
        let pipe = pipes.get(self.node % pipes.len()).context("there are nodes")?.clone();
        let mut connection = Connection::open(&pipe, self.session, self.form)?;
        let sent = self.all.len() as u64;
        let oldest = self.waiting.front().map_or(sent + 1, |place| *place as u64 + 1);
        if !(oldest..=sent + 1).contains(&connection.next) {
            bail!(Broken(format!("the next number is {}, not {oldest} to {}", connection.next, sent + 1)));
        }
        // Also what counted already: its acknowledgement is told again.
        let again: Vec<Request> = self.waiting.iter().map(|place| self.request(*place as u64 + 1)).collect();
        connection.say(&again)?;
        let mut heard = Instant::now();
        let mut due = Instant::now();
        loop {
            if !self.run.is_over() && self.waiting.len() < WINDOW && Instant::now() >= due {
                due = Instant::now() + PACE;
                if cut() {
                    return Ok(());
                }
                let request = self.begin();
                connection.say(&[request])?;
            }
            if self.waiting.is_empty() {
                if self.run.is_over() {
                    return Ok(());
                }
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                heard = Instant::now();
                continue;
            }
            match connection.hear()? {
                Some(answer) => {
                    self.take(answer)?;
                    heard = Instant::now();
                }
                None if heard.elapsed() > SILENCE_MAX => bail!("the node is silent"),
                None => {}
            }
        }
    }

    fn begin(&mut self) -> Request {
        let sequence = self.all.len() as u64 + 1;
        self.waiting.push_back(self.all.len());
        let (session, topic) = (self.session, self.topic.clone());
        self.all.push(Publication { session, sequence, topic, sent: self.run.now(), acknowledged: None });
        self.request(sequence)
    }

    fn request(&self, sequence: u64) -> Request {
        let mut data = sequence.to_be_bytes().to_vec();
        data.resize(data.len() + FILLING, b'.');
        let order = Order::Publish { topic: self.topic.clone(), data };
        Request::Submit(Submission { sequence, order })
    }

    fn take(&mut self, answer: Answer) -> anyhow::Result<()> {
        match answer {
            Answer::Done { sequence, offset, effect: Effect::Published { number } } => {
                let place = (sequence as usize).wrapping_sub(1);
                let at = self.run.now();
                let publication = self.all.get_mut(place);
                let publication = publication.ok_or_else(|| Broken(format!("{sequence} is acknowledged unsent")))?;
                publication.acknowledged = Some(Acknowledged { at, offset, number });
                let before = self.waiting.len();
                self.waiting.retain(|waiting| *waiting != place);
                if self.waiting.len() == before {
                    bail!(Broken(format!("{sequence} is acknowledged twice in a connection")));
                }
                self.run.count();
                Ok(())
            }
            // Nobody leads, and perhaps one in front of this one was not taken.
            Answer::Error(refusal) if matches!(refusal.code, ErrorCode::Unavailable | ErrorCode::Gap) => {
                bail!("{}", refusal.text)
            }
            other => bail!(Broken(format!("the answer to a message is {other:?}"))),
        }
    }
}
