//! The circuits of a relay: answers first messages, opens its layer of each cell, extends, and ends what is to end
//! (docs/spec/onion.md, "At a relay").

mod admission;
mod backward;
mod circuit;
mod create;
mod ending;
mod forward;
mod meeting;
mod own;
mod table;

pub use meeting::{
    INTRODUCTION_POINTS_MAX, INTRODUCTIONS_BURST, INTRODUCTIONS_PER_POINT_MAX, INTRODUCTIONS_PER_SECOND, PASSING_MAX,
    RENDEZVOUS_MAX, RENDEZVOUS_WAIT,
};
pub use own::CELLS_PER_NEIGHBOUR_MAX;
pub use table::{CIRCUITS_MAX, CircuitKey};

use crate::circuit::Dropped;
use crate::handshake::Features;
use crate::keys::{BindingKey, Network, OnionKeys};
use crate::reason::Reason;
use admission::{Admission, RateWindow};
use circuit::Onward;
use create::Creating;
use ending::Leaving;
use identity::NodeId;
use meeting::Meetings;
use own::{Own, OwnCells};
use packet_crypto::filler::Filler;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};
use table::{End, Table};
use thiserror::Error;
use wire::cell::{CellHead, CircuitId, Command};

/// Hop handshakes that a relay works on in a second, whatever its configuration says; the rest is dropped, and their clients
/// repeat. At 93 us each they take a fifth of a core.
pub const HANDSHAKES_PER_SECOND_MAX: u32 = 2_000;
/// Ended circuits of which a neighbour is told until it says that it knows. When there are more, it is told once.
pub const LEAVING_MAX: usize = 4_096;
/// Orders that wait for [`Relay::poll_order`]. When there are more, extensions are refused.
pub const ORDERS_MAX: usize = 1_024;
/// Events that wait for [`Relay::poll_event`]; the oldest goes, counted.
const EVENTS_MAX: usize = 4_096;
/// Answers in a second to cells of circuits that are not there; the rest meets silence.
const UNKNOWN_ANSWERS_PER_SECOND_MAX: u32 = 100;

/// A link of the relay, by a number that the caller gives it and does not use again while the relay may speak of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Neighbour(pub u32);

/// Who dialled a link: decides which circuit ids are the relay's own on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    /// The relay.
    ByUs,
    /// The neighbour.
    ByThem,
}

/// Why a node cannot be extended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The relay's document does not have it.
    UnknownNode,
    /// No link to it came up.
    NoLink,
}

/// The settings of a [`Relay`].
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The network that it belongs to.
    pub network: Network,
    /// Its name.
    pub node_id: NodeId,
    /// What it has beside cells.
    pub features: Features,
    /// Circuits at most; at most [`CIRCUITS_MAX`]. Further ones are refused by name.
    pub circuits_max: u32,
    /// Circuits that begin at one neighbour, at most. Further ones are refused by name.
    pub circuits_per_neighbour: u32,
    /// Handshakes in a second; at most [`HANDSHAKES_PER_SECOND_MAX`]. Further ones are dropped.
    pub handshakes_per_second: u32,
    /// Handshakes of one neighbour in a second, and beside them what its clients ask for at a meeting. Further ones are dropped.
    pub handshakes_per_neighbour: u32,
    /// A circuit whose client was not heard for so long is taken down. Longer than clients stay silent.
    pub idle_after: Duration,
}

impl RelayConfig {
    /// The defaults: 16,384 circuits, a quarter of them of one neighbour; 2,000 handshakes a second, a quarter of them
    /// of one neighbour; ten minutes.
    pub fn new(network: Network, node_id: NodeId) -> Self {
        Self {
            network,
            node_id,
            features: Features::default(),
            circuits_max: 16_384,
            circuits_per_neighbour: 4_096,
            handshakes_per_second: HANDSHAKES_PER_SECOND_MAX,
            handshakes_per_neighbour: HANDSHAKES_PER_SECOND_MAX / 4,
            idle_after: Duration::from_secs(600),
        }
    }
}

/// What is to be done with a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// Send the region, as it is, under this head to this neighbour, at once.
    Forward {
        /// The link.
        to: Neighbour,
        /// Circuit and command there.
        head: CellHead,
    },
    /// The relay is the circuit's last hop, and this is what its client sent: this part of the region.
    Inner {
        /// Whose.
        circuit: CircuitKey,
        /// Where.
        inner: Range<usize>,
        /// The cell's number: how many its client had sealed for this hop before, control messages included.
        number: u64,
    },
    /// It was for the relay itself.
    Done,
    /// It was dropped.
    Dropped(Dropped),
}

/// A circuit is to be extended: answer with [`Relay::connected`] or [`Relay::not_connected`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which one.
    pub circuit: CircuitKey,
    /// To this node, whose address and keys are in the network's document.
    pub node: NodeId,
}

