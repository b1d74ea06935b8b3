//! Many links in one sans-IO object: the door that answers strangers, the dials, and the data path of all of them.

mod cells;
mod dishonest;
mod door;
mod hops;
mod own;
mod receive;
mod slots;
mod sockets;
mod spare;
mod timers;

use crate::admission::{CookieJar, RateWindow, Replays, Sources};
use crate::config::{Accept, EndpointConfig, MAX_LINKS, Parameters};
use crate::door::DoorDays;
use crate::event::{Counters, DialError, DownReason, LinkEvent, LinkId, Now, Peer};
use crate::handshake::Local;
use crate::report::LinkFigures;
use crate::route::{Route, Via};
use crate::schedule::HeaderMask;
use crate::state::{Dial, LinkState};
use crate::table::IndexTable;
use identity::{LinkKey, LinkSecret};
use packet_crypto::filler::Filler;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;
use thiserror::Error;
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::{CELL_HEAD_LEN, HEADER_LEN, LAYER_LEN, LAYERS_MAX, TAG_LEN};

/// Events kept until they are taken. When full, the oldest goes and is counted.
const EVENTS_MAX: usize = 4096;

/// Why a cell was not sealed. Always the caller's doing, or a fact about the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// There is no link of this id, or it is down.
    #[error("the link is down")]
    Down,
    /// The key has sealed as much as one key may; new ones are being made.
    #[error("the link's key is worn out")]
    WornOut,
    /// Cells of circuit 0 are the link's own, except cover cells.
    #[error("this command of circuit 0 belongs to the link itself")]
    Reserved,
}

/// All links of one node, without sockets and clocks.
///
/// Feed it with [`Endpoint::handle_packet`] and [`Endpoint::handle_timeout`]; commands are [`Endpoint::dial`],
/// [`Endpoint::close`], [`Endpoint::seal_cell`], [`Endpoint::hop`]. After every call take what there is, in this order:
/// [`Endpoint::poll_socket_order`] and [`Endpoint::poll_event`] until `None`; [`Endpoint::poll_door_packet`] (in a slot each, if there are slots);
/// then for each link [`Endpoint::poll_own_packet`]: on a grid once a slot, before a cell is sealed for it,
/// otherwise until `None`. Then sleep until [`Endpoint::poll_timeout`], which is in the past while packets of the
/// link's own wait on a node without a grid.
///
/// `Now::instant` must never go back. Addresses are compared as they are: a dual-stack socket's mapped addresses
/// must be given in one form.
///
/// Randomness comes from the seed, except that of ML-KEM, which the library takes from the system.
pub struct Endpoint {
    config: EndpointConfig,
    local: Local,
    local_key: LinkKey,
    /// None where nobody is accepted: then no packet is masked under this node's own door key.
    door_mask: Option<HeaderMask>,
    door_days: DoorDays,
    rng: ChaCha20Rng,
    filler: Filler,
    /// Names this process to its peers.
    boot: u32,
    /// Messages 1 made so far.
    handshakes: u32,
    links: Vec<slots::Slot>,
    free: Vec<u32>,
    table: IndexTable,
    sockets: sockets::Sockets,
    accepted: BTreeMap<LinkKey, u32>,
    /// Accepted links whose peers nobody knows.
    strangers: u32,
    dialled: BTreeMap<LinkKey, u32>,
    dial_addresses: BTreeMap<(Via, SocketAddr), u32>,
    half_open: BTreeMap<u64, u32>,
    half_open_count: u64,
    cookies: CookieJar,
    arrivals: RateWindow,
    handshake_rate: RateWindow,
    replays: Replays,
    sources: Sources,
    door_packets: VecDeque<door::DoorPacket>,
    timers: BTreeSet<(Instant, u32)>,
    events: VecDeque<LinkEvent>,
    counters: Counters,
}

