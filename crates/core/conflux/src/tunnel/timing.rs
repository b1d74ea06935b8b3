//! What time brings.

use super::{Pace, Tunnel, TunnelEnd, TunnelEvent};
use crate::ids::LegId;
use crate::leg::{Core, LegEnd, Member, Silence};
use std::time::{Duration, Instant};

/// A leg is silent when feedback about it has not come for this many round trips, and for at least so long.
const SILENT_ROUND_TRIPS: u32 = 2;
const SILENT_MIN: Duration = Duration::from_millis(200);
/// The same with slots: there feedback about a leg comes in the slots of the other direction. At the lowest class a leg of eight
/// has one every 300 ms.
const SILENT_MIN_SLOTS: Duration = Duration::from_millis(600);

impl<K> Tunnel<K> {
    /// Lets time pass. Call it when [`Tunnel::poll_timeout`] is reached; earlier, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let floor = self.silent_min();
        let legs: Vec<LegId> = self.members.keys().copied().collect();
        for leg in legs {
            match self.members.get_mut(&leg) {
                Some(Member::Linking(linking)) if linking.repeat.is_over(now) => {
                    self.release(now, leg, LegEnd::LinkTimedOut);
                }
                Some(Member::Draining(draining)) if draining.forget_at <= now => {
                    let why = draining.why;
                    self.release(now, leg, why);
                }
                Some(Member::Linked(linked)) if silent_at(floor, &linked.core).is_some_and(|at| at <= now) => {
                    if fall_silent(now, floor, &mut linked.core) {
                        self.tell(TunnelEvent::LegSilent(leg));
                    }
                }
                Some(_) | None => {}
            }
        }
        if self.legless_since.is_some_and(|since| since + self.config.orphan_after <= now) {
            self.end(now, TunnelEnd::Orphaned);
        }
    }

    /// When [`Tunnel::handle_timeout`], [`Tunnel::poll_own`], [`Tunnel::poll_packet`] or, if no leg had room for data,
    /// [`Tunnel::poll_data`] may have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over {
            return None;
        }
        let legs = self.members.values().filter_map(|member| self.leg_timeout(member)).min();
        let orphaned = self.legless_since.map(|since| since + self.config.orphan_after);
        let times = [legs, orphaned, self.gap_ends_at(), self.room_at];
        times.into_iter().flatten().min()
    }

    fn leg_timeout(&self, member: &Member<K>) -> Option<Instant> {
        let core = member.core();
        let controlled = self.config.pace == Pace::Controlled;
        let owed = core.intake.owed_at().filter(|_| controlled);
        let other = match member {
            // With slots, what is due waits for one.
            Member::Linking(linking) => {
                Some(linking.repeat.due()).filter(|due| controlled || linking.repeat.is_over(*due))
            }
            Member::Draining(draining) => {
                let unlink = draining.repeat.as_ref().filter(|_| !draining.is_answered).map(|repeat| repeat.due());
                let unlink = unlink.filter(|_| controlled && draining.may_say_again());
                unlink.into_iter().chain([draining.forget_at]).min()
            }
            Member::Linked(linked) => {
                // The only legs there are wait for data, not for this.
                let tried = controlled && self.has_answering_leg();
                let probe = linked.core.silence.map(|silence| silence.next_probe).filter(|_| tried);
                [silent_at(self.silent_min(), &linked.core), probe].into_iter().flatten().min()
            }
        };
        [owed, other].into_iter().flatten().min()
    }

    fn silent_min(&self) -> Duration {
        match self.config.pace {
            Pace::Controlled => SILENT_MIN,
            Pace::Slots => SILENT_MIN_SLOTS,
        }
    }

    /// When the first gap is skipped at the latest: after the time-out, or when a leg that is behind stops to count.
    fn gap_ends_at(&self) -> Option<Instant> {
        let since = self.reorder.waited_since()?;
        let timeout = self.gap_timeout();
        let ends = self.members.values().filter_map(|member| member.core().intake.recent_until(timeout));
        // Legs that had stopped counting when this was last looked at change nothing.
        let looked_at = self.looked_at.unwrap_or(since);
        ends.chain([since + timeout]).filter(|at| *at > looked_at).min()
    }
}

fn silent_after<K>(floor: Duration, core: &Core<K>) -> Duration {
    core.flight.rtt().map_or(floor, |rtt| (rtt * SILENT_ROUND_TRIPS).max(floor))
}

fn silent_at<K>(floor: Duration, core: &Core<K>) -> Option<Instant> {
    core.flight.waiting_since().map(|since| since + silent_after(floor, core))
}

/// Writes off what is under way. What is sent as a try and not answered makes this happen again, which changes nothing but what
/// is in flight. True the first time.
fn fall_silent<K>(now: Instant, floor: Duration, core: &mut Core<K>) -> bool {
    core.flight.write_off();
    let (wait, newest) = (silent_after(floor, core), core.flight.newest());
    let is_new = core.silence.is_none();
    core.silence.get_or_insert(Silence { wait, next_probe: now, newest });
    is_new
}
