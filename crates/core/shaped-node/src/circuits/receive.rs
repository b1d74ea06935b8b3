//! Cells that come over links to guards.

use super::{Circuits, Stage};
use crate::memory::Holder;
use link::{LinkId, Now};
use onion::Received;
use wire::cell::{CellHead, Command};

/// What became of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Took {
    /// It was for a circuit of ours.
    Known,
    /// There is no such circuit.
    Unknown,
    /// A layer did not open, or it makes no sense.
    Bad,
}

impl Circuits {
    /// Takes a cell with its region, which is opened in place.
    pub(crate) fn handle_cell(&mut self, now: Now, link: LinkId, head: CellHead, region: &mut [u8]) -> Took {
        match head.command {
            Command::Relay | Command::Created | Command::Destroy | Command::Destroyed => {}
            // The link's own, or what only a relay is sent.
            _ => return Took::Known,
        }
        let route = (link, head.circuit);
        if let Some(&tunnel_number) = self.shared.carriers.get(&route)
            && let Some(tunnel) = self.tunnels.get_mut(&tunnel_number)
            && let Some(&leg) = tunnel.routes.get(&route)
            && let Some(joined) = &mut tunnel.joined
            && let Some(carrier) = joined.legs.carrier_mut(leg)
        {
            return match carrier.handle_cell(now.instant, head.command, region) {
                Received::Inner { number } => {
                    let inner = carrier.inner();
                    joined.legs.handle_cell(now.instant, leg, number, &region[inner..]);
                    tunnel.take_packets(now.instant);
                    self.keep_account(now.instant, tunnel_number);
                    Took::Known
                }
                Received::Handled => Took::Known,
                Received::Dropped(_) => Took::Bad,
            };
        }
        let building =
            self.tunnels.values_mut().flat_map(|tunnel| &mut tunnel.places).find_map(|place| match &mut place.stage {
                Stage::Building { link: of, circuit, .. } if *of == link => {
                    Some(&mut circuit.circuit_mut().circuit).filter(|circuit| circuit.id() == head.circuit)
                }
                _ => None,
            });
        let ending = self.shared.ending.iter_mut().filter(|ending| ending.link == link);
        let mut ending = ending.map(|ending| &mut ending.circuit);
        let circuit = building.or_else(|| ending.find(|circuit| circuit.id() == head.circuit));
        let received = match circuit {
            Some(circuit) => Some(circuit.handle_cell(now.instant, head.command, region)),
            None => self.errands.handle_cell(now.instant, link, (head.circuit, head.command), region),
        };
        match received {
            Some(Received::Dropped(_)) => Took::Bad,
            // A circuit that is not linked carries nothing.
            Some(Received::Handled | Received::Inner { .. }) => Took::Known,
            None => Took::Unknown,
        }
    }
}
