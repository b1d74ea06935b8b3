//! A node's pipe without a node: one log in memory, and every fault that a connection can have, drawn from a seed.

use pipe_protocol::{
    Answer, Effect, ErrorCode, Form, From, MAGIC, Message, Order, Reader, Refusal, Request, SessionId, Submission,
    encode,
};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers that the cluster keeps of a session.
const ANSWERS_KEPT: u64 = 64;
/// How often a connection looks for something to tell.
const GLANCE: Duration = Duration::from_millis(2);

/// One in so many messages meets the fault; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The connection ends, before or after the message counts, maybe within its answer.
    pub(crate) cut: u64,
    /// It is answered twice.
    pub(crate) twice: u64,
    /// It does not count: there is no leader.
    pub(crate) no_leader: u64,
    /// It takes so long.
    pub(crate) pause: Duration,
    /// The application refuses message number so many of a session.
    pub(crate) refuse: u64,
}

/// What the cluster knows, and what happened.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) log: Vec<Message>,
    /// Of each session, the places in the log of its messages.
    sessions: BTreeMap<SessionId, Vec<usize>>,
    pub(crate) cuts: u64,
    /// Subscriptions, over all connections.
    pub(crate) subscribed: u64,
    /// Messages that were told, over all connections.
    pub(crate) told: usize,
    faults: Faults,
    random: u64,
}

impl Known {
    /// Whether the next one in so many meets its fault.
    fn hits(&mut self, one_in: u64) -> bool {
        // splitmix64, which a seed replays.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        one_in != 0 && (mixed ^ (mixed >> 31)).is_multiple_of(one_in)
    }

    /// The session is forgotten, as after a day of silence.
    pub(crate) fn forget(&mut self) {
        self.sessions.clear();
    }

    pub(crate) fn publish(&mut self, origin: SessionId, topic: &pipe_protocol::Name, data: Vec<u8>) -> usize {
        let number = self.log.iter().filter(|message| message.name == *topic).count() as u64;
        // Places of the order that hold nothing for a program lie between.
        let offset = self.log.len() as u64 * 3 + 5;
        self.log.push(Message { offset, name: topic.clone(), number, origin, time_s: 1, data: Some(data) });
        self.log.len() - 1
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text =
            |message: &Message| String::from_utf8_lossy(message.data.as_deref().unwrap_or_default()).into_owned();
        self.log.iter().map(text).collect()
    }

    fn submit(&mut self, session: SessionId, Submission { sequence, order }: Submission) -> Answer {
        let Order::Publish { topic, data } = order else { panic!("only messages are published here") };
        let counted = self.sessions.get(&session).expect("it was greeted").len() as u64;
        let refuse = |code, expected| {
            Answer::Error(Refusal { about: Some(sequence), expected, ..Refusal::new(code, "as a test wants it") })
        };
        if sequence == counted + 1 {
            if self.faults.refuse == sequence {
                return refuse(ErrorCode::Refused, None);
            }
            if self.hits(self.faults.no_leader) {
                return refuse(ErrorCode::Unavailable, None);
            }
            let place = self.publish(session, &topic, data);
            self.sessions.entry(session).or_default().push(place);
        } else if sequence > counted {
            return refuse(ErrorCode::Gap, Some(counted + 1));
        } else if counted - sequence >= ANSWERS_KEPT {
            return refuse(ErrorCode::Expired, None);
        }
        let message = &self.log[self.sessions[&session][sequence as usize - 1]];
        Answer::Done { sequence, offset: message.offset, effect: Effect::Published { number: message.number } }
    }
}

