//! The direction up of an entry over circuits, in shaped modes: one schedule, dealt over the links to guards.
//!
//! **Here the secret meets the clock**, with `slots`: what this says about a slot follows from the schedule, from which guards were
//! dialled and when, and from what the links' own reports say about loss. A link has its share from its first message to its
//! guard on, whatever its circuits come to, so that no guard gets more for another one's failure.

use crate::pacing::{Grounds, Pacing, PacingConfig, ReleaseFigures, Traffic};
use crate::parameters::Mode;
use crate::plan::LinkCells;
use crate::shares::{Cap, Shares};
use conflux::Asked;
use link::LinkId;
use shaping::{Breaker, RateClass, ReadyNoise};
use wire::grant::Grant;

/// What happened in a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UplinkEdge {
    /// The class of the schedule from this slot on, if it is another.
    pub(crate) class: Option<RateClass>,
    /// Links whose loss has changed what they may carry, and to what class of the whole schedule.
    pub(crate) capped: Vec<(LinkId, RateClass)>,
    /// An epoch began: quotas are whole again.
    pub(crate) epoch_began: bool,
}

/// Classes of the whole schedule, as one link has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkClasses {
    pub(crate) in_force: RateClass,
    pub(crate) configured: RateClass,
    /// By the link's breaker.
    pub(crate) allowed: RateClass,
    /// How often that stepped down.
    pub(crate) steps_down: u64,
}

/// A link with a share.
#[derive(Debug)]
struct Lane {
    link: LinkId,
    /// Steps down under the link's own loss. Its classes are those of the whole schedule.
    breaker: Breaker,
    cap: Cap,
}

/// The schedule, and who has which share of it.
#[derive(Debug)]
pub(crate) struct Uplink {
    pacing: Pacing,
    shares: Shares,
    /// By share.
    lanes: Vec<Option<Lane>>,
    /// A link without a share whose own packets take slots of another one.
    guest: Option<(LinkId, LinkId)>,
    configured: RateClass,
    /// What is asked of the exit.
    asked: (Mode, RateClass),
    unix_s: u64,
    /// Bytes of session packets that left since a rule last looked.
    pub(crate) sent_bytes: u64,
}

impl Uplink {
    /// `legs`: how many shares there are. The exit is asked for the same mode.
    pub(crate) fn new(mode: Mode, config: &PacingConfig, grounds: Grounds, legs: u8) -> Self {
        let shares = Shares::new(legs);
        Self {
            pacing: Pacing::new(config, grounds),
            lanes: std::iter::repeat_with(|| None).take(usize::from(shares.legs())).collect(),
            guest: None,
            shares,
            configured: grounds.ceilings.own,
            asked: (mode, grounds.ceilings.other),
            unix_s: grounds.unix_s,
            sent_bytes: 0,
        }
    }

    /// How many shares there are.
    pub(crate) fn shares(&self) -> u8 {
        self.shares.legs()
    }

    /// The share of a link; none of one that had to give it to another.
    pub(crate) fn share_of(&self, link: LinkId) -> Option<u8> {
        let share = self.lanes.iter().position(|lane| lane.as_ref().is_some_and(|lane| lane.link == link))?;
        u8::try_from(share).ok()
    }

    /// What a leg over a link asks the exit for: the same share of the other direction. None of a link without one.
    pub(crate) fn asked_of(&self, link: LinkId) -> Option<Asked> {
        self.asked_in(self.mode(), link)
    }

    /// The same of a service. Those have no rate that follows anything, and a constant one tells the least.
    pub(crate) fn asked_of_service(&self, link: LinkId) -> Option<Asked> {
        self.asked_in(Mode::Constant, link)
    }

    fn asked_in(&self, mode: Mode, link: LinkId) -> Option<Asked> {
        let (_, class) = self.asked;
        Asked::new(mode as u8, class.number(), self.share_of(link)?, self.shares())
    }

    /// The mode of the schedule.
    pub(crate) fn mode(&self) -> Mode {
        self.asked.0
    }

    /// Gives a link its share, unless it has one: the first that is free, else that of a link which nothing `uses` any more. False
    /// if every share is in use, which more links than legs would have to bring about.
    pub(crate) fn add_link(&mut self, link: LinkId, uses: impl Fn(LinkId) -> bool) -> bool {
        if self.share_of(link).is_some() {
            return true;
        }
        let is_free = |lane: &Option<Lane>| lane.as_ref().is_none_or(|lane| !uses(lane.link));
        let free = self.lanes.iter().position(Option::is_none).or_else(|| self.lanes.iter().position(is_free));
        let Some(free) = free else { return false };
        self.remove_guest(link);
        self.lanes[free] =
            Some(Lane { link, breaker: Breaker::new(self.configured, self.unix_s), cap: Cap::default() });
        true
    }

