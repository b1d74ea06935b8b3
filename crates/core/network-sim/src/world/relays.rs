//! Relays and members come and go, and the directory follows.

use super::World;
use crate::calendar::Event;
use crate::population::Relay;
use crate::run::RunError;
use crate::{DAY_S, INTERVAL_S, WARM_UP_S};
use relay_directory::Refusal;

/// Mean seconds up and down of a member of the directory.
const MEMBER_S: (f64, f64) = (2.0 * DAY_S as f64, 3_600.0);
/// Shortest time up or down: whoever is away for less is not noticed.
const TIME_MIN_S: f64 = 60.0;
/// Part of relays that say so when they stop; the others fail.
const POLITE: f64 = 0.5;
/// Part of all relays that operators expel in a day.
const EXPELLED_A_DAY: f64 = 0.002;
/// When a relay tries again that found no log to take its words.
const DESCRIBE_AGAIN_S: u32 = 60;
/// How long behind an edition, and behind the time in which clients ask for it, a leg may still lead over a relay that it
/// expels: two more requests, where the first one failed.
const EXPELLED_GRACE_S: u32 = 180;

/// How a relay is doing.
#[derive(Debug, Clone)]
pub(super) struct RelayState {
    pub(super) is_up: bool,
    is_admitted: bool,
    /// It stopped or failed since the newest edition.
    has_missed: bool,
    /// Since when it is up, once counted.
    since_s: u32,
    up_s: u32,
    described_s: u32,
    /// When an edition without it was published, after it was expelled.
    pub(super) gone_s: Option<u32>,
    is_expelled: bool,
}

impl RelayState {
    pub(super) fn new(relay: &Relay) -> Self {
        let is_there = relay.admitted_s == 0;
        Self {
            is_up: is_there,
            is_admitted: is_there,
            has_missed: true,
            since_s: WARM_UP_S,
            up_s: 0,
            described_s: 0,
            gone_s: None,
            is_expelled: false,
        }
    }

    /// Seconds of the measured time in which it was up.
    pub(super) fn up_s(&self) -> f64 {
        f64::from(self.up_s)
    }
}

