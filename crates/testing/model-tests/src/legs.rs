//! Two ends of a tunnel of several legs, with a real session on top, on virtual time. Each leg is a circuit whose whole
//! path is one line a direction.

mod end;

use conflux::{
    AddLegError, Building, Built, Circuit, First, Fresh, JoinPoint, LegControl, LegId, Nonce, NotAccepted, Pace,
    Scheduler, Tunnel, TunnelConfig, TunnelId,
};
pub use end::{End, Sample};
use identity::NodeId;
use session::{Paths, Session, SessionConfig};
use simnet::{Line, Path, Seed};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// UDP payload of every cell.
pub const CELL_BYTES: usize = 1350;
/// Bytes of a session packet that fit.
pub const PACKET_BYTES: usize = 1222;

/// Turns of a world in which its time does not move: far more than cells arrive at one instant.
const STANDSTILL_MAX: u32 = 2_000;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Towards {
    /// From the client.
    Exit,
    /// From the exit.
    Client,
}

/// What a leg is called here: its circuit, which never changes its number.
pub type CircuitNumber = u8;

/// What is done to a circuit on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// Nothing passes, and nobody is told: a relay was killed.
    Dead,
    /// Nothing passes, and what came meanwhile passes at the end: a relay stands still. At most this many cells a direction
    /// wait, as in a socket's buffer.
    Frozen {
        /// Cells that wait.
        queue: usize,
    },
}

#[derive(Debug)]
struct TestCircuit(CircuitNumber);

impl Circuit for TestCircuit {
    type Carrier = CircuitNumber;
    fn into_carrier(self) -> CircuitNumber {
        self.0
    }
}

/// A cell under way.
#[derive(Debug, Clone)]
struct Cell {
    number: u64,
    inner: Vec<u8>,
}

/// What a run is made from.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The controller of each leg.
    pub control: LegControl,
    /// The scheduler of both ends.
    pub scheduler: Scheduler,
    /// See [`TunnelConfig::start_class`].
    pub start_class: Duration,
    /// Cells of each leg and direction in a slot of 5 ms; none: mode `off`.
    pub cells_per_slot: Option<u32>,
}

impl Setting {
    fn tunnel(&self) -> TunnelConfig {
        TunnelConfig {
            pace: if self.cells_per_slot.is_some() { Pace::Slots } else { Pace::Controlled },
            control: self.control,
            scheduler: self.scheduler,
            start_class: self.start_class,
            ..TunnelConfig::default()
        }
    }
}

/// The time between two slots.
const SLOT: Duration = Duration::from_millis(5);

impl Default for Setting {
    fn default() -> Self {
        let config = TunnelConfig::default();
        let (control, scheduler, start_class) = (config.control, config.scheduler, config.start_class);
        Self { control, scheduler, start_class, cells_per_slot: None }
    }
}

/// The two ends and what is between them.
pub struct World {
    /// The time.
    pub now: Instant,
    start: Instant,
    seed: Seed,
    setting: Setting,
    /// The client.
    pub client: End,
    /// The exit.
    pub exit: End,
    join_point: JoinPoint,
    tunnel: Option<TunnelId>,
    lines: BTreeMap<(CircuitNumber, Towards), Line>,
    troubles: BTreeMap<CircuitNumber, Trouble>,
    waiting: Vec<(CircuitNumber, Towards, Cell)>,
    wire: BTreeMap<(Instant, u64), (CircuitNumber, Towards, Cell)>,
    serial: u64,
    next_slot: Option<Instant>,
    /// What an observer of the lines sees: when, on which circuit, in which direction.
    pub seen: Vec<(Duration, CircuitNumber, Towards)>,
    /// The chance in a thousand that a cell is delivered once more, later.
    pub replay_per_mille: u32,
    draws: rand_chacha::ChaCha8Rng,
}

