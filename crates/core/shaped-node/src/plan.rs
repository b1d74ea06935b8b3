//! The packets of one slot, ready to be sent.

use link::{LinkId, Route};
use std::net::{Ipv4Addr, SocketAddr};

/// Packets of one size on one route, back to back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where they go. Unspecified for an empty run.
    pub to: Route,
    /// A whole number of packets of P bytes.
    pub packets: Vec<u8>,
}

impl Default for Run {
    fn default() -> Self {
        Self { to: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(), packets: Vec::new() }
    }
}

/// What the sender needs for a slot: its packets, and the cover that stands in for the *next* busy slot's
/// packets should those be late.
#[derive(Debug, Default)]
pub struct SlotPlan {
    /// Packets of this slot. Run i belongs to lane i (one lane per neighbour, see
    /// [`crate::ShapedNode::lanes`]); runs beyond the lanes are answers to strangers.
    pub runs: Vec<Run>,
    /// The next busy slot, if anything is scheduled.
    pub next: Option<u64>,
    /// Cover packets for `next`, lane by lane, as many as that slot has.
    pub spare: Vec<Run>,
}

/// Collects sealed packets lane by lane.
#[derive(Debug, Default)]
pub(crate) struct RunBuilder {
    runs: Vec<Run>,
}

impl RunBuilder {
    pub(crate) fn with_lanes(lanes: usize) -> Self {
        Self { runs: std::iter::repeat_with(Run::default).take(lanes).collect() }
    }

    /// Lets `seal` append one packet to a lane and say where it goes. False when it had none. A packet
    /// for another route than the lane's first goes into a run of its own.
    pub(crate) fn append_to_lane(&mut self, lane: usize, seal: impl FnOnce(&mut Vec<u8>) -> Option<Route>) -> bool {
        let Some(run) = self.runs.get_mut(lane) else { return false };
        let before = run.packets.len();
        let Some(to) = seal(&mut run.packets) else { return false };
        if before == 0 {
            run.to = to;
        } else if run.to != to {
            let packets = run.packets.split_off(before);
            self.runs.push(Run { to, packets });
        }
        true
    }

    /// Lets `seal` make one packet outside the lanes.
    pub(crate) fn append(&mut self, seal: impl FnOnce(&mut Vec<u8>) -> Option<Route>) -> bool {
        let mut packets = Vec::new();
        let Some(to) = seal(&mut packets) else { return false };
        self.runs.push(Run { to, packets });
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
