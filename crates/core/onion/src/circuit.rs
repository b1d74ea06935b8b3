//! A circuit at its client: built hop by hop, used, cut, taken down. Everything that may be lost is repeated.

mod build;
mod event;
mod meeting;
mod receive;

pub use event::{Cause, CircuitEvent, CommandError, Dropped, HopFigures, Received, SealError};
pub use meeting::{CircuitMessage, MESSAGES_MAX};

use crate::handshake::Features;
use crate::keys::{BindingKey, Interval, Network, RelaySpec};
use crate::layer::{CLIENT_INNER, ClientLayers, Position, VirtualLayer};
use crate::message::{Request, RequestNumber};
use crate::reason::Reason;
use crate::repeat::{Repeat, Turn};
use build::Build;
use identity::NodeId;
use meeting::{Asking, Passed, Role};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::collections::VecDeque;
use std::time::Instant;
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::VIRTUAL_LAYER_LEN;

/// How often a first message or a truncate is said; after the last wait (some 15 s in all) it has failed.
pub const BUILD_TRIES_MAX: u8 = 8;
/// How often a neighbour is told that a circuit is gone. A neighbour that heard none of them learns it when it sends on the
/// circuit, or when it was idle for long.
pub const DESTROY_TRIES_MAX: u8 = 5;
/// Events that wait for [`Circuit::poll_event`]; when there are more the oldest goes. A caller that polls after each call
/// never has more than two.
pub const EVENTS_MAX: usize = 16;

/// The settings of a [`Circuit`].
#[derive(Debug, Clone, Copy)]
pub struct CircuitConfig {
    /// The network that all relays of the circuit belong to.
    pub network: Network,
    /// What the client has beside cells; each hop answers with what it has of it.
    pub features: Features,
}

/// One circuit, at its client.
///
/// Feed it with [`Circuit::handle_cell`]; after each call, and when [`Circuit::poll_timeout`] has come, take
/// [`Circuit::poll_cell`] and [`Circuit::poll_event`] until they give nothing. A cell of `poll_cell` may wait for its slot:
/// ask for it when there is one. The caller forgets the circuit when it [`Circuit::is_finished`].
///
/// A relay forgets a hop to which nothing was said within 30 s after it was built, and later one that was silent for its
/// `idle_after`: send a cell, a cover cell if there is nothing else, as soon as the circuit is ready.
pub struct Circuit {
    config: CircuitConfig,
    id: CircuitId,
    /// Its hop answered under its lasting key: there is no other one.
    is_single: bool,
    rng: ChaCha20Rng,
    layers: ClientLayers,
    hops: Vec<Hop>,
    role: Role,
    passed: Passed,
    /// The layer between the two ends of joined circuits.
    far: Option<Box<VirtualLayer>>,
    state: State,
    last_request: RequestNumber,
    events: VecDeque<CircuitEvent>,
}

/// A hop that is built.
struct Hop {
    node_id: NodeId,
    figures: HopFigures,
    binding: BindingKey,
}

/// What the circuit is doing.
enum State {
    /// A hop is asked for: by CREATE if it is the first, else by EXTEND.
    Building(Box<Build>),
    /// Cells can be sent.
    Ready,
    /// The last hop knows of something behind it that the client does not, or the other way round: only a change of the
    /// circuit helps.
    Severed,
    /// The last hop is asked for something.
    Asking(Box<Asking>),
    /// This hop is asked to be the last one.
    Truncating { last: Position, request: RequestNumber, repeat: Repeat },
    /// It is over. `telling`: the neighbour is told so until it says that it knows. `asked`: the neighbour said so and waits
    /// for an answer.
    Closed { telling: Option<Repeat>, asked: bool },
}

impl Circuit {
    /// A circuit over a link to `relay`, under an id that the caller took from those of its side of the link. It
    /// begins to be built at once. `random` comes from a cryptographic random source.
    ///
    /// # Errors
    /// Only if the cryptographic library fails.
    pub fn new(
        now: Instant,
        config: CircuitConfig,
        id: CircuitId,
        relay: RelaySpec,
        random: [u8; 32],
    ) -> Result<Self, CommandError> {
        let mut rng = ChaCha20Rng::from_seed(random);
        let build = Build::begin(now, &config, Position::FIRST, relay, RequestNumber::UNASKED, &mut rng)?;
        Ok(Self {
            config,
            id,
            is_single: relay.interval == Interval::LASTING,
            rng,
            layers: ClientLayers::default(),
            hops: Vec::new(),
            role: Role::None,
            passed: Passed::default(),
            far: None,
            state: State::Building(Box::new(build)),
            last_request: RequestNumber::UNASKED,
            events: VecDeque::new(),
        })
    }