/// The node's pipe.
pub(crate) struct Pipe {
    pub(crate) path: PathBuf,
    known: Arc<Mutex<Known>>,
    streams: Arc<Mutex<Option<Vec<UnixStream>>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Pipe {
    pub(crate) fn open(path: &Path, seed: u64, faults: Faults) -> Self {
        let known = Known { faults, random: seed, ..Known::default() };
        let mut pipe = Self {
            path: path.to_owned(),
            known: Arc::new(Mutex::new(known)),
            streams: Arc::default(),
            accepting: None,
        };
        pipe.start();
        pipe
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Serves with what it knew.
    pub(crate) fn start(&mut self) {
        let listener = UnixListener::bind(&self.path).expect("a socket");
        let (known, streams) = (self.known.clone(), self.streams.clone());
        *streams.lock().expect("nobody panics with it") = Some(Vec::new());
        self.accepting = Some(std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                match &mut *streams.lock().expect("nobody panics with it") {
                    Some(streams) => streams.push(stream.try_clone().expect("a descriptor")),
                    None => return,
                }
                let known = known.clone();
                std::thread::spawn(move || serve(stream, &known));
            }
        }));
    }

    /// As a node that is killed.
    pub(crate) fn stop(&mut self) {
        let streams = self.streams.lock().expect("nobody panics with it").take();
        for stream in streams.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // It looks whether it shall go on at the next connection.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("it ends");
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.accepting.is_some() {
            self.stop();
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().expect("nobody panics with it")
}

/// One connection.
struct Served {
    stream: UnixStream,
    form: Form,
    session: Option<SessionId>,
    next: Option<usize>,
    credit: u64,
}

/// The connection is at its end.
struct Over;

fn serve(stream: UnixStream, known: &Mutex<Known>) {
    stream.set_read_timeout(Some(GLANCE)).expect("a socket");
    let mut served = Served { stream, form: Form::Lines, session: None, next: None, credit: 0 };
    let mut reader = Reader::<Request>::new();
    let mut buffer = [0; 4096];
    loop {
        match served.stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => reader.push(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
        while let Some(request) = reader.next_message() {
            served.form = reader.form().expect("a message was read");
            if served.handle(known, request.expect("a message")).is_err() {
                return;
            }
        }
        if served.tell(known).is_err() {
            return;
        }
    }
}

impl Served {
    fn say(&mut self, answer: &Answer) -> Result<(), Over> {
        let mut bytes = Vec::new();
        encode(answer, self.form, &mut bytes);
        self.stream.write_all(&bytes).map_err(|_| Over)
    }

    /// Ends within an answer.
    fn cut(&mut self, known: &Mutex<Known>, answer: &Answer) -> Over {
        let mut bytes = Vec::new();
        encode(answer, self.form, &mut bytes);
        let mut known = lock(known);
        let part = if known.hits(2) { bytes.len() / 2 } else { 0 };
        known.cuts += 1;
        let _ = self.stream.write_all(&bytes[..part]);
        let _ = self.stream.shutdown(Shutdown::Both);
        Over
    }

    fn handle(&mut self, shared: &Mutex<Known>, request: Request) -> Result<(), Over> {
        let mut known = lock(shared);
        let faults = known.faults;
        if matches!(request, Request::Submit(_)) && !faults.pause.is_zero() {
            drop(known);
            std::thread::sleep(faults.pause);
            known = lock(shared);
        }
        match request {
            Request::Hello { session, .. } => {
                let fresh = SessionId::from_bytes([known.sessions.len() as u8 + 1; 16]);
                let session = session.unwrap_or(fresh);
                let next = known.sessions.entry(session).or_default().len() as u64 + 1;
                self.session = Some(session);
                drop(known);
                self.say(&Answer::Welcome { session, next })
            }
            Request::Submit(submission) => {
                if known.hits(faults.cut) {
                    known.cuts += 1;
                    let _ = self.stream.shutdown(Shutdown::Both);
                    return Err(Over);
                }
                let answer = known.submit(self.session.expect("it was greeted"), submission);
                let (is_cut, is_twice) = (known.hits(faults.cut), known.hits(faults.twice));
                drop(known);
                if is_cut {
                    return Err(self.cut(shared, &answer));
                }
                self.say(&answer)?;
                if is_twice { self.say(&answer) } else { Ok(()) }
            }
            Request::Subscribe { from, .. } => {
                self.next = Some(match from {
                    From::Oldest => 0,
                    From::Tail => known.log.len(),
                    From::Offset(offset) => known.log.partition_point(|message| message.offset < offset),
                });
                known.subscribed += 1;
                Ok(())
            }
            Request::Credit { count } => {
                self.credit += u64::from(count);
                Ok(())
            }
            Request::Read { .. } => panic!("nobody reads keys here"),
        }
    }

    /// What the subscription may get.
    fn tell(&mut self, shared: &Mutex<Known>) -> Result<(), Over> {
        while let Some(place) = self.next.filter(|_| self.credit > 0) {
            let mut known = lock(shared);
            let Some(message) = known.log.get(place).cloned() else {
                let end = Answer::Reached { offset: known.log.last().map_or(0, |message| message.offset + 1) };
                let is_due = self.credit.is_multiple_of(7);
                drop(known);
                return if is_due { self.say(&end) } else { Ok(()) };
            };
            let faults = known.faults;
            let (is_cut, is_twice) = (known.hits(faults.cut), known.hits(faults.twice));
            known.told += 1;
            drop(known);
            let answer = Answer::Message(message);
            if is_cut {
                return Err(self.cut(shared, &answer));
            }
            self.say(&answer)?;
            self.credit -= 1;
            if is_twice && self.credit > 0 {
                self.say(&answer)?;
                self.credit -= 1;
            }
            self.next = Some(place + 1);
        }
        Ok(())
    }
}

// The form of a connection is told by its first byte.
const _: () = assert!(MAGIC[0] == 0);