    /// A link without a share: its own packets, those of a handshake, take slots of `host` until it has one.
    pub(crate) fn set_guest(&mut self, link: LinkId, host: LinkId) {
        self.guest = Some((link, host)).filter(|_| self.share_of(link).is_none());
    }

    /// A link is the guest of another one no longer.
    pub(crate) fn remove_guest(&mut self, link: LinkId) {
        self.guest.take_if(|(guest, _)| *guest == link);
    }

    /// The link whose own packets take slots of `host` before those of `host` do.
    pub(crate) fn guest_of(&self, host: LinkId) -> Option<LinkId> {
        self.guest.filter(|(_, of)| *of == host).map(|(guest, _)| guest)
    }

    /// The link is closed.
    pub(crate) fn remove_link(&mut self, link: LinkId) {
        self.remove_guest(link);
        if let Some(share) = self.share_of(link) {
            self.lanes[usize::from(share)] = None;
        }
    }

    /// What a link's own reports say about what it carried lately.
    pub(crate) fn handle_loss(&mut self, link: LinkId, per_mille: u16, unix_s: u64) {
        if let Some(lane) = self.lanes.iter_mut().flatten().find(|lane| lane.link == link) {
            lane.breaker.handle_loss(per_mille, unix_s);
        }
    }

    /// Takes leave to release.
    pub(crate) fn handle_grant(&mut self, grant: Grant) {
        self.pacing.handle_grant(grant);
    }

    /// Lets as many bytes of a client count as arrived as its quota allows.
    pub(crate) fn admit(&mut self, client: u64, wanted: u64) -> u64 {
        self.pacing.admit(client, wanted)
    }

    /// Whether the rule wants to know about traffic in this slot.
    pub(crate) fn looks_at_traffic(&self, slot: u64, unix_s: u64) -> bool {
        self.pacing.looks_at_traffic(slot, unix_s)
    }

    /// Lets edges pass, as [`Pacing::poll`] does.
    pub(crate) fn poll(&mut self, slot: u64, unix_s: u64, traffic: Traffic, noise: &mut impl ReadyNoise) -> UplinkEdge {
        self.unix_s = unix_s;
        let edge = self.pacing.poll(slot, unix_s, traffic, noise);
        let class = self.pacing.class();
        let mut capped = Vec::new();
        for lane in self.lanes.iter_mut().flatten() {
            let in_force = class.min(lane.breaker.class());
            if let Some(class) = lane.breaker.poll(unix_s, in_force) {
                capped.push((lane.link, class));
            }
        }
        UplinkEdge { class: edge.class, capped, epoch_began: edge.epoch_began }
    }

    /// The first slot at `from` or later that has a cell or an edge.
    pub(crate) fn next_busy_slot(&self, from: u64) -> u64 {
        self.pacing.next_busy_slot(from)
    }

    /// Deals the cells of a slot. Call it once for each slot that is sent, in order.
    pub(crate) fn deal(&mut self, slot: u64) -> Vec<LinkCells> {
        let class = self.pacing.class();
        let dealt = self.shares.deal(self.pacing.cells_in_slot(slot));
        let mut out = Vec::new();
        for (share, lane) in (0_u8..).zip(&mut self.lanes) {
            if let Some(lane) = lane {
                let cells = lane.cap.take(dealt.of(share), class, lane.breaker.class());
                out.push(LinkCells { link: lane.link, lane: usize::from(share), cells });
            }
        }
        out
    }

    /// What [`Uplink::deal`] would give for a slot if it were the next: for its spare.
    pub(crate) fn peek(&self, slot: u64) -> Vec<LinkCells> {
        let class = self.pacing.class();
        let dealt = self.shares.peek(self.pacing.cells_in_slot(slot));
        let lanes = (0_u8..).zip(&self.lanes).filter_map(|(share, lane)| Some((share, lane.as_ref()?)));
        let cells = |lane: &Lane, share| lane.cap.peek(dealt.of(share), class, lane.breaker.class());
        lanes
            .map(|(share, lane)| LinkCells { link: lane.link, lane: usize::from(share), cells: cells(lane, share) })
            .collect()
    }

    /// What a link may carry.
    pub(crate) fn classes_of(&self, link: LinkId) -> Option<LinkClasses> {
        let lane = self.lanes.iter().flatten().find(|lane| lane.link == link)?;
        let allowed = lane.breaker.class();
        Some(LinkClasses {
            in_force: self.pacing.class().min(allowed),
            configured: self.configured,
            allowed,
            steps_down: lane.breaker.steps_down(),
        })
    }

    /// Cells a second of the whole schedule.
    pub(crate) fn cells_per_second(&self) -> u64 {
        self.pacing.cells_per_second()
    }

    /// What is known of a direction whose rate follows releases.
    pub(crate) fn figures(&self) -> Option<ReleaseFigures> {
        self.pacing.figures()
    }
}

#[cfg(test)]
mod tests;
