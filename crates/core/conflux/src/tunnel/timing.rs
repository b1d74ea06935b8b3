//! What time brings.

use super::{Pace, Tunnel, TunnelEnd, TunnelEvent};
use crate::ids::LegId;
use crate::leg::{Core, LegEnd, Member, Silence};
use std::time::{Duration, Instant};

/// A leg is silent when feedback about it has not come for this many round trips, and for at least so long.
const SILENT_ROUND_TRIPS: u32 = 2;
const SILENT_MIN: Duration = Duration::from_millis(200);
/// The least time with slots: twice what eight legs of the slowest class have between two cells of one leg.
const SILENT_MIN_SLOTS: Duration = Duration::from_millis(600);

impl<K> Tunnel<K> {
    /// Lets time pass. Call it when [`Tunnel::poll_timeout`] is reached; earlier, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (pace, legs) = (self.config.pace, self.members.keys().copied().collect::<Vec<LegId>>());
        for leg in legs {
            match self.members.get_mut(&leg) {
                Some(Member::Linking(linking)) if linking.repeat.is_over(now) => {
                    self.release(now, leg, LegEnd::LinkTimedOut);
                }
                Some(Member::Draining(draining)) if draining.forget_at <= now => {
                    let why = draining.why;
                    self.release(now, leg, why);
                }
                Some(Member::Linked(linked)) if silent_at(&linked.core, pace).is_some_and(|at| at <= now) => {
                    if fall_silent(now, &mut linked.core, pace) {
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
                [silent_at(&linked.core, self.config.pace), probe].into_iter().flatten().min()
            }
        };
        [owed, other].into_iter().flatten().min()
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

fn silent_after<K>(core: &Core<K>, pace: Pace) -> Duration {
    let least = if pace == Pace::Slots { SILENT_MIN_SLOTS } else { SILENT_MIN };
    core.flight.rtt().map_or(least, |rtt| (rtt * SILENT_ROUND_TRIPS).max(least))
}

fn silent_at<K>(core: &Core<K>, pace: Pace) -> Option<Instant> {
    core.flight.waiting_since().map(|since| since + silent_after(core, pace))
}

/// Writes off what is under way. What is sent as a try and not answered makes this happen again, which changes nothing but what
/// is in flight. True the first time.
fn fall_silent<K>(now: Instant, core: &mut Core<K>, pace: Pace) -> bool {
    core.flight.write_off();
    let (wait, newest) = (silent_after(core, pace), core.flight.newest());
    let is_new = core.silence.is_none();
    core.silence.get_or_insert(Silence { wait, next_probe: now, newest });
    is_new
}
