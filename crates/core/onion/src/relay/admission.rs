//! Who may cost a relay a handshake.

use super::meeting::{INTRODUCTION_POINTS_MAX, RENDEZVOUS_MAX};
use super::{HANDSHAKES_PER_SECOND_MAX, Neighbour, RelayConfig};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One neighbour has at most one of so many parts of all places of a kind.
const NEIGHBOUR_PART: usize = 4;

/// Counts events of the present second.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateWindow {
    start: Option<Instant>,
    count: u32,
}

impl RateWindow {
    pub(super) fn new() -> Self {
        Self { start: None, count: 0 }
    }

    /// Counts one event if there are fewer than `limit` in this second.
    pub(super) fn admit(&mut self, now: Instant, limit: u32) -> bool {
        if self.start.is_none_or(|start| now.saturating_duration_since(start) >= Duration::from_secs(1)) {
            *self = Self { start: Some(now), count: 0 };
        }
        let admitted = self.count < limit;
        self.count += u32::from(admitted);
        admitted
    }
}

/// Handshakes of all neighbours and of each; circuits that begin at each. One entry for each link, whose number the caller
/// bounds; it goes with the link.
pub(super) struct Admission {
    all: RateWindow,
    asks: RateWindow,
    neighbours: BTreeMap<Neighbour, Share>,
    all_limit: u32,
    neighbour_limit: u32,
    circuits_limit: u32,
}

struct Share {
    rate: RateWindow,
    asks: RateWindow,
    circuits: u32,
    places: [usize; 2],
    rate_limit: u32,
    circuits_limit: u32,
}

/// What a circuit may be beside a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Its client waits for a service.
    Rendezvous,
    /// Its client waits for others.
    Introduction,
}

/// What a handshake meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It is worked on.
    Yes,
    /// Too many in this second: later perhaps.
    Later,
    /// The neighbour has all its circuits.
    Full,
}

impl Admission {
    pub(super) fn new(config: &RelayConfig) -> Self {
        Self {
            all: RateWindow::new(),
            asks: RateWindow::new(),
            neighbours: BTreeMap::new(),
            all_limit: config.handshakes_per_second.min(HANDSHAKES_PER_SECOND_MAX),
            neighbour_limit: config.handshakes_per_neighbour,
            circuits_limit: config.circuits_per_neighbour,
        }
    }

    /// Asks for one handshake. A neighbour above its own rate takes nothing from the others'.
    pub(super) fn admit(&mut self, now: Instant, neighbour: Neighbour) -> Admitted {
        let share = self.share(neighbour);
        if share.circuits >= share.circuits_limit {
            return Admitted::Full;
        }
        let limit = share.rate_limit;
        let admitted = share.rate.admit(now, limit) && self.all.admit(now, self.all_limit);
        if admitted { Admitted::Yes } else { Admitted::Later }
    }

    fn share(&mut self, neighbour: Neighbour) -> &mut Share {
        let (rate_limit, circuits_limit) = (self.neighbour_limit, self.circuits_limit);
        let rate = RateWindow::new();
        let new = Share { rate, asks: rate, circuits: 0, places: [0; 2], rate_limit, circuits_limit };
        self.neighbours.entry(neighbour).or_insert(new)
    }

    /// Asks for one thing that a client wants beside circuits. A neighbour may ask as often as it may make handshakes.
    pub(super) fn admit_ask(&mut self, now: Instant, neighbour: Neighbour) -> bool {
        let all = self.all_limit;
        let share = self.share(neighbour);
        let limit = share.rate_limit;
        share.asks.admit(now, limit) && self.asks.admit(now, all)
    }

    /// Gives a neighbour one place more, if it has fewer than its part of all.
    pub(super) fn take_place(&mut self, neighbour: Neighbour, place: Place) -> bool {
        let all = match place {
            Place::Rendezvous => RENDEZVOUS_MAX,
            Place::Introduction => INTRODUCTION_POINTS_MAX,
        };
        let places = &mut self.share(neighbour).places[place as usize];
        let has_room = *places < all / NEIGHBOUR_PART;
        *places += usize::from(has_room);
        has_room
    }

    /// A place of a neighbour is free again.
    pub(super) fn leave_place(&mut self, neighbour: Neighbour, place: Place) {
        if let Some(share) = self.neighbours.get_mut(&neighbour) {
            let places = &mut share.places[place as usize];
            *places = places.saturating_sub(1);
        }
    }

    /// Sets the bounds of one neighbour.
    pub(super) fn limit(&mut self, neighbour: Neighbour, circuits: u32, handshakes_per_second: u32) {
        let share = self.share(neighbour);
        (share.circuits_limit, share.rate_limit) = (circuits, handshakes_per_second);
    }

    /// Circuits that begin at this neighbour.
    pub(super) fn circuits(&self, neighbour: Neighbour) -> u32 {
        self.neighbours.get(&neighbour).map_or(0, |share| share.circuits)
    }

    /// A circuit begins at this neighbour.
    pub(super) fn opened(&mut self, neighbour: Neighbour) {
        if let Some(share) = self.neighbours.get_mut(&neighbour) {
            share.circuits += 1;
        }
    }

    /// A circuit that began at this neighbour is gone.
    pub(super) fn closed(&mut self, neighbour: Neighbour) {
        if let Some(share) = self.neighbours.get_mut(&neighbour) {
            share.circuits = share.circuits.saturating_sub(1);
        }
    }

    /// The link is down and its circuits are gone.
    pub(super) fn forget(&mut self, neighbour: Neighbour) {
        self.neighbours.remove(&neighbour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Network;
    use identity::NodeId;
    use wire::packet::PacketSize;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn a_flood_of_one_neighbour_leaves_the_others_their_share() {
        let network = Network { id: [0; 32], packet_size: PacketSize::DEFAULT };
        let config = RelayConfig {
            circuits_per_neighbour: 30,
            handshakes_per_second: 100,
            handshakes_per_neighbour: 25,
            ..RelayConfig::new(network, NodeId([0; 32]))
        };
        let (mut admission, start) = (Admission::new(&config), Instant::now());
        let mut admitted = |now, neighbour, tries: u32| {
            (0..tries).filter(|_| admission.admit(now, Neighbour(neighbour)) == Admitted::Yes).count()
        };
        assert_eq!(admitted(start, 1, 10_000), 25);
        assert_eq!((2..9).map(|neighbour| admitted(start, neighbour, 20)).sum::<usize>(), 75, "the rest of 100");
        assert_eq!(admitted(start + Duration::from_secs(1), 1, 10_000), 25);
        for _ in 0..30 {
            admission.opened(Neighbour(1));
        }
        assert_eq!(admission.admit(start + Duration::from_secs(3), Neighbour(1)), Admitted::Full);
        admission.closed(Neighbour(1));
        assert_eq!(admission.admit(start + Duration::from_secs(3), Neighbour(1)), Admitted::Yes);
        assert_eq!(admission.circuits(Neighbour(1)), 29);
        admission.limit(Neighbour(1), 29, 25);
        assert_eq!(admission.admit(start + Duration::from_secs(5), Neighbour(1)), Admitted::Full);
        admission.limit(Neighbour(2), 30, 3);
        let admitted =
            (0..20).filter(|_| admission.admit(start + Duration::from_secs(7), Neighbour(2)) == Admitted::Yes);
        assert_eq!(admitted.count(), 3);
    }
}