/// What has happened to a circuit whose last hop the relay was, after cells of it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayEvent {
    /// The first cell for the last hop came, and this relay is it: for the first time, or again after it was not.
    Opened {
        /// Which circuit.
        circuit: CircuitKey,
    },
    /// The circuit goes on to another relay.
    NotLast {
        /// Which one.
        circuit: CircuitKey,
    },
    /// The circuit is over.
    Closed {
        /// Which one.
        circuit: CircuitKey,
        /// Why.
        reason: Reason,
    },
}

/// Why no cell was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RelaySealError {
    /// There is no such circuit.
    #[error("the circuit is gone")]
    Unknown,
    /// The relay is not its last hop, or its client has not yet sent anything.
    #[error("the circuit takes no cells here")]
    NotLast,
    /// A key has sealed as many cells as it may; the circuit is over.
    #[error("the circuit is worn out")]
    WornOut,
}

/// What a relay has done since it was made. Sums only: nothing here says who talks to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handshakes that were worked on.
    pub handshakes: u64,
    /// Cells that went from one neighbour to another.
    pub forwarded: u64,
    /// Cells that were for the last hop, and this is it.
    pub delivered: u64,
    /// Introductions that a service has got here.
    pub introduced: u64,
    /// Pairs of circuits that were joined here.
    pub spliced: u64,
    /// Own cells for which there was no room: see [`CELLS_PER_NEIGHBOUR_MAX`].
    pub own_cells_lost: u64,
    /// Events that nobody took.
    pub events_lost: u64,
    /// Cells that were dropped.
    pub dropped: BTreeMap<Dropped, u64>,
}

/// The circuits of one relay.
///
/// Give it every cell of a circuit with [`Relay::handle_cell`], and tell it of links that went down. After each call, and when
/// [`Relay::poll_timeout`] has come (then call [`Relay::handle_timeout`]), take [`Relay::poll_order`] and
/// [`Relay::poll_event`] until they give nothing; [`Relay::waiting`] names the links for which [`Relay::poll_cell`] has
/// cells. It logs nothing.
pub struct Relay {
    config: RelayConfig,
    keys: OnionKeys,
    rng: ChaCha20Rng,
    filler: Filler,
    table: Table,
    admission: Admission,
    unknown_answers: RateWindow,
    creating: BTreeMap<Side, Creating>,
    leaving: BTreeMap<Side, Leaving>,
    own: OwnCells,
    meetings: Meetings,
    orders: VecDeque<Order>,
    events: VecDeque<RelayEvent>,
    next_sweep: Option<Instant>,
    draining: bool,
    counters: Counters,
}

/// A circuit on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Side {
    neighbour: Neighbour,
    id: CircuitId,
}

impl Relay {
    /// A relay without circuits. `random` comes from a cryptographic random source.
    pub fn new(config: RelayConfig, keys: OnionKeys, random: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(random);
        let mut filler_key = [0; 16];
        rng.fill_bytes(&mut filler_key);
        let (table, admission) = (Table::new(&config, [rng.next_u64(), rng.next_u64()]), Admission::new(&config));
        Self {
            config,
            keys,
            rng,
            filler: Filler::new(&filler_key),
            table,
            admission,
            unknown_answers: RateWindow::new(),
            creating: BTreeMap::new(),
            leaving: BTreeMap::new(),
            own: OwnCells::default(),
            meetings: Meetings::default(),
            orders: VecDeque::new(),
            events: VecDeque::new(),
            next_sweep: None,
            draining: false,
            counters: Counters::default(),
        }
    }

    /// Circuits that are there.
    pub fn circuits(&self) -> u32 {
        self.table.len()
    }

