//! How clients behave that want an exit's memory.

use super::{Client, Packet};
use conflux::LegId;
use link::Now;
use std::time::Duration;
use wire::leg::LegHeader;

/// How often a second leg that stands still shows it: the other end waits for legs that were heard lately.
const STAND_EVERY: Duration = Duration::from_millis(20);

/// How a client keeps to the protocol of sessions. Its circuits and its feedback are good in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conduct {
    /// It does.
    #[default]
    Good,
    /// It takes everything and says nothing more in its session: it acknowledges nothing.
    Silent,
    /// Of what it sends every fiftieth packet never leaves, and its second leg brings nothing but cells that stand at the beginning: so
    /// the other end waits for it as long as it waits for any.
    Gaps,
}

impl Client {
    /// The header of a cell of a leg's own as its conduct wants it.
    pub(super) fn standing(&self, leg: LegId, header: LegHeader) -> LegHeader {
        let stands = self.conduct == Conduct::Gaps && leg.number() != 0;
        LegHeader { tunnel_number: if stands { 0 } else { header.tunnel_number }, ..header }
    }

    /// Shows again and again that the second leg is not past anything.
    pub(super) fn stand(&mut self, now: Now, out: &mut Vec<Packet>) {
        if self.conduct != Conduct::Gaps || self.stood_at.is_some_and(|at| at + STAND_EVERY > now.instant) {
            return;
        }
        self.stood_at = Some(now.instant);
        let legs: Vec<LegId> = self.legs.values().copied().filter(|leg| leg.number() != 0).collect();
        for leg in legs {
            let Some(header) = self.tunnel.spare_header(leg) else { continue };
            let (Some((circuit, _)), header) = (self.carrier(leg), self.standing(leg, header)) else { continue };
            self.put(now, circuit, &header.encode(), out);
        }
    }
}