impl World {
    /// Two ends without legs.
    ///
    /// # Panics
    /// If the session's configuration is refused, which is a bug of this file.
    pub fn new(seed: Seed, setting: Setting) -> Self {
        #[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let now = Instant::now();
        let byte = seed_byte(seed);
        let keys = [1, 2].map(|number| identity::NodeSecret::from_seed([number; 32]));
        let session = |own: usize| SessionConfig {
            wide_open: true,
            paths: Paths::Several,
            stream_window: session::STREAM_WINDOW_MAX,
            ..SessionConfig::new(PACKET_BYTES, keys[own].clone(), keys[1 - own].node_id(), [byte ^ own as u8; 32])
        };
        let client = Session::client(session(0), now).expect("a good configuration");
        let exit = Session::server(session(1), now).expect("a good configuration");
        let tunnel = Tunnel::client(now, setting.tunnel(), Nonce::new([byte; 32]), [byte ^ 0x55; 32]);
        Self {
            now,
            start: now,
            seed,
            setting,
            client: End::new(Some(tunnel), client, true),
            exit: End::new(None, exit, false),
            join_point: JoinPoint::default(),
            tunnel: None,
            lines: BTreeMap::new(),
            troubles: BTreeMap::new(),
            waiting: Vec::new(),
            wire: BTreeMap::new(),
            serial: 0,
            next_slot: setting.cells_per_slot.map(|_| now + SLOT),
            seen: Vec::new(),
            replay_per_mille: 0,
            draws: seed.generator(999),
        }
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Adds a circuit over these lines as a leg.
    ///
    /// # Errors
    /// As [`Tunnel::add_leg`].
    pub fn add_leg(&mut self, circuit: CircuitNumber, up: Path, down: Path) -> Result<LegId, AddLegError> {
        let stream = u64::from(circuit) * 2 + 10;
        self.lines.insert((circuit, Towards::Exit), Line::new(up, self.seed, stream));
        self.lines.insert((circuit, Towards::Client), Line::new(down, self.seed, stream + 1));
        let Some(tunnel) = self.client.tunnel.as_mut() else { return Err(AddLegError::Over) };
        let leg = tunnel.add_leg(self.now, built(circuit)).map_err(|(_, error)| error)?;
        self.client.legs.insert(circuit, leg);
        Ok(leg)
    }

    /// Does something to a circuit, or ends it.
    pub fn trouble(&mut self, circuit: CircuitNumber, trouble: Trouble) {
        self.troubles.insert(circuit, trouble);
        if trouble == Trouble::None {
            let (freed, kept) = std::mem::take(&mut self.waiting).into_iter().partition(|(of, _, _)| *of == circuit);
            self.waiting = kept;
            let freed: Vec<_> = freed;
            for (circuit, towards, cell) in freed {
                self.carry(circuit, towards, cell);
            }
        }
    }

    /// The path of a circuit's direction, to be changed.
    pub fn path_mut(&mut self, circuit: CircuitNumber, towards: Towards) -> Option<&mut Path> {
        self.lines.get_mut(&(circuit, towards)).map(Line::path_mut)
    }

    /// Takes a circuit down: both ends are told.
    pub fn destroy(&mut self, circuit: CircuitNumber) {
        self.lines.remove(&(circuit, Towards::Exit));
        self.lines.remove(&(circuit, Towards::Client));
        for end in [&mut self.client, &mut self.exit] {
            if let (Some(leg), Some(tunnel)) = (end.legs.remove(&circuit), end.tunnel.as_mut()) {
                tunnel.handle_circuit_gone(self.now, leg);
            }
        }
    }

    /// Runs for that long.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until `done`, or for that long. Says whether it is done.
    pub fn run_until(&mut self, longest: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + longest;
        let (mut stood, mut stood_at) = (0, self.now);
        loop {
            stood = if self.now > stood_at { 0 } else { stood + 1 };
            stood_at = self.now;
            assert!(stood < STANDSTILL_MAX, "a deadline lies in the past and stays there");
            self.transmit();
            if done(self) {
                return true;
            }
            let Some(next) = self.next_time().filter(|next| *next <= until) else {
                self.now = until;
                return done(self);
            };
            self.now = self.now.max(next);
            self.deliver();
        }
    }

    fn next_time(&mut self) -> Option<Instant> {
        let arrival = self.wire.keys().next().map(|(at, _)| *at);
        [arrival, self.next_slot, self.client.poll_timeout(), self.exit.poll_timeout()].into_iter().flatten().min()
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (circuit, towards, cell) = entry.remove();
            match towards {
                Towards::Client => self.client.handle_cell(self.now, circuit, cell.number, &cell.inner),
                Towards::Exit if self.exit.legs.contains_key(&circuit) => {
                    self.exit.handle_cell(self.now, circuit, cell.number, &cell.inner);
                }
                Towards::Exit => self.first_cell(circuit, &cell),
            }
        }
    }

