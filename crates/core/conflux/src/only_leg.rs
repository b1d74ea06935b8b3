//! One leg, both halves.

use crate::inbound::{Inbound, Receiver};
use crate::outbound::{Outbound, Sender};
use std::time::{Duration, Instant};
use wire::leg::{LegHeader, LegKind};

/// Data cells that may come before the other end is owed a cell, packet or not (mode `off`).
pub const DEBT_CELLS: u32 = 16;

/// How long the other end may wait for a cell after its data cell came (mode `off`).
pub const DEBT_DELAY: Duration = Duration::from_millis(10);

/// The id of a tunnel's only leg.
const ONLY_LEG: u8 = 0;

/// The only leg of a tunnel, seen from one end.
///
/// Call [`OnlyLeg::data_header`] or [`OnlyLeg::cover_header`] once for each cell that leaves and [`OnlyLeg::handle_cell`]
/// for each that comes. In mode `off`, send a cell when [`OnlyLeg::feedback_due`] has passed.
#[derive(Debug, Clone)]
pub struct OnlyLeg {
    sender: Sender,
    receiver: Receiver,
    /// Data cells since the last cell that left.
    debt: u32,
    owed_at: Option<Instant>,
}

impl OnlyLeg {
    /// A leg on which nothing has passed.
    pub fn new() -> Self {
        Self { sender: Sender::new(), receiver: Receiver::default(), debt: 0, owed_at: None }
    }

    /// What went on this leg and what the other end says about it.
    pub fn outbound(&self) -> Outbound {
        self.sender.figures
    }

    /// What came on this leg.
    pub fn inbound(&self) -> Inbound {
        self.receiver.figures
    }

    /// Smoothed round-trip time of data cells, without the time that they waited for an answer.
    pub fn rtt(&self) -> Option<Duration> {
        self.sender.rtt()
    }

    /// When the other end is owed a cell: after [`DEBT_CELLS`] data cells at once, else [`DEBT_DELAY`] after
    /// the first. Only data cells make debt, so two idle ends never answer each other's cover. For mode `off`;
    /// in shaped modes the grid sends cells anyway.
    pub fn feedback_due(&self) -> Option<Instant> {
        self.owed_at
    }

    /// Whether a cell is owed now; see [`OnlyLeg::feedback_due`].
    pub fn owes_feedback(&self, now: Instant) -> bool {
        self.owed_at.is_some_and(|at| at <= now)
    }

    /// The header of a cell that carries a session packet of `length` bytes.
    pub fn data_header(&mut self, now: Instant, length: u16) -> LegHeader {
        let number = self.sender.number_data(now);
        self.header(now, LegKind::Data, length, number)
    }

    /// The header of a cell without a session packet.
    pub fn cover_header(&mut self, now: Instant) -> LegHeader {
        let number = self.sender.number_cover();
        self.header(now, LegKind::Cover, 0, number)
    }

    /// Takes the header of a cell that came. True if it has a session packet and is not too late: the caller
    /// gives that packet to the session at once.
    pub fn handle_cell(&mut self, now: Instant, header: &LegHeader) -> bool {
        if header.feedback_leg == ONLY_LEG {
            self.sender.handle_feedback(now, header.feedback);
        }
        match header.kind {
            // A tunnel that was not linked says nothing about legs; whoever does fills a slot with it.
            LegKind::Cover | LegKind::Link => {
                self.receiver.take_cover(header.tunnel_number);
                false
            }
            LegKind::Data => {
                self.owe(now);
                self.receiver.take_data(now, header.tunnel_number)
            }
        }
    }

    fn owe(&mut self, now: Instant) {
        self.debt = self.debt.saturating_add(1);
        if self.debt == 1 {
            self.owed_at = Some(now + DEBT_DELAY);
        } else if self.debt >= DEBT_CELLS {
            self.owed_at = self.owed_at.map(|at| at.min(now));
        }
    }

    /// Every cell carries feedback, so every cell pays the debt.
    fn header(&mut self, now: Instant, kind: LegKind, length: u16, tunnel_number: u64) -> LegHeader {
        self.debt = 0;
        self.owed_at = None;
        LegHeader { kind, feedback_leg: ONLY_LEG, length, tunnel_number, feedback: self.receiver.feedback(now) }
    }
}

impl Default for OnlyLeg {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_data_cell_takes_the_next_number_and_a_cover_cell_repeats_it() {
        let now = crate::origin();
        let mut leg = OnlyLeg::new();
        let numbers = [
            leg.cover_header(now).tunnel_number,
            leg.data_header(now, 1).tunnel_number,
            leg.data_header(now, 1).tunnel_number,
            leg.cover_header(now).tunnel_number,
            leg.data_header(now, 1).tunnel_number,
        ];
        assert_eq!(numbers, [0, 1, 2, 2, 3]);
    }

    #[test]
    fn debt_is_due_after_ten_milliseconds_or_sixteen_data_cells() {
        let now = crate::origin();
        let (mut sender, mut leg) = (OnlyLeg::new(), OnlyLeg::new());
        leg.handle_cell(now, &sender.cover_header(now));
        assert_eq!(leg.feedback_due(), None, "cover makes no debt");
        leg.handle_cell(now, &sender.data_header(now, 1));
        assert_eq!(leg.feedback_due(), Some(now + DEBT_DELAY));
        let later = now + Duration::from_millis(1);
        for _ in 0..14 {
            leg.handle_cell(later, &sender.data_header(later, 1));
        }
        assert_eq!(leg.feedback_due(), Some(now + DEBT_DELAY));
        leg.handle_cell(later, &sender.data_header(later, 1));
        assert_eq!(leg.feedback_due(), Some(later));
        assert!(leg.owes_feedback(later) && !leg.owes_feedback(now));
        leg.cover_header(later);
        assert_eq!(leg.feedback_due(), None);
    }

    #[test]
    fn two_idle_ends_owe_each_other_nothing() {
        let now = crate::origin();
        let (mut one, mut other) = (OnlyLeg::new(), OnlyLeg::new());
        other.handle_cell(now, &one.data_header(now, 1));
        one.handle_cell(now, &other.cover_header(now));
        assert_eq!((one.feedback_due(), other.feedback_due()), (None, None));
    }

    proptest! {
        /// Whatever is lost, both ends agree on it once a cell of the last state comes through.
        #[test]
        fn both_ends_agree_on_what_was_lost(fate in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..400)) {
            let now = crate::origin();
            let (mut entry, mut exit) = (OnlyLeg::new(), OnlyLeg::new());
            for (is_data, arrives) in fate {
                let header = if is_data { entry.data_header(now, 9) } else { entry.cover_header(now) };
                if arrives {
                    let for_session = exit.handle_cell(now, &header);
                    prop_assert_eq!(for_session, is_data);
                }
            }
            let last = entry.data_header(now, 9);
            prop_assert!(exit.handle_cell(now, &last));
            entry.handle_cell(now, &exit.cover_header(now));
            let (out, came) = (entry.outbound(), exit.inbound());
            prop_assert_eq!(out.lost(), came.missing());
            prop_assert_eq!(out.received, came.received);
            prop_assert_eq!(out.in_flight, 0);
        }
    }
}
