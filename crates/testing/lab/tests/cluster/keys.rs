//! A program that reads and changes keys at whichever node takes it, one call at a time, and notes what it was answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use pipe_protocol::{Answer, Effect, ErrorCode, Form, Level, Name, Order, Request, SessionId, Submission};
use rand::Rng;
use simnet::Seed;

use super::connection::{Connection, SILENCE_MAX};
use super::linearizable::{Call, Operation, Reply, State};
use super::publisher::Broken;
use super::run::{PATIENCE, Run};

/// Keys of a run.
pub(crate) const KEYS: u64 = 3;
const PACE: Duration = Duration::from_millis(15);
const REST: Duration = Duration::from_millis(50);
/// Once in so many calls the program crashes behind the question: its session is never used again.
const CRASH_ONCE_IN: u64 = 40;
/// Once in so many calls it turns to another node without need.
const TURN_ONCE_IN: u64 = 10;

/// Calls with their keys, from one program.
pub(crate) type History = Vec<(u64, Operation)>;

/// Asks until the run is over.
pub(crate) fn use_keys(run: &Run, number: u8, seed: Seed) -> anyhow::Result<History> {
    let mut generator = seed.generator(100 + u64::from(number));
    let mut program = Program {
        run: run.clone(),
        session: session(&mut generator),
        sequence: 1,
        values: 0,
        number,
        node: usize::from(number),
        connection: None,
        known: BTreeMap::new(),
    };
    let mut history = Vec::new();
    while !run.is_over() {
        let key = generator.next_u64() % KEYS;
        let call = program.choose(generator.next_u64(), key);
        let begun = run.now();
        if generator.next_u64().is_multiple_of(CRASH_ONCE_IN) {
            program.ask_and_crash(key, call);
            program.session = session(&mut generator);
            program.sequence = 1;
            history.push((key, Operation { call, begun, answered: None }));
            continue;
        }
        let reply = program.insist(key, call).with_context(|| format!("program {number} with keys"))?;
        let answered = reply.map(|reply| (run.now(), reply));
        history.push((key, Operation { call, begun, answered }));
        run.count();
        if generator.next_u64().is_multiple_of(TURN_ONCE_IN) {
            program.turn();
        }
        std::thread::sleep(PACE);
    }
    Ok(history)
}

fn session(generator: &mut impl Rng) -> SessionId {
    let mut bytes = [0; 16];
    generator.fill_bytes(&mut bytes);
    SessionId::from_bytes(bytes)
}

struct Program {
    run: Run,
    session: SessionId,
    /// Of the next change.
    sequence: u64,
    /// How many values it has made up.
    values: u64,
    number: u8,
    node: usize,
    connection: Option<Connection>,
    /// The version that it saw last of each key.
    known: BTreeMap<u64, u64>,
}

impl Program {
    fn choose(&mut self, draw: u64, key: u64) -> Call {
        self.values += 1;
        // Unique, so that a read tells which change it saw.
        let value = Some(u64::from(self.number) << 32 | self.values);
        let known = self.known.get(&key).copied();
        match draw % 10 {
            0..=3 => Call::Read,
            4..=7 => Call::Put { value, if_version: Some(known.unwrap_or(0)) },
            8 => Call::Put { value, if_version: None },
            _ => Call::Put { value: None, if_version: known },
        }
    }

    /// Asks until there is an answer; a change is the same change however often it is sent. Without an answer to the end it is
    /// an error, for the cluster is whole by then.
    fn insist(&mut self, key: u64, call: Call) -> anyhow::Result<Option<Reply>> {
        let mut deadline = None;
        loop {
            match self.ask(key, call) {
                Ok(reply) => {
                    if call != Call::Read {
                        self.sequence += 1;
                    }
                    let (Reply::Value(State { version, .. })
                    | Reply::Changed { version }
                    | Reply::Differs(State { version, .. })) = reply;
                    self.known.insert(key, version);
                    return Ok(Some(reply));
                }
                Err(error) if error.is::<Broken>() => return Err(error),
                Err(error) => {
                    self.turn();
                    if self.run.is_over() {
                        let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                        ensure!(Instant::now() < deadline, "{call:?} of key {key} is never answered: {error:#}");
                    }
                    std::thread::sleep(REST);
                }
            }
        }
    }

    fn turn(&mut self) {
        self.connection = None;
        self.node += 1;
    }

    fn connected(&mut self) -> anyhow::Result<&mut Connection> {
        if self.connection.is_none() {
            let pipes = self.run.pipes();
            let pipe = pipes.get(self.node % pipes.len()).context("there are nodes")?;
            let connection = Connection::open(pipe, self.session, Form::Lines)?;
            if ![self.sequence, self.sequence + 1].contains(&connection.next) {
                bail!(Broken(format!("the next number is {}, not {} or one more", connection.next, self.sequence)));
            }
            self.connection = Some(connection);
        }
        self.connection.as_mut().context("it was opened just before")
    }

    fn ask(&mut self, key: u64, call: Call) -> anyhow::Result<Reply> {
        let (request, sequence) = (request(key, call, self.sequence)?, self.sequence);
        let connection = self.connected()?;
        connection.say(&[request])?;
        let deadline = Instant::now() + SILENCE_MAX;
        while Instant::now() < deadline {
            let Some(answer) = connection.hear()? else { continue };
            return match answer {
                Answer::Value { id, version, data, .. } if id == sequence => {
                    Ok(Reply::Value(State { version, value: value(data)? }))
                }
                Answer::Done { sequence: about, effect: Effect::Changed { version }, .. } if about == sequence => {
                    Ok(Reply::Changed { version })
                }
                Answer::Done { sequence: about, effect: Effect::Differs { version, data }, .. }
                    if about == sequence =>
                {
                    Ok(Reply::Differs(State { version, value: value(data)? }))
                }
                Answer::Error(refusal) if refusal.code == ErrorCode::Unavailable => bail!("{}", refusal.text),
                other => bail!(Broken(format!("the answer to {call:?} with number {sequence} is {other:?}"))),
            };
        }
        bail!("the node is silent")
    }

    /// Asks and is gone before there is an answer.
    fn ask_and_crash(&mut self, key: u64, call: Call) {
        let sequence = self.sequence;
        // Whether it was sent at all, nobody knows.
        let _ = request(key, call, sequence).and_then(|request| self.connected()?.say(&[request]));
        self.turn();
    }
}

fn request(key: u64, call: Call, sequence: u64) -> anyhow::Result<Request> {
    let key = Name::new(&format!("key-{key}"))?;
    Ok(match call {
        Call::Read => Request::Read { id: sequence, key, level: Level::Linearizable },
        Call::Put { value, if_version } => {
            let value = value.map(|value| value.to_be_bytes().to_vec());
            Request::Submit(Submission { sequence, order: Order::Put { key, value, if_version } })
        }
    })
}

fn value(data: Option<Vec<u8>>) -> anyhow::Result<Option<u64>> {
    let Some(data) = data else { return Ok(None) };
    let bytes = data.try_into().map_err(|data| Broken(format!("a key holds {data:?}")))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}
