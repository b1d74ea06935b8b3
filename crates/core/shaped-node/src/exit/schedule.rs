//! The schedule of one tunnel's cells at the exit, and how it is dealt to the tunnel's legs.
//!
//! What is here knows of slots, classes, shares, loss on links, and which legs there are. Of what cells carry it knows what
//! its pacing may know before a release, and nothing else.

use super::circuits::Circuits;
use crate::pacing::{Ceilings, Grounds, Pacing, PacingConfig};
use crate::parameters::Mode;
use crate::shares::{Cap, Shares};
use conflux::{Asked, LegId, Refusal};
use link::Now;
use onion::CircuitKey;
use shaping::{Breaker, RateClass, SlotLength};
use std::collections::BTreeSet;

/// Shares of all tunnels with a schedule. A LINK whose tunnel would need more is refused: the exit is full.
pub const SHARES_MAX: usize = 256;

/// How an exit sends in slots.
#[derive(Debug, Clone)]
pub struct ExitSchedule {
    /// The mode, not [`Mode::Off`]. Clients that ask for another one are refused by name.
    pub mode: Mode,
    /// The rule of each tunnel's direction.
    pub pacing: PacingConfig,
    /// Length of a slot.
    pub slot: SlotLength,
    /// The fastest class of one tunnel, all its legs together. Who asks for more gets this one.
    pub fastest: RateClass,
}

impl ExitSchedule {
    /// The class that a client gets who asks for this.
    pub(super) fn class_for(&self, asked: Asked) -> Option<RateClass> {
        let class = RateClass::new(asked.class()).ok().filter(|_| asked.mode() == self.mode as u8)?;
        Some(class.min(self.fastest))
    }
}

/// Numbers by which the sender knows whose cells belong together: one for each share.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeSet<usize>);

impl Lanes {
    /// The lowest free ones, so many.
    pub(super) fn take(&mut self, shares: u8) -> Result<Vec<usize>, Refusal> {
        let free: Vec<usize> =
            (0..SHARES_MAX).filter(|lane| !self.0.contains(lane)).take(usize::from(shares)).collect();
        if free.len() < usize::from(shares) {
            return Err(Refusal::Full);
        }
        self.0.extend(&free);
        Ok(free)
    }

    pub(super) fn give_back(&mut self, schedule: &Schedule) {
        for part in &schedule.parts {
            self.0.remove(&part.lane);
        }
    }

    /// One more than the highest that is taken.
    pub(super) fn count(&self) -> usize {
        self.0.last().map_or(0, |lane| lane + 1)
    }
}

/// A share, and the leg that has it.
#[derive(Debug)]
struct Part {
    lane: usize,
    circuit: Option<CircuitKey>,
    /// Of the link on which the leg's cells leave, by that link's own reports.
    breaker: Breaker,
    cap: Cap,
}

/// Cells that a leg has in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) lane: usize,
    pub(super) leg: LegId,
    pub(super) circuit: CircuitKey,
    pub(super) cells: u32,
}

/// One tunnel's schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) pacing: Pacing,
    shares: Shares,
    parts: Vec<Part>,
    /// Bytes of session packets that left since a rule last looked.
    pub(super) sent_bytes: u64,
}

impl Schedule {
    /// A schedule of this class that begins with the next slot. `lanes`: one for each share.
    pub(super) fn new(
        config: &ExitSchedule,
        class: RateClass,
        (session_packet, from_slot): (usize, u64),
        now: Now,
        lanes: Vec<usize>,
    ) -> Self {
        let grounds = Grounds {
            // What the client's own direction has at most is not known here; mode `dp` leaves room for answers to as much.
            ceilings: Ceilings { own: class, other: class },
            slot: config.slot,
            session_packet,
            from_slot,
            unix_s: now.unix_s,
        };
        let part = |lane| Part { lane, circuit: None, breaker: Breaker::new(class, now.unix_s), cap: Cap::default() };
        Self {
            pacing: Pacing::new(&config.pacing, grounds),
            // There are at most as many lanes as shares.
            shares: Shares::new(lanes.len() as u8),
            parts: lanes.into_iter().map(part).collect(),
            sent_bytes: 0,
        }
    }