impl Endpoint {
    /// Makes an endpoint without links. `seed` comes from the system's random source and is never used twice: it
    /// makes ephemeral keys, nonces and cookie secrets.
    pub fn new(config: EndpointConfig, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut filler_key = [0; 16];
        rng.fill_bytes(&mut filler_key);
        let accepts = !matches!(config.accept, Accept::Nobody);
        let sockets = sockets::Sockets::beside(config.dial_ports.len());
        Self {
            local: Local { secret: config.link_secret.clone(), prologue: config.prologue() },
            local_key: config.link_secret.link_key(),
            door_mask: accepts.then(|| HeaderMask::of_door(&config.door_key)),
            door_days: DoorDays::new(config.door_key.clone()),
            filler: Filler::new(&filler_key),
            boot: rng.next_u32(),
            handshakes: 0,
            rng,
            config,
            links: Vec::new(),
            free: Vec::new(),
            table: IndexTable::default(),
            sockets,
            accepted: BTreeMap::new(),
            strangers: 0,
            dialled: BTreeMap::new(),
            dial_addresses: BTreeMap::new(),
            half_open: BTreeMap::new(),
            half_open_count: 0,
            cookies: CookieJar::new(),
            arrivals: RateWindow::new(),
            handshake_rate: RateWindow::new(),
            replays: Replays::new(),
            sources: Sources::default(),
            door_packets: VecDeque::new(),
            timers: BTreeSet::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// What became of all packets so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The settings it was made with, and the present parameters.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// All links, half-open ones and unanswered dials included.
    pub fn links(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter_map(|slot| slot.state.as_ref()).map(|state| state.id)
    }

    /// How many links there are, half-open ones and unanswered dials included.
    pub fn link_count(&self) -> usize {
        self.links.len() - self.free.len()
    }

    /// True when the link can carry cells.
    pub fn is_up(&self, link: LinkId) -> bool {
        self.state(link).is_some_and(|state| state.up.is_some())
    }

    /// Where the link's packets go; of a dial that is not up, where it dials.
    pub fn peer_address(&self, link: LinkId) -> Option<SocketAddr> {
        let state = self.state(link)?;
        let up = state.up.as_ref().map(|up| up.path.route().to);
        up.or(state.dial.as_ref().map(|dial| dial.address))
    }

    /// The newest figures of a link that is up.
    pub fn figures(&self, link: LinkId) -> Option<LinkFigures> {
        self.state(link)?.up.as_ref().map(|up| up.traffic.figures())
    }

    /// Bytes of memory-bounded tables, for a status page: (indices, remembered ephemeral keys, half-open links).
    pub fn table_sizes(&self) -> (usize, usize, usize) {
        (self.table.len(), self.replays.len(), self.half_open.len())
    }

    /// Begins to dial a peer, and goes on until [`Endpoint::close`].
    pub fn dial(
        &mut self,
        now: Now,
        peer: &Peer,
        address: SocketAddr,
        parameters: Parameters,
    ) -> Result<LinkId, DialError> {
        if self.dialled.contains_key(&peer.link_key) {
            return Err(DialError::AlreadyDialled);
        }
        let dial = Dial::new(now.instant, address, peer.door_key.clone(), parameters);
        let slot = self.add_dial(peer, dial)?;
        self.dialled.insert(peer.link_key, slot);
        let parked = self.accepted.get(&peer.link_key).is_some_and(|accepted| self.is_slot_up(*accepted));
        if parked {
            self.settle_crossing(peer.link_key);
        }
        self.arm(slot);
        Ok(self.id_of(slot))
    }

    /// The same from one of the sockets of [`EndpointConfig::dial_ports`], or from the door's, under a key that is made for this
    /// link alone. So one peer can be dialled over several paths at once, and to it they are links of strangers.
    ///
    /// # Errors
    /// As [`Endpoint::dial`]; a path is the socket and the peer's address.
    ///
    /// # Panics
    /// If there is no such socket.
    pub fn dial_from(
        &mut self,
        now: Now,
        via: Via,
        peer: &Peer,
        address: SocketAddr,
        parameters: Parameters,
    ) -> Result<LinkId, DialError> {
        assert!(self.is_for_dials(via), "a dial leaves from a socket that is there from the start");
        let mut secret = [0; 32];
        self.rng.fill_bytes(&mut secret);
        let own = Local { secret: LinkSecret::from_bytes(secret), prologue: self.config.prologue() };
        let mut dial = Dial::new(now.instant, address, peer.door_key.clone(), parameters);
        (dial.via, dial.own) = (via, Some(own));
        let slot = self.add_dial(peer, dial)?;
        self.arm(slot);
        Ok(self.id_of(slot))
    }

    fn add_dial(&mut self, peer: &Peer, dial: Dial) -> Result<u32, DialError> {
        let path = (dial.via, dial.address);
        if self.dial_addresses.contains_key(&path) {
            return Err(DialError::AlreadyDialled);
        }
        if self.link_count() >= self.links_max() {
            return Err(DialError::TooManyLinks);
        }
        let mask = HeaderMask::of_door(&peer.door_key);
        let slot = self.add_link(peer.link_key, Some(peer.node_id), mask, Some(dial));
        self.dial_addresses.insert(path, slot);
        Ok(slot)
    }

    /// Whether dials can leave from a socket.
    pub(crate) fn is_for_dials(&self, via: Via) -> bool {
        (via.0 as usize) <= self.config.dial_ports.len()
    }

    /// Dials another address from now on: the peer's name resolved differently.
    pub fn set_dial_address(&mut self, now: Now, link: LinkId, address: SocketAddr) -> Result<(), DialError> {
        let Some(via) = self.state(link).and_then(|state| state.dial.as_ref()).map(|dial| dial.via) else {
            return Ok(());
        };
        if self.dial_addresses.get(&(via, address)).is_some_and(|slot| *slot != link.slot) {
            return Err(DialError::AlreadyDialled);
        }
        if let Some(dial) = self.state_mut(link).and_then(|state| state.dial.as_mut())
            && dial.address != address
        {
            let old = std::mem::replace(&mut dial.address, address);
            dial.pending = None;
            dial.restart(now.instant);
            self.dial_addresses.remove(&(via, old));
            self.dial_addresses.insert((via, address), link.slot);
            self.arm(link.slot);
        }
        Ok(())
    }

    /// The same of a peer that says that it is elsewhere: a link that is up makes a handshake there beside its keys. With the process that it
    /// was with it goes on there and loses nothing; until somebody answers there it goes on where it is.
    ///
    /// # Errors
    /// As [`Endpoint::set_dial_address`].
    pub fn move_dial(&mut self, now: Now, link: LinkId, address: SocketAddr) -> Result<(), DialError> {
        self.set_dial_address(now, link, address)?;
        let dialled = self.state_mut(link).filter(|state| state.dial.is_some());
        if let Some(up) = dialled.and_then(|state| state.up.as_mut()) {
            up.debts.through_door = true;
            self.arm(link.slot);
        }
        Ok(())
    }

    /// Where a link's handshakes go, if this end dialled it.
    pub fn dial_address(&self, link: LinkId) -> Option<SocketAddr> {
        Some(self.state(link)?.dial.as_ref()?.address)
    }

    /// Ends a link or a dial at once. The peer is not told: it hears silence.
    pub fn close(&mut self, link: LinkId) {
        if self.state(link).is_some() {
            self.take_down(link.slot, DownReason::Closed, false);
        }
    }

    /// Ends a link that this end dialled once a last cell has told the peer so, which then keeps no place for it. On a grid, where nothing
    /// is said out of turn, and for any other link it is [`Endpoint::close`].
    pub fn leave(&mut self, link: LinkId) {
        let is_gridded = self.config.gridded;
        let state = self.state_mut(link).filter(|state| !is_gridded && state.dial.is_some());
        match state.and_then(|state| state.up.as_mut()) {
            Some(up) => {
                up.leaves = true;
                self.arm(link.slot);
            }
            None => self.close(link),
        }
    }

    /// Sets what answers and later handshakes tell the peers. Links that are up do not change.
    pub fn set_parameters(&mut self, parameters: Parameters) {
        self.config.parameters = parameters;
        for state in self.links.iter_mut().filter_map(|slot| slot.state.as_mut()) {
            if let Some(dial) = &mut state.dial {
                dial.parameters = parameters;
            }
        }
    }

    /// Sets whose handshakes are answered from now on. Links that are there stay: close those that are not wanted any more. An
    /// endpoint that was made to accept nobody has no door, and goes on without one.
    pub fn set_accept(&mut self, accept: Accept) {
        if self.door_mask.is_some() {
            self.config.accept = accept;
        }
    }

    /// Fills the replay filter after a restart with what [`LinkEvent::AcceptedEphemeral`] said before.
    pub fn remember_ephemerals(&mut self, stored: impl IntoIterator<Item = ([u8; 32], u32)>) {
        for (ephemeral, day) in stored {
            self.replays.remember(ephemeral, day);
        }
    }

    /// Appends one packet of exactly P bytes that carries a cell; returns where it goes.
    ///
    /// `fill` gets the region with random bytes in its reserved first 72 and zeros behind them. On an error nothing
    /// is appended.
    #[inline]
    pub fn seal_cell(
        &mut self,
        now: Now,
        link: LinkId,
        head: CellHead,
        fill: impl FnOnce(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<Route, SealError> {
        if head.circuit == CircuitId::LINK && head.command != Command::Cover {
            return Err(SealError::Reserved);
        }
        if !self.is_up(link) {
            return Err(SealError::Down);
        }
        let start = out.len();
        out.resize(start + self.config.packet_size.packet(), 0);
        let packet = &mut out[start..];
        let end = packet.len() - TAG_LEN;
        let region = &mut packet[HEADER_LEN + CELL_HEAD_LEN..end];
        self.filler.fill(&mut region[..LAYERS_MAX * LAYER_LEN]);
        fill(region);
        let sealed = self.seal_packet(now, link, head, packet);
        if sealed.is_err() {
            out.truncate(start);
        }
        sealed
    }

    /// Makes of `packet`, P bytes whose region (`packet[21..P - 16]`) is what the cell carries, a packet of this link; what
    /// else stands in it is overwritten. Returns where it goes. So a cell that came in a packet goes on in the same one.
    /// On an error the region is as it was.
    #[inline]
    pub fn seal_packet(
        &mut self,
        now: Now,
        link: LinkId,
        head: CellHead,
        packet: &mut [u8],
    ) -> Result<Route, SealError> {
        assert_eq!(packet.len(), self.config.packet_size.packet(), "a packet has P bytes");
        if head.circuit == CircuitId::LINK && head.command != Command::Cover {
            return Err(SealError::Reserved);
        }
        let gridded = self.config.gridded;
        let slot = self.links.get_mut(link.slot as usize);
        let state = slot.and_then(|slot| slot.state.as_mut()).filter(|state| state.id == link);
        let LinkState { up: Some(up), hops, .. } = &mut **state.ok_or(SealError::Down)? else {
            return Err(SealError::Down);
        };
        packet[HEADER_LEN..HEADER_LEN + CELL_HEAD_LEN].copy_from_slice(&head.encode());
        let place = up.path.place();
        if up.keys.seal(place.hop, packet).is_err() {
            return Err(SealError::WornOut);
        }
        let worth_reporting = up.traffic.count_sent(false);
        up.path.count_sent();
        let of_circuit = head.circuit != CircuitId::LINK;
        let wants_answer = up.liveness.sent(now.instant, of_circuit);
        if let Some(hops) = hops {
            hops.count_sent(packet.len(), gridded || of_circuit);
        }
        if (worth_reporting || wants_answer) && !gridded {
            self.arm(link.slot);
        }
        Ok(place.route)
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn emit(&mut self, event: LinkEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
            self.counters.events_lost += 1;
        }
        self.events.push_back(event);
    }

    fn links_max(&self) -> usize {
        self.config.max_links.min(MAX_LINKS) as usize
    }
}
