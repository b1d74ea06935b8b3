//! The packets of one slot, ready to be sent.

use link::{LinkId, Route};
use std::net::{Ipv4Addr, SocketAddr};

/// Packets of one size on one route, back to back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Whose public number of packets they count in: that of a neighbour, or [`crate::ShapedNode::lanes`] for answers to
    /// strangers.
    pub lane: usize,
    /// Where they go. Unspecified for an empty run.
    pub to: Route,
    /// A whole number of packets of P bytes.
    pub packets: Vec<u8>,
}

impl Run {
    fn empty(lane: usize) -> Self {
        Self { lane, to: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(), packets: Vec::new() }
    }
}

/// What the sender needs for a slot: its packets, and the cover that stands in for the *next* busy slot's
/// packets should those be late.
#[derive(Debug, Default)]
pub struct SlotPlan {
    /// Packets of this slot, at least one run for each lane (one lane per neighbour, see [`crate::ShapedNode::lanes`]).
    pub runs: Vec<Run>,
    /// The next busy slot, if anything is scheduled.
    pub next: Option<u64>,
    /// Cover packets for `next`, lane by lane, as many as that slot has.
    pub spare: Vec<Run>,
}

/// How many cells a link has in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkCells {
    pub(crate) link: LinkId,
    pub(crate) lane: usize,
    pub(crate) cells: u32,
}

/// Collects sealed packets lane by lane.
#[derive(Debug, Default)]
pub(crate) struct RunBuilder {
    lanes: usize,
    runs: Vec<Run>,
}

impl RunBuilder {
    pub(crate) fn with_lanes(lanes: usize) -> Self {
        Self { lanes, runs: (0..lanes).map(Run::empty).collect() }
    }

    /// Lets `seal` append one packet to a lane and say where it goes. False when it had none. A packet for another route
    /// than the one before begins a run of its own in the same lane.
    pub(crate) fn append_to_lane(&mut self, lane: usize, seal: impl FnOnce(&mut Vec<u8>) -> Option<Route>) -> bool {
        let Some(run) = self.runs.iter_mut().rev().find(|run| run.lane == lane) else { return false };
        let before = run.packets.len();
        let Some(to) = seal(&mut run.packets) else { return false };
        if before == 0 {
            run.to = to;
        } else if run.to != to {
            let packets = run.packets.split_off(before);
            self.runs.push(Run { lane, to, packets });
        }
        true
    }

    /// Lets `seal` make one packet outside the lanes of neighbours.
    pub(crate) fn append(&mut self, seal: impl FnOnce(&mut Vec<u8>) -> Option<Route>) -> bool {
        let mut packets = Vec::new();
        let Some(to) = seal(&mut packets) else { return false };
        self.runs.push(Run { lane: self.lanes, to, packets });
        true
    }

    pub(crate) fn finish(self) -> Vec<Run> {
        self.runs
    }
}

/// Which link the cells of a spare were sealed for, so that they can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpareOf {
    pub(crate) link: LinkId,
    pub(crate) cells: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_stay_in_their_lane_whatever_way_they_go() {
        let mut runs = RunBuilder::with_lanes(2);
        for (lane, port, mark) in [(0, 1, b'a'), (1, 9, b'x'), (0, 2, b'b'), (0, 2, b'c'), (0, 1, b'd')] {
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into();
            assert!(runs.append_to_lane(lane, |out| {
                out.push(mark);
                Some(to)
            }));
        }
        assert!(!runs.append_to_lane(0, |_| None) && !runs.append_to_lane(2, |_| None));
        assert!(runs.append(|out| {
            out.push(b's');
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7)).into())
        }));
        let runs: Vec<(usize, u16, Vec<u8>)> =
            runs.finish().into_iter().map(|run| (run.lane, run.to.to.port(), run.packets)).collect();
        let expected = [(0, 1, &b"a"[..]), (1, 9, b"x"), (0, 2, b"bc"), (0, 1, b"d"), (2, 7, b"s")];
        assert_eq!(runs, expected.map(|(lane, port, marks)| (lane, port, marks.to_vec())));
    }
}