    /// Its id on the client's link.
    pub fn id(&self) -> CircuitId {
        self.id
    }

    /// The last hop that is built; `None` before the first.
    pub fn last(&self) -> Option<Position> {
        self.layers.last()
    }

    /// Cells that were sealed for the last hop, which may be the other end of a joined circuit, control messages included: the next
    /// one has this number.
    pub fn sealed(&self) -> u64 {
        self.far.as_ref().map_or_else(|| self.layers.sealed(), |far| far.sealed())
    }

    /// Where the inner part begins in a region: at byte 72, and behind one more layer if the last hop is the other end of a joined
    /// circuit.
    pub fn inner(&self) -> usize {
        CLIENT_INNER + if self.far.is_some() { VIRTUAL_LAYER_LEN } else { 0 }
    }

    /// True when cells can be sealed.
    pub fn is_ready(&self) -> bool {
        // What is sealed for a hop that passes everything on would come to somebody else.
        let is_open = self.far.is_some() || !matches!(self.role, Role::Joined(..));
        matches!(self.state, State::Ready) && is_open
    }

    /// True when there is nothing left to say: the caller can forget the circuit.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed { telling: None, asked: false })
    }

    /// The relays of the hops that are built, the first hop's first.
    pub fn path(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.hops.iter().map(|hop| hop.node_id)
    }

    /// What is known of a hop that is built.
    pub fn hop(&self, position: Position) -> Option<&HopFigures> {
        self.hops.get(usize::from(position.number()) - 1).map(|hop| &hop.figures)
    }

    /// What binds a message outside of the circuit to a hop that is built.
    pub fn binding_key(&self, position: Position) -> Option<&BindingKey> {
        self.hops.get(usize::from(position.number()) - 1).map(|hop| &hop.binding)
    }

    /// Begins to add a hop behind the last one.
    ///
    /// # Errors
    /// When the circuit is doing something else, has as many hops as it can, has this relay already, or the library fails; when
    /// either hop is one under a lasting key.
    pub fn extend(&mut self, now: Instant, relay: RelaySpec) -> Result<(), CommandError> {
        let position = self.changeable()?.next().ok_or(CommandError::TooLong)?;
        if self.path().any(|known| known == relay.node_id) {
            return Err(CommandError::Twice);
        }
        if self.is_single || relay.interval == Interval::LASTING {
            return Err(CommandError::Single);
        }
        let request = self.next_request();
        let build = Build::begin(now, &self.config, position, relay, request, &mut self.rng)?;
        self.leave_meeting();
        self.state = State::Building(Box::new(build));
        Ok(())
    }

    /// Begins to cut off what is behind a hop. With the last hop it makes a circuit usable again whose extension failed.
    ///
    /// # Errors
    /// When the circuit is doing something else or does not have this hop.
    pub fn truncate(&mut self, now: Instant, last: Position) -> Result<(), CommandError> {
        if self.changeable()? < last {
            return Err(CommandError::NoSuchHop);
        }
        let request = self.next_request();
        self.leave_meeting();
        self.state = State::Truncating { last, request, repeat: Repeat::new(now, BUILD_TRIES_MAX) };
        Ok(())
    }

    /// Takes the circuit down. The neighbour is told; whoever is behind it learns only that the client is done.
    pub fn destroy(&mut self, now: Instant) {
        self.close(now, Cause::Asked);
    }

    /// Seals a cell for the last hop: the inner part is the region from [`Circuit::inner`] on, the rest is overwritten.
    ///
    /// # Errors
    /// When cells cannot be sent now, or a key is worn out: then the circuit takes itself down.
    pub fn seal(&mut self, now: Instant, region: &mut [u8]) -> Result<CellHead, SealError> {
        let Some(last) = self.layers.last().filter(|_| self.is_ready()) else { return Err(SealError::NotReady) };
        region[last.client_body()..CLIENT_INNER].fill(0);
        let far = self.far.as_mut().map_or(Ok(()), |far| far.seal(&mut region[CLIENT_INNER..]));
        if far.is_err() || self.layers.seal(last, false, region).is_err() {
            self.close(now, Cause::WornOut);
            return Err(SealError::WornOut);
        }
        Ok(CellHead { circuit: self.id, command: Command::Relay })
    }

    /// The next cell of the circuit's own, if one is due: its whole region is written.
    pub fn poll_cell(&mut self, now: Instant, region: &mut [u8]) -> Option<CellHead> {
        self.handle_timeout(now);
        region.fill(0);
        let command = match &mut self.state {
            State::Building(build) => {
                build.write(now, &mut self.rng, region)?;
                if build.position() == Position::FIRST { Command::Create } else { Command::Relay }
            }
            State::Asking(asking) => {
                let last = self.layers.last()?;
                asking.write(now, &mut self.rng, &mut region[last.client_body()..])?;
                Command::Relay
            }
            State::Ready if self.passed.due().is_some() => {
                let last = self.layers.last()?;
                Request::Received.write(self.passed.next()?, &mut region[last.client_body()..]);
                Command::Relay
            }
            State::Truncating { last, request, repeat } => {
                if repeat.turn(now) != Turn::Say {
                    return None;
                }
                repeat.said(now, &mut self.rng);
                Request::Truncate.write(*request, &mut region[last.client_body()..]);
                Command::Relay
            }
            State::Closed { asked, .. } if *asked => {
                *asked = false;
                Command::Destroyed
            }
            State::Closed { telling: Some(repeat), .. } if repeat.turn(now) == Turn::Say => {
                repeat.said(now, &mut self.rng);
                region[0] = Reason::Finished as u8;
                Command::Destroy
            }
            State::Ready | State::Severed | State::Closed { .. } => return None,
        };
        if command == Command::Relay && self.seal_request(region).is_err() {
            self.close(now, Cause::WornOut);
            return None;
        }
        Some(CellHead { circuit: self.id, command })
    }

    /// Ends what was tried often enough. `poll_cell` calls it too.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Building(build) if build.turn(now) == Turn::Over => self.fail_build(now, Cause::TimedOut),
            State::Asking(asking) if asking.turn(now) == Turn::Over => self.fail_ask(Cause::TimedOut),
            State::Truncating { repeat, .. } if repeat.turn(now) == Turn::Over => self.close(now, Cause::TimedOut),
            State::Closed { telling, .. } if telling.is_some_and(|repeat| repeat.turn(now) == Turn::Over) => {
                *telling = None;
            }
            _ => {}
        }
    }

    /// When `poll_cell` has something next; in the past when it has something already.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Building(build) => Some(build.deadline()),
            State::Asking(asking) => Some(asking.deadline()),
            State::Ready => self.passed.due(),
            State::Truncating { repeat, .. } => Some(repeat.deadline()),
            State::Closed { telling, .. } => telling.map(|repeat| repeat.deadline()),
            State::Severed => None,
        }
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<CircuitEvent> {
        self.events.pop_front()
    }

    /// The last hop, if the circuit can be changed now.
    fn changeable(&self) -> Result<Position, CommandError> {
        let idle = matches!(self.state, State::Ready | State::Severed);
        self.layers.last().filter(|_| idle).ok_or(CommandError::Busy)
    }

    fn next_request(&mut self) -> RequestNumber {
        self.last_request.0 = self.last_request.0.saturating_add(1);
        self.last_request
    }

    /// Seals a request for the hop that it is meant for.
    fn seal_request(&mut self, region: &mut [u8]) -> Result<(), crate::layer::WornOut> {
        let target = match &self.state {
            State::Truncating { last, .. } => Some(*last),
            _ => self.layers.last(),
        };
        target.map_or(Ok(()), |target| self.layers.seal(target, true, region))
    }

    /// A hop that was asked for does not come.
    fn fail_build(&mut self, now: Instant, cause: Cause) {
        if self.layers.last().is_none() {
            return self.close(now, cause);
        }
        self.state = State::Severed;
        self.tell(CircuitEvent::ExtendFailed { cause });
    }

    /// The last hop does not do what it was asked, or nobody knows whether it did.
    fn fail_ask(&mut self, cause: Cause) {
        self.state = State::Severed;
        self.tell(CircuitEvent::AskFailed { cause });
    }

    /// Ends the circuit and tells the neighbour, if it was not the neighbour who said so.
    fn close(&mut self, now: Instant, cause: Cause) {
        if matches!(self.state, State::Closed { .. }) {
            return;
        }
        self.leave_meeting();
        self.state = State::Closed { telling: Some(Repeat::new(now, DESTROY_TRIES_MAX)), asked: false };
        self.tell(CircuitEvent::Closed { cause });
    }

    fn tell(&mut self, event: CircuitEvent) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests;