    /// The cells of a slot, leg by leg. A share without a leg is not sent. To be called once for each slot, in order, after
    /// the edges of the slot have passed.
    pub(super) fn deal(
        &mut self,
        now: Now,
        slot: u64,
        legs: &conflux::Tunnel<CircuitKey>,
        circuits: &mut impl Circuits,
    ) -> Vec<Due> {
        let dealt = self.shares.deal(self.pacing.cells_in_slot(slot));
        let full = self.pacing.class();
        let mut all = Vec::with_capacity(self.parts.len());
        for (share, part) in (0..self.shares.legs()).zip(&mut self.parts) {
            let leg = legs.leg_of_share(share);
            let Some((leg, &circuit)) = leg.and_then(|leg| Some((leg, legs.carrier(leg)?))) else { continue };
            part.follow(now, circuit, full, circuits.link_loss(circuit));
            let cells = part.cap.take(dealt.of(share), full, part.breaker.class());
            all.push(Due { lane: part.lane, leg, circuit, cells });
        }
        all
    }

    /// What [`Schedule::deal`] will give for the next slot that is sent, if nothing changes until then.
    pub(super) fn peek(&self, slot: u64, legs: &conflux::Tunnel<CircuitKey>) -> Vec<Due> {
        let dealt = self.shares.peek(self.pacing.cells_in_slot(slot));
        let full = self.pacing.class();
        let due = |(share, part): (u8, &Part)| {
            let leg = legs.leg_of_share(share)?;
            let circuit = *legs.carrier(leg)?;
            let cells = part.cap.peek(dealt.of(share), full, part.breaker.class());
            Some(Due { lane: part.lane, leg, circuit, cells })
        };
        (0..self.shares.legs()).zip(&self.parts).filter_map(due).collect()
    }
}

impl Part {
    /// Another leg has another link, which has lost nothing yet.
    fn follow(&mut self, now: Now, circuit: CircuitKey, in_force: RateClass, loss: Option<u16>) {
        if self.circuit.replace(circuit) != Some(circuit) {
            self.breaker = Breaker::new(self.breaker.configured(), now.unix_s);
        }
        if let Some(loss) = loss {
            self.breaker.handle_loss(loss, now.unix_s);
        }
        self.breaker.poll(now.unix_s, in_force.min(self.breaker.class()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(number: u8) -> RateClass {
        RateClass::new(number).expect("a class")
    }

    fn config() -> ExitSchedule {
        ExitSchedule {
            mode: Mode::Constant,
            pacing: PacingConfig::Constant,
            slot: SlotLength::from_millis(5).expect("5 ms"),
            fastest: class(20),
        }
    }

    #[test]
    fn a_client_gets_what_it_asks_for_up_to_the_fastest() {
        let asked = |mode, class| Asked::new(mode, class, 0, 2).expect("a share");
        assert_eq!(config().class_for(asked(1, 7)), Some(class(7)));
        assert_eq!(config().class_for(asked(1, 52)), Some(class(20)));
        assert_eq!(config().class_for(asked(1, 53)), None, "no such class");
        assert_eq!([2, 3, 4, 200].map(|mode| config().class_for(asked(mode, 7))), [None; 4], "another mode");
        assert_eq!(config().class_for(Asked::OFF), None);
    }

    #[test]
    fn lanes_are_bounded_and_come_back() {
        let now = Now { instant: some_time(), unix_s: 1_800_000_000 };
        let mut lanes = Lanes::default();
        let mut schedules = Vec::new();
        for _ in 0..SHARES_MAX / 8 {
            let taken = lanes.take(8).expect("there is room");
            schedules.push(Schedule::new(&config(), class(3), (1_222, 0), now, taken));
        }
        assert_eq!(lanes.take(1), Err(Refusal::Full));
        lanes.give_back(&schedules[1]);
        assert_eq!(lanes.take(2), Ok(vec![8, 9]));
        assert_eq!(lanes.take(8), Err(Refusal::Full));
        schedules.iter().for_each(|schedule| lanes.give_back(schedule));
        assert_eq!(lanes.count(), 0);
    }

    #[expect(clippy::disallowed_methods, reason = "an instant has no other origin; it plays no part")]
    fn some_time() -> std::time::Instant {
        std::time::Instant::now()
    }
}