impl World<'_> {
    /// The first failure of each, who joins, and who is expelled.
    pub(super) fn write_down_relays(&mut self) {
        for number in 0..self.relays.len() as u32 {
            let relay = &self.relays[number as usize];
            if relay.admitted_s > 0 {
                self.calendar.add(relay.admitted_s, Event::Admit(number));
                self.capacities[number as usize] = 0.0;
            } else {
                let lasts_s = relay.lasts_s.0;
                self.later(lasts_s, Event::RelayDown(number));
            }
        }
        for member in 0..self.settings.members {
            self.later(MEMBER_S.0, Event::MemberDown(member));
        }
        let days = f64::from(self.settings.hours) / 24.0;
        let expelled = (self.relays.len() as f64 * EXPELLED_A_DAY * days).ceil() as u32;
        for _ in 0..expelled {
            let relay = self.comings.between(0, self.relays.len() as u64 - 1) as u32;
            let last_s = u64::from(self.settings.end_s() - 1);
            let at_s = self.comings.between(u64::from(WARM_UP_S), last_s) as u32;
            self.calendar.add(at_s, Event::Expel(relay));
        }
    }

    /// Something that fails so seldom, by churn; never without churn.
    fn later(&mut self, mean_s: f64, event: Event) {
        let after_s = self.comings.exponential(mean_s);
        if self.settings.churn > 0.0 {
            let at_s = f64::from(self.now_s) + (after_s / self.settings.churn).max(TIME_MIN_S);
            self.calendar.add(at_s as u32, event);
        }
    }

    /// Something that takes so long.
    fn after(&mut self, mean_s: f64, event: Event) {
        let after_s = self.comings.exponential(mean_s).max(TIME_MIN_S);
        self.calendar.add(self.now_s + after_s as u32, event);
    }

    pub(super) fn begin_interval(&mut self) -> Result<(), RunError> {
        self.tick()?;
        // Whoever is away keeps an edition as long as somebody knows it; later its name is all that counts.
        for client in &mut self.clients {
            client.forget_unknown(&self.editions);
        }
        Ok(())
    }

    /// Members say the time, and sign what waits.
    pub(super) fn tick(&mut self) -> Result<(), RunError> {
        if !self.members.has_log() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        self.members.tick(now_ms)?;
        if self.members.sign(now_ms)? {
            self.take_edition(now_ms)?;
        }
        self.check_expelled();
        Ok(())
    }

    fn take_edition(&mut self, now_ms: u64) -> Result<(), RunError> {
        self.editions.take(&mut self.members, now_ms, &self.relays, self.settings.hostile.len())?;
        let Some(issue) = self.editions.newest().cloned() else { return Ok(()) };
        for (relay, state) in self.relays.iter().zip(&mut self.states) {
            let is_listed = issue.relays.has(&relay.node_id, tunnel_plan::Place::Middle)
                || issue.relays.has(&relay.node_id, tunnel_plan::Place::Exit);
            if state.is_expelled && !is_listed {
                state.gone_s = state.gone_s.or(Some(self.now_s));
            }
        }
        if !self.is_measured() {
            return Ok(());
        }
        self.tally.published += 1;
        self.tally.listed.push(issue.relays.len() as f64);
        // Relays follow every edition: from the one before, or from nothing after they were away.
        let (next, full) = (self.editions.next_bytes.last(), self.editions.full_bytes.last());
        let (next, full) = (next.copied().unwrap_or(0.0), full.copied().unwrap_or(0.0));
        for state in self.states.iter_mut().filter(|state| state.is_up) {
            self.tally.member_bytes += if state.has_missed { full } else { next };
            state.has_missed = false;
        }
        Ok(())
    }

    pub(super) fn member_down(&mut self, member: u8) {
        self.members.set_up(member, false);
        self.after(MEMBER_S.1, Event::MemberUp(member));
    }

    pub(super) fn member_up(&mut self, member: u8) {
        self.members.set_up(member, true);
        self.later(MEMBER_S.0, Event::MemberDown(member));
    }

    /// A relay is there no longer. Half of them say so, if there is a log to say it to.
    pub(super) fn relay_down(&mut self, number: u32) -> Result<(), RunError> {
        let (place, now_ms) = (number as usize, self.now_ms());
        if !std::mem::replace(&mut self.states[place].is_up, false) {
            return Ok(());
        }
        let relay = &self.relays[place];
        let is_polite = self.comings.unit() < POLITE;
        if is_polite && self.members.has_log() && self.states[place].is_admitted {
            match self.members.withdraw(relay, now_ms) {
                // One that never found a log has nothing to take back, and behind a log that stood still nobody is believed.
                Ok(()) | Err(RunError::Refused(Refusal::NotDescribed | Refusal::Old | Refusal::Ahead)) => {}
                Err(error) => return Err(error),
            }
        }
        let down_s = relay.lasts_s.1;
        self.capacities[place] = 0.0;
        let state = &mut self.states[place];
        state.up_s += self.now_s.saturating_sub(state.since_s.max(WARM_UP_S));
        self.tally.failures += u32::from(self.now_s >= WARM_UP_S);
        self.silence(number);
        self.after(down_s, Event::RelayUp(number));
        Ok(())
    }

    pub(super) fn relay_up(&mut self, number: u32) -> Result<(), RunError> {
        let place = number as usize;
        self.capacities[place] = self.relays[place].bytes_per_second();
        let state = &mut self.states[place];
        (state.is_up, state.since_s, state.has_missed) = (true, self.now_s, true);
        let lasts_s = self.relays[place].lasts_s.0;
        self.later(lasts_s, Event::RelayDown(number));
        self.describe(number)
    }

    pub(super) fn describe(&mut self, number: u32) -> Result<(), RunError> {
        let state = &self.states[number as usize];
        if !state.is_up || !state.is_admitted || state.described_s >= self.now_s {
            return Ok(());
        }
        if !self.members.has_log() {
            self.calendar.add(self.now_s + DESCRIBE_AGAIN_S, Event::Describe(number));
            return Ok(());
        }
        match self.members.describe(&self.relays[number as usize], self.now_ms()) {
            Ok(()) => self.states[number as usize].described_s = self.now_s,
            Err(RunError::Refused(Refusal::Quota)) => {
                self.calendar.add(self.now_s + INTERVAL_S, Event::Describe(number));
            }
            // The log stood still, and so did the directory's time until its members say it.
            Err(RunError::Refused(Refusal::Ahead)) => {
                self.calendar.add(self.now_s + DESCRIBE_AGAIN_S, Event::Describe(number));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn admit(&mut self, number: u32) -> Result<(), RunError> {
        let place = number as usize;
        if !self.members.has_log() {
            self.calendar.add(self.now_s + DESCRIBE_AGAIN_S, Event::Admit(number));
            return Ok(());
        }
        self.members.admit(&self.relays[place])?;
        self.states[place].is_admitted = true;
        self.relay_up(number)
    }

    /// It runs on, and nobody hears of it any more.
    pub(super) fn expel(&mut self, number: u32) -> Result<(), RunError> {
        let place = number as usize;
        if !self.states[place].is_admitted {
            return Ok(());
        }
        if !self.members.has_log() {
            self.calendar.add(self.now_s + DESCRIBE_AGAIN_S, Event::Expel(number));
            return Ok(());
        }
        self.members.expel(&self.relays[place])?;
        (self.states[place].is_admitted, self.states[place].is_expelled) = (false, true);
        self.tally.expelled += 1;
        Ok(())
    }

    /// No leg leads over a relay that is out, once everybody has had time to ask. A tunnel through such an exit has no new flows.
    fn check_expelled(&mut self) {
        let limit_s = self.settings.spread_s + EXPELLED_GRACE_S;
        for number in 0..self.states.len() {
            let due = self.states[number].gone_s.is_some_and(|gone| self.now_s > gone + limit_s);
            if due {
                let late = self.tunnels.over_expelled(number as u32);
                self.tally.over_expelled += late;
            }
        }
    }

    /// The time of relays that are up goes on to the end.
    pub(super) fn count_uptime(&mut self) {
        let end_s = self.settings.end_s();
        for state in self.states.iter_mut().filter(|state| state.is_up) {
            state.up_s += end_s.saturating_sub(state.since_s.max(WARM_UP_S));
        }
    }
}
