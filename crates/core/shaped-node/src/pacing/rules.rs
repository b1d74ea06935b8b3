//! The rules that choose a class: `stepped` and `dp`, each behind the leave that was paid for it.

use super::{Ceilings, Grounds, ReleaseFigures, Traffic};
use shaping::{
    ClientNumber, DpParameters, DpSchedule, DpSettings, GrantBook, Held, Outcome, RateClass, ReadyNoise, ReleaseCounts,
    Stepped, SteppedParameters, UP_EDGE_S, floor_for_reverse,
};
use wire::grant::Grant;

/// After so long without leave the budget counts as spent, and the rate goes back to the configured one. Leave is held a
/// minute ahead, so this is no late message.
const UNPAID_MAX_S: u64 = 60;
/// But one epoch without leave is none, however long: what a lost session or process held is lost with it.
const UNPAID_EPOCHS_MIN: u32 = 2;

/// Leave of one direction, and what came of it.
#[derive(Debug)]
pub(super) struct Leave {
    grants: GrantBook,
    cost_each: u128,
    /// Epochs without leave in a row.
    unpaid: u32,
    /// So many of them are a spent budget.
    unpaid_max: u32,
}

impl Leave {
    pub(super) fn new(cost_each: u128, epoch_s: u64) -> Self {
        let unpaid_max = (UNPAID_MAX_S.div_ceil(epoch_s.max(1)) as u32).max(UNPAID_EPOCHS_MIN);
        Self { grants: GrantBook::new(), cost_each, unpaid: 0, unpaid_max }
    }

    pub(super) fn handle_grant(&mut self, grant: Grant) {
        self.grants.handle_grant(grant.first_epoch, grant.releases, grant.cost_each);
    }

    /// Uses the leave for an epoch, if it is there.
    pub(super) fn take(&mut self, epoch: u64) -> bool {
        let granted = self.grants.take(epoch, self.cost_each);
        self.unpaid = if granted { 0 } else { self.unpaid.saturating_add(1) };
        granted
    }

    pub(super) fn is_spent(&self) -> bool {
        self.unpaid >= self.unpaid_max
    }

    pub(super) fn figures(&self, counts: ReleaseCounts) -> ReleaseFigures {
        ReleaseFigures {
            counts,
            grants_lost: self.grants.lost(),
            paid_until: self.grants.paid_until(),
            spent: self.is_spent(),
        }
    }
}

/// Mode `dp` of one direction.
#[derive(Debug)]
pub(super) struct Measured {
    schedule: DpSchedule,
    leave: Leave,
}

impl Measured {
    /// `None` where the link's own classes leave no room to adapt.
    pub(super) fn new(settings: &DpSettings, cost_each: u128, grounds: Grounds) -> Option<Self> {
        let parameters = link_parameters(settings, grounds.ceilings, grounds.session_packet)?;
        let leave = Leave::new(cost_each, settings.epoch_s.into());
        Some(Self { schedule: DpSchedule::new(parameters, grounds.unix_s), leave })
    }

    pub(super) fn class(&self) -> RateClass {
        if self.leave.is_spent() { self.schedule.parameters().settings().initial } else { self.schedule.class() }
    }

    pub(super) fn admit(&mut self, client: ClientNumber, wanted: u64) -> u64 {
        self.schedule.admit(client, wanted)
    }

    pub(super) fn handle_grant(&mut self, grant: Grant) {
        self.leave.handle_grant(grant);
    }

    /// True when an epoch has begun.
    pub(super) fn poll(&mut self, unix_s: u64, noise: &mut impl ReadyNoise) -> bool {
        let Some(end) = self.schedule.poll(unix_s) else { return false };
        let length_s = u64::from(self.schedule.parameters().settings().epoch_s);
        let granted = self.leave.take((unix_s / length_s).saturating_sub(1));
        match self.schedule.release(end, granted, noise) {
            Outcome::Released(_) | Outcome::Held(Held::NoGrant | Held::NoNoise | Held::ForeignNoise) => {}
        }
        true
    }

    pub(super) fn figures(&self) -> ReleaseFigures {
        self.leave.figures(self.schedule.counts())
    }
}

/// Mode `stepped` of one direction.
#[derive(Debug)]
pub(super) struct Steps {
    stepped: Stepped,
    /// The class of a spent budget.
    initial: RateClass,
    leave: Leave,
    /// The second in which traffic was last looked at.
    looked_at_s: u64,
}

impl Steps {
    pub(super) fn new(parameters: &SteppedParameters, unix_s: u64) -> Self {
        let leave = Leave::new(u128::from(parameters.choices()), UP_EDGE_S);
        let initial = parameters.initial();
        Self { stepped: Stepped::new(parameters.clone(), unix_s), initial, leave, looked_at_s: unix_s }
    }

    pub(super) fn class(&self) -> RateClass {
        if self.leave.is_spent() { self.initial } else { self.stepped.class() }
    }

    pub(super) fn handle_grant(&mut self, grant: Grant) {
        self.leave.handle_grant(grant);
    }

    /// Once a second is often enough for a choice every 300 s.
    pub(super) fn looks(&self, unix_s: u64) -> bool {
        unix_s != self.looked_at_s
    }

    pub(super) fn poll(&mut self, unix_s: u64, traffic: Traffic) {
        if self.looks(unix_s) {
            self.looked_at_s = unix_s;
            self.stepped.handle_backlog(traffic.backlog);
            self.stepped.handle_sent(traffic.sent);
        }
        let Some(edge) = self.stepped.poll(unix_s) else { return };
        let granted = self.leave.take((unix_s / UP_EDGE_S).saturating_sub(1));
        self.stepped.release(edge, granted);
    }

    pub(super) fn figures(&self) -> ReleaseFigures {
        let counts = ReleaseCounts {
            released: self.stepped.released(),
            no_grant: self.stepped.held(),
            ..ReleaseCounts::default()
        };
        self.leave.figures(counts)
    }
}

/// The settings of one link: floor and ceiling follow from the classes that its two ends allow.
fn link_parameters(settings: &DpSettings, ceilings: Ceilings, session_packet: usize) -> Option<DpParameters> {
    let ceiling = settings.ceiling.min(ceilings.own);
    let floor = settings.floor.max(floor_for_reverse(ceilings.other, session_packet)).min(ceiling);
    let initial = settings.initial.clamp(floor, ceiling);
    DpParameters::new(DpSettings { floor, initial, ceiling, ..*settings }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_that_stays_away_for_a_minute_is_a_spent_budget() {
        for (epoch_s, epochs) in [(5, 12), (30, 2), (300, 2)] {
            let mut leave = Leave::new(5, epoch_s);
            leave.handle_grant(Grant { first_epoch: 100, releases: 2, cost_each: 5 });
            assert!(leave.take(100) && leave.take(101));
            for epoch in 102..102 + epochs {
                assert!(!leave.is_spent(), "{epoch}");
                assert!(!leave.take(epoch));
            }
            assert!(leave.is_spent(), "{epoch_s} s");
            leave.handle_grant(Grant { first_epoch: 200, releases: 1, cost_each: 5 });
            assert!(leave.take(200) && !leave.is_spent(), "budget that comes back is used");
        }
    }
}
