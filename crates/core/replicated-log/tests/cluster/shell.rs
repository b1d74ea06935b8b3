//! The smallest shell there is: vectors for disks and queues, and every turn done at once.

use identity::NodeId;
use replicated_log::apps::{App, PING_PONG, built_in};
use replicated_log::record::{Header, LogDecoder, Places, Recovered};
use replicated_log::{
    AppId, Checkpoint, ClusterId, Entry, Event, FRAME_BYTES_MAX, LogIndex, LogReader, Members, Node, Now, Outgoing,
    ReadError, Sequence, SessionEpoch, SessionId, Term, Token, Tuning, Write,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 32]);

#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Files>>);

#[derive(Default)]
pub(crate) struct Files {
    pub(crate) checkpoint: Vec<u8>,
    pub(crate) term: Term,
    pub(crate) log: Vec<u8>,
    places: Places,
    pub(crate) reads: usize,
    pub(crate) is_broken: bool,
}

impl Disk {
    pub(crate) fn files(&self) -> std::sync::MutexGuard<'_, Files> {
        self.0.lock().expect("one thread")
    }

    fn write(&self, write: Write) {
        let mut files = self.files();
        match write {
            Write::Append { term, position, bytes, runs } if term == files.term => {
                files.log.extend(bytes);
                runs.iter().for_each(|(from, count)| files.places.handle_run(position, *from, *count));
            }
            Write::Append { .. } => {}
            Write::BeginTerm { term, checkpoint, log_header } => {
                let reads = files.reads;
                *files = Files { checkpoint, term, log: log_header.to_vec(), reads, ..Files::default() };
            }
        }
    }
}

impl LogReader for Disk {
    fn read_entries(&mut self, _: Term, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, ReadError> {
        let mut files = self.files();
        files.reads += 1;
        if files.is_broken {
            return Err(ReadError);
        }
        let read_at = |position: u64, buffer: &mut [u8]| {
            let rest = &files.log[position as usize..];
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok::<_, ReadError>(length)
        };
        files.places.read(from, to, read_at).map_err(|_| ReadError)
    }

    fn read_checkpoint(&mut self, _: Term, at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let files = self.files();
        Ok(files.checkpoint.iter().skip(at as usize).take(length).copied().collect())
    }
}

pub(crate) fn id(number: u8) -> NodeId {
    NodeId([number; 32])
}

pub(crate) fn session(number: u128) -> SessionId {
    SessionId::new(number).expect("tests use no 0")
}

pub(crate) struct Cluster {
    pub(crate) now_ms: u64,
    pub(crate) nodes: BTreeMap<u8, Node>,
    pub(crate) disks: BTreeMap<u8, Disk>,
    pub(crate) events: BTreeMap<u8, Vec<Event>>,
    /// Whom no frame reaches and from whom none comes.
    pub(crate) cut: BTreeSet<u8>,
    pub(crate) largest_frame: usize,
    queues: BTreeMap<(u8, u8), VecDeque<Outgoing>>,
    epochs: u64,
    pub(crate) tuning: Tuning,
    apps: fn() -> BTreeMap<AppId, Box<dyn App>>,
}

impl Cluster {
    pub(crate) fn new(count: u8) -> Self {
        Self::with(count, Tuning::default(), built_in)
    }

    pub(crate) fn with(count: u8, tuning: Tuning, apps: fn() -> BTreeMap<AppId, Box<dyn App>>) -> Self {
        let mut cluster = Self {
            now_ms: 0,
            nodes: BTreeMap::new(),
            disks: BTreeMap::new(),
            events: BTreeMap::new(),
            cut: BTreeSet::new(),
            largest_frame: 0,
            queues: BTreeMap::new(),
            epochs: 0,
            tuning,
            apps,
        };
        let members = Members::new((1..=count).map(id)).expect("two or more");
        let genesis = Checkpoint::genesis(CLUSTER, members);
        (1..=count).for_each(|number| cluster.add(number, &genesis));
        cluster
    }

    /// Three nodes, of which one was stopped before so many messages were ordered and still is: the cluster, its leader, and
    /// the one that lags.
    pub(crate) fn with_laggard(tuning: Tuning, missed: u64) -> (Self, u8, u8) {
        let mut cluster = Self::with(3, tuning, built_in);
        cluster.run(500);
        let (leader, other) = (cluster.leader(), cluster.follower());
        cluster.open(leader, 9);
        cluster.stop(other);
        for sequence in 1..=missed {
            cluster.submit(leader, (9, sequence), PING_PONG, b"ping");
            cluster.run(3);
        }
        cluster.run(1_500);
        (cluster, leader, other)
    }

    /// A node with an empty disk but for this checkpoint.
    pub(crate) fn add(&mut self, number: u8, checkpoint: &Checkpoint) {
        let disk = Disk::default();
        let log = Header { cluster: CLUSTER, node: id(number), term: checkpoint.term }.encode().to_vec();
        *disk.files() = Files { checkpoint: checkpoint.encode(), term: checkpoint.term, log, ..Files::default() };
        self.disks.insert(number, disk);
        self.start(number);
    }

