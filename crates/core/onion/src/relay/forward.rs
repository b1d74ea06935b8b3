//! Cells from the side of the client.

use super::circuit::{Onward, RelayCircuit};
use super::own::Own;
use super::{CircuitKey, Handled, ORDERS_MAX, Order, Relay, RelayEvent};
use crate::circuit::Dropped;
use crate::layer::{OpenError, Opened, Position};
use crate::message::{Request, RequestNumber, read_extend_message};
use crate::parts::{self, Assembly, Part};
use crate::reason::Reason;
use identity::NodeId;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, Command};

/// A client that goes on sending through a hop which has lost what was behind it is told so again, but not sooner.
const TELL_AGAIN: Duration = Duration::from_millis(200);

/// What an extend means where a circuit stands.
enum Step {
    /// Nothing: it is under way, or was a part that means nothing alone.
    Wait,
    /// All parts are there.
    Connect {
        node: NodeId,
        first: Box<[u8]>,
    },
    /// Say this again, or at last.
    Create,
    Extended,
    Refuse(Reason),
    Truncated,
}

impl Relay {
    /// Opens this hop's layer and does what the cell is for.
    #[inline]
    pub(super) fn handle_forward(
        &mut self,
        now: Instant,
        key: CircuitKey,
        region: &mut [u8],
    ) -> Result<Handled, Dropped> {
        let circuit = self.table.circuit_mut(key).ok_or(Dropped::UnknownCircuit)?;
        let opened = circuit.layers.open(region).map_err(|error| match error {
            OpenError::Replayed => Dropped::Replayed,
            OpenError::Forged => Dropped::Forged,
        })?;
        // Only who has read the answer can seal a cell.
        circuit.created = None;
        circuit.heard = now;
        if opened.addressed {
            return self.handle_request(now, key, opened, region);
        }
        if opened.number < circuit.from {
            return Err(Dropped::Stale);
        }
        match &mut circuit.onward {
            Onward::Open { side, answer } => {
                *answer = None;
                let (to, id) = (side.neighbour, side.id);
                circuit.layers.pass_on(region, &mut self.filler);
                self.counters.forwarded += 1;
                Ok(Handled::Forward { to, head: CellHead { circuit: id, command: Command::Relay } })
            }
            Onward::End => {
                let opens = !std::mem::replace(&mut circuit.delivered, true);
                let inner = circuit.layers.inner();
                self.counters.delivered += 1;
                if opens {
                    self.tell(RelayEvent::Opened { circuit: key });
                }
                Ok(Handled::Inner { circuit: key, inner, number: opened.number })
            }
            Onward::Spliced { to } => {
                let (to, inner) = (*to, circuit.layers.inner());
                self.pass_over(now, to, inner, region)
            }
            Onward::Severed { told, .. } => {
                if now.saturating_duration_since(*told) >= TELL_AGAIN {
                    *told = now;
                    let to = circuit.previous.neighbour;
                    self.queue(to, Own::Truncated { circuit: key });
                }
                Err(Dropped::Stale)
            }
            _ => Err(Dropped::Stale),
        }
    }

    fn handle_request(
        &mut self,
        now: Instant,
        key: CircuitKey,
        opened: Opened,
        region: &[u8],
    ) -> Result<Handled, Dropped> {
        let circuit = self.table.circuit_mut(key).ok_or(Dropped::UnknownCircuit)?;
        let read = Request::read(&region[circuit.layers.body()]);
        let (number, request) = read.map_err(|_| Dropped::Malformed)?;
        if request == Request::Received {
            return self.handle_received(key, number, opened.number);
        }
        if number < circuit.request {
            return Err(Dropped::Stale);
        }
        circuit.from = circuit.from.max(opened.number);
        match request {
            Request::Extend(part) => self.handle_extend(now, key, number, &part),
            Request::Truncate => self.handle_truncate(now, key, number),
            Request::Ask(ask, part) => return self.handle_ask(now, key, number, (ask, &part)),
            Request::Received => {}
        }
        Ok(Handled::Done)
    }

    fn handle_truncate(&mut self, now: Instant, key: CircuitKey, number: RequestNumber) {
        self.renew(now, key, number, Onward::End);
        let Some(circuit) = self.table.circuit(key) else { return };
        // With an old number and another state, the number was an extend's: the client broke the protocol.
        if matches!(circuit.onward, Onward::End) {
            let to = circuit.previous.neighbour;
            self.queue(to, Own::Truncated { circuit: key });
        }
    }