    fn first_cell(&mut self, circuit: CircuitNumber, cell: &Cell) {
        if !self.exit.opens_layer(circuit, cell.number) || !self.lines.contains_key(&(circuit, Towards::Exit)) {
            return;
        }
        let first = self.join_point.handle_first(self.now, Fresh::new(circuit), true, cell.number, &cell.inner);
        match first {
            First::New(id, accepted) => {
                let byte = seed_byte(self.seed);
                let tunnel = Tunnel::exit(self.now, self.setting.tunnel(), accepted, [byte ^ 0x99; 32]);
                self.tunnel = Some(id);
                self.exit.legs.extend(tunnel.legs().map(|leg| (circuit, leg.leg)));
                self.exit.tunnel = Some(tunnel);
            }
            First::Joins(_, accepted) => {
                let Some(tunnel) = self.exit.tunnel.as_mut() else { return };
                match tunnel.accept(self.now, accepted) {
                    Ok(leg) => {
                        self.exit.legs.insert(circuit, leg);
                    }
                    Err((_, NotAccepted::Refused(..) | NotAccepted::Fault(_))) => self.destroy(circuit),
                }
            }
            First::Nothing(_) | First::InUse(_) => {}
            First::Refused(..) | First::Fault(..) => self.destroy(circuit),
        }
    }

    fn transmit(&mut self) {
        let is_slot = self.next_slot.is_some_and(|at| at <= self.now);
        self.next_slot = self.next_slot.map(|at| if is_slot { at + SLOT } else { at });
        for towards in [Towards::Exit, Towards::Client] {
            let end = if towards == Towards::Exit { &mut self.client } else { &mut self.exit };
            let mut cells = end.pump(self.now, self.setting.cells_per_slot.is_none());
            if is_slot {
                cells.extend(end.slot_cells(self.now, self.setting.cells_per_slot.unwrap_or_default()));
            }
            for (circuit, number, inner) in cells {
                self.carry(circuit, towards, Cell { number, inner });
            }
        }
        for circuit in [std::mem::take(&mut self.client.released), std::mem::take(&mut self.exit.released)].concat() {
            self.destroy(circuit);
        }
    }

    fn carry(&mut self, circuit: CircuitNumber, towards: Towards, cell: Cell) {
        self.seen.push((self.now - self.start, circuit, towards));
        match self.troubles.get(&circuit).copied().unwrap_or_default() {
            Trouble::None => {}
            Trouble::Dead => return,
            Trouble::Frozen { queue } => {
                let before = self.waiting.iter().filter(|(of, to, _)| (*of, *to) == (circuit, towards)).count();
                if before < queue {
                    self.waiting.push((circuit, towards, cell));
                }
                return;
            }
        }
        let Some(line) = self.lines.get_mut(&(circuit, towards)) else { return };
        let verdict = line.judge(self.now - self.start, CELL_BYTES);
        for at in verdict.arrivals.into_iter().flatten() {
            self.serial += 1;
            self.wire.insert((self.start + at, self.serial), (circuit, towards, cell.clone()));
        }
        if self.replay_per_mille > 0 && rand::RngExt::random_range(&mut self.draws, 0..1000) < self.replay_per_mille {
            // What the layers of [`End`] stop.
            let later = self.now + Duration::from_millis(rand::RngExt::random_range(&mut self.draws, 1..400));
            self.serial += 1;
            self.wire.insert((later, self.serial), (circuit, towards, cell));
        }
    }
}

/// A circuit of three hops that shares nothing but the exit with others.
fn built(circuit: CircuitNumber) -> Built<TestCircuit> {
    let path = [circuit, 100 + circuit, 255].map(|node| NodeId([node; 32])).to_vec();
    Building::new(TestCircuit(circuit)).into_built(path).map_err(|(_, error)| error).expect("three hops are a path")
}

/// A byte that differs between seeds that differ anywhere.
fn seed_byte(seed: Seed) -> u8 {
    rand::Rng::next_u32(&mut seed.generator(1_000)) as u8
}