    /// True when every side that leads somewhere belongs to a circuit: what the fuzz body checks after each step.
    pub(crate) fn is_consistent(&self) -> bool {
        let onward = self.table.iter().filter(|(_, circuit)| circuit.onward.side().is_some()).count();
        self.table.sides() == self.table.len() as usize + onward && self.meetings_are_consistent()
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where the inner part of a cell is that [`Relay::seal`] takes for this circuit.
    pub fn inner(&self, circuit: CircuitKey) -> Option<Range<usize>> {
        self.table.circuit(circuit).map(|circuit| circuit.layers.inner())
    }

    /// The link and the id there that cells of [`Relay::seal`] take.
    pub fn towards_client(&self, circuit: CircuitKey) -> Option<(Neighbour, CircuitId)> {
        self.table.circuit(circuit).map(|circuit| (circuit.previous.neighbour, circuit.previous.id))
    }

    /// What binds a message outside of a circuit to this hop of it.
    pub fn binding_key(&self, circuit: CircuitKey) -> Option<&BindingKey> {
        self.table.circuit(circuit).map(|circuit| &circuit.binding)
    }

    /// What this hop and the client of a circuit both have.
    pub fn features(&self, circuit: CircuitKey) -> Option<Features> {
        self.table.circuit(circuit).map(|circuit| circuit.features)
    }

    /// Cells that were sealed here for the client of a circuit, control messages included: the next one has this number.
    pub fn sealed(&self, circuit: CircuitKey) -> Option<u64> {
        self.table.circuit(circuit).map(|circuit| circuit.layers.sealed())
    }

    /// Circuits that begin at a neighbour.
    pub fn circuits_of(&self, neighbour: Neighbour) -> u32 {
        self.admission.circuits(neighbour)
    }

    /// Sets what one neighbour may have and cost, in the place of `circuits_per_neighbour` and `handshakes_per_neighbour`,
    /// until its link is down.
    pub fn limit_neighbour(&mut self, neighbour: Neighbour, circuits: u32, handshakes_per_second: u32) {
        self.admission.limit(neighbour, circuits, handshakes_per_second);
    }

    /// The onion keys, to rotate them.
    pub fn onion_keys(&mut self) -> &mut OnionKeys {
        &mut self.keys
    }

    /// Sets what new circuits can use beside cells.
    pub fn set_features(&mut self, features: Features) {
        self.config.features = features;
    }

    /// From now on new circuits and extensions are refused.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Takes a cell of a circuit that came over a link: what is left of it is in the region.
    #[inline]
    pub fn handle_cell(&mut self, now: Instant, from: Neighbour, head: CellHead, region: &mut [u8]) -> Handled {
        let side = Side { neighbour: from, id: head.circuit };
        let handled = match head.command {
            Command::Relay => self.handle_relay(now, side, region),
            Command::Create => self.handle_create(now, side, region),
            Command::Created => self.handle_created(now, side, region),
            Command::Destroy => self.handle_destroy(now, side, region),
            Command::Destroyed => self.handle_destroyed(side),
            _ => Err(Dropped::Unexpected),
        };
        handled.unwrap_or_else(|dropped| {
            *self.counters.dropped.entry(dropped).or_default() += 1;
            Handled::Dropped(dropped)
        })
    }

    #[inline]
    fn handle_relay(&mut self, now: Instant, side: Side, region: &mut [u8]) -> Result<Handled, Dropped> {
        if region.len() != self.config.network.packet_size.region() {
            return Err(Dropped::Malformed);
        }
        match self.table.find(side) {
            Some((circuit, End::Previous)) => self.handle_forward(now, circuit, region),
            Some((circuit, End::Onward)) => self.handle_backward(now, circuit, side, region),
            None => Err(self.answer_unknown(now, side)),
        }
    }

    /// Seals a cell for the client of a circuit whose last hop this is: its inner part is the region's [`Relay::inner`], the
    /// rest is overwritten. Tells where it goes.
    ///
    /// # Errors
    /// When the circuit is gone, goes on to another relay, or is worn out: then it is taken down.
    pub fn seal(
        &mut self,
        now: Instant,
        circuit: CircuitKey,
        region: &mut [u8],
    ) -> Result<(Neighbour, CellHead), RelaySealError> {
        let state = self.table.circuit_mut(circuit).ok_or(RelaySealError::Unknown)?;
        if !matches!(state.onward, Onward::End) || state.created.is_some() {
            return Err(RelaySealError::NotLast);
        }
        region[state.layers.body().start..state.layers.inner().start].fill(0);
        let previous = state.previous;
        if state.layers.seal(region, false, &mut self.filler).is_err() {
            self.end(now, circuit, Reason::WornOut);
            return Err(RelaySealError::WornOut);
        }
        Ok((previous.neighbour, CellHead { circuit: previous.id, command: Command::Relay }))
    }

    /// Takes a circuit down. Its client is told why, relays behind this one only that it is done.
    pub fn destroy(&mut self, now: Instant, circuit: CircuitKey, reason: Reason) {
        self.end(now, circuit, reason);
    }

    /// Takes down up to `max` circuits, whichever come first; gives how many there were. For a relay that is drained and has
    /// waited long enough: what its neighbours are told has a bound, so not all at once.
    pub fn destroy_some(&mut self, now: Instant, reason: Reason, max: usize) -> usize {
        let keys: Vec<CircuitKey> = self.table.iter().map(|(key, _)| key).take(max).collect();
        for key in &keys {
            self.end(now, *key, reason);
        }
        keys.len()
    }

    /// True when ended circuits are still being told of.
    pub fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// What the caller is to do.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<RelayEvent> {
        self.events.pop_front()
    }

    /// When [`Relay::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_sweep
    }

    fn tell(&mut self, event: RelayEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.counters.events_lost += 1;
        }
        self.events.push_back(event);
    }

    fn queue(&mut self, to: Neighbour, cell: Own) {
        if !self.own.push(to, cell) {
            self.counters.own_cells_lost += 1;
        }
    }
}

#[cfg(test)]
mod tests;