    fn handle_extend(&mut self, now: Instant, key: CircuitKey, number: RequestNumber, part: &Part<'_>) {
        self.renew(now, key, number, Onward::Assembling(Assembly::default()));
        let (own, draining) = (self.config.node_id, self.draining);
        let Some(circuit) = self.table.circuit_mut(key) else { return };
        let step = next_step(circuit, part, &own, draining);
        let to = circuit.previous.neighbour;
        match step {
            Step::Wait => {}
            Step::Connect { node, first } => {
                if self.orders.len() >= ORDERS_MAX {
                    return self.refuse(key, Reason::Full);
                }
                circuit.onward = Onward::Connecting { first };
                self.orders.push_back(Order { circuit: key, node });
            }
            Step::Create => self.queue_create(key),
            Step::Extended => self.queue_extended(key),
            Step::Refuse(reason) => self.refuse(key, reason),
            Step::Truncated => self.queue(to, Own::Truncated { circuit: key }),
        }
    }

    /// A request with a number above the last one: what is behind this hop ends, and `onward` begins.
    pub(super) fn renew(&mut self, now: Instant, key: CircuitKey, number: RequestNumber, onward: Onward) {
        let Some(circuit) = self.table.circuit_mut(key) else { return };
        if number == circuit.request {
            return;
        }
        circuit.request = number;
        let before = std::mem::replace(&mut circuit.onward, onward);
        let previous = circuit.previous;
        self.unlink(now, key, previous, before);
    }

    /// What a circuit asks for comes to nothing.
    pub(super) fn refuse(&mut self, key: CircuitKey, reason: Reason) {
        let Some(circuit) = self.table.circuit_mut(key) else { return };
        circuit.onward = Onward::Refused(reason);
        let to = circuit.previous.neighbour;
        self.queue(to, Own::Refused { circuit: key });
    }

    /// Sends the first message on.
    pub(super) fn queue_create(&mut self, key: CircuitKey) {
        let region = self.config.network.packet_size.region();
        let Some(Onward::Creating { side, first, .. }) = self.table.circuit(key).map(|circuit| &circuit.onward) else {
            return;
        };
        let (to, count) = (side.neighbour, parts::count(first.len(), region).unwrap_or_default());
        self.queue_parts(to, count, |index| Own::Create { circuit: key, index });
    }

    /// Brings the next relay's answer back.
    pub(super) fn queue_extended(&mut self, key: CircuitKey) {
        let Some(circuit) = self.table.circuit(key) else { return };
        let Onward::Open { answer: Some(answer), .. } = &circuit.onward else { return };
        let room = circuit.layers.body().len() - crate::message::EXTEND_OVERHEAD;
        let (to, count) = (circuit.previous.neighbour, parts::count(answer.len(), room).unwrap_or_default());
        self.queue_parts(to, count, |index| Own::Extended { circuit: key, index });
    }

    /// The circuit has delivered cells here, and another relay is its last hop.
    pub(super) fn tell_not_last(&mut self, key: CircuitKey) {
        let Some(circuit) = self.table.circuit_mut(key) else { return };
        if std::mem::take(&mut circuit.delivered) {
            self.tell(RelayEvent::NotLast { circuit: key });
        }
    }
}

fn next_step(circuit: &mut RelayCircuit, part: &Part<'_>, own: &NodeId, draining: bool) -> Step {
    let again = part.index == 0;
    let may_go_on = circuit.layers.position() != Position::LAST && !circuit.is_single;
    match &mut circuit.onward {
        Onward::Assembling(assembly) => {
            let Some(message) = assembly.take(part) else { return Step::Wait };
            match read_extend_message(&message) {
                _ if draining => Step::Refuse(Reason::Draining),
                Ok((node, first)) if node != *own && may_go_on => Step::Connect { node, first: first.into() },
                Ok(_) | Err(_) => Step::Refuse(Reason::Protocol),
            }
        }
        Onward::Creating { .. } if again => Step::Create,
        Onward::Open { answer: Some(_), .. } if again => Step::Extended,
        Onward::Refused(reason) if again => Step::Refuse(*reason),
        Onward::Severed { .. } if again => Step::Truncated,
        _ => Step::Wait,
    }
}