    pub(crate) fn start(&mut self, number: u8) {
        let disk = self.disks[&number].clone();
        let (checkpoint, term, log) = {
            let files = disk.files();
            (files.checkpoint.clone(), files.term, files.log.clone())
        };
        let mut decoder = LogDecoder::new(Header { cluster: CLUSTER, node: id(number), term });
        let (mut recovered, mut places) = (Recovered::default(), Places::default());
        decoder.push(&log);
        while let Some((position, records)) = decoder.poll_batch().expect("our own log") {
            places.handle_batch(position, &records);
            records.iter().for_each(|record| recovered.handle_record(record));
        }
        recovered.file_length = decoder.finish().expect("our own log").length;
        disk.files().places = places;
        self.epochs += 1;
        let log = (recovered, Box::new(disk) as Box<dyn LogReader>);
        let node = Node::open((CLUSTER, id(number)), self.epochs, self.tuning, &checkpoint, log, (self.apps)());
        self.nodes.insert(number, node.expect("our own files"));
        let others: Vec<u8> = self.nodes.keys().copied().filter(|other| *other != number).collect();
        others.into_iter().for_each(|other| self.connect(number, other));
    }

    pub(crate) fn stop(&mut self, number: u8) {
        self.nodes.remove(&number);
        self.queues.retain(|(from, to), _| *from != number && *to != number);
    }

    pub(crate) fn connect(&mut self, one: u8, other: u8) {
        self.epochs += 1;
        let (now, epoch) = (self.now(), SessionEpoch(self.epochs));
        for (own, peer) in [(one, other), (other, one)] {
            self.queues.insert((own, peer), VecDeque::new());
            if let Some(node) = self.nodes.get_mut(&own) {
                node.handle_session(now, id(peer), epoch);
            }
        }
    }

    /// Puts `number` back among the others.
    pub(crate) fn heal(&mut self, number: u8) {
        self.cut.remove(&number);
        let others: Vec<u8> = self.nodes.keys().copied().filter(|other| *other != number).collect();
        others.into_iter().for_each(|other| self.connect(number, other));
    }

    pub(crate) fn now(&self) -> Now {
        Now { monotonic: Duration::from_millis(self.now_ms), utc_ms: 1_800_000_000_000 + self.now_ms }
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            let numbers: Vec<u8> = self.nodes.keys().copied().collect();
            numbers.into_iter().for_each(|number| self.turn(number));
        }
    }

    fn turn(&mut self, number: u8) {
        let now = self.now();
        let Some(node) = self.nodes.get_mut(&number) else { return };
        if node.poll_deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            node.handle_timeout(now);
        }
        for ((from, to), queue) in &mut self.queues {
            if *to == number {
                for frame in queue.drain(..) {
                    node.handle_frame(now, id(*from), &frame.bytes).expect("members speak well");
                }
            }
        }
        while let Some(turn) = node.poll_turn(now) {
            turn.writes.into_iter().for_each(|write| self.disks[&number].write(write));
            let released = node.handle_saved(turn.unsynced);
            self.events.entry(number).or_default().extend(released.events);
            for frame in turn.early.into_iter().chain(released.frames) {
                self.largest_frame = self.largest_frame.max(frame.bytes.len());
                assert!(frame.bytes.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", frame.bytes.len());
                let to = frame.to.0[0];
                if !self.cut.contains(&number) && !self.cut.contains(&to) {
                    self.queues.entry((number, to)).or_default().push_back(frame);
                }
            }
        }
    }

    pub(crate) fn leader(&self) -> u8 {
        let leading = |(number, node): (&u8, &Node)| node.status().leads.then_some(*number);
        let leaders: Vec<u8> = self.nodes.iter().filter_map(leading).collect();
        assert_eq!(leaders.len(), 1, "one leads");
        leaders[0]
    }

    pub(crate) fn follower(&self) -> u8 {
        let leader = self.leader();
        *self.nodes.keys().find(|number| **number != leader).expect("more than one node")
    }

    pub(crate) fn open(&mut self, number: u8, id: u128) {
        self.nodes.get_mut(&number).expect("it runs").open_session(Token(id as u64), session(id)).expect("room");
        self.run(50);
    }

    pub(crate) fn submit(&mut self, number: u8, (id, sequence): (u128, u64), app: AppId, body: &[u8]) {
        let node = self.nodes.get_mut(&number).expect("it runs");
        node.submit(Token(sequence), (session(id), Sequence(sequence)), app, body).expect("room");
    }

    /// Answers of a node so far.
    pub(crate) fn answers(&self, number: u8) -> Vec<(Token, u64, Vec<u8>)> {
        let events = self.events.get(&number).into_iter().flatten();
        let answers = events.filter_map(|event| match event {
            Event::Acknowledged { token, offset, result } => Some((*token, offset.0, result.clone())),
            _ => None,
        });
        answers.collect()
    }

    pub(crate) fn states(&self) -> Vec<Vec<u8>> {
        self.nodes.values().map(|node| node.machine().snapshot()).collect()
    }

    pub(crate) fn assert_alike(&self) {
        let states = self.states();
        assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "the nodes differ");
    }
}
