//! Clients come and go, ask for documents and look after their guards.

use super::World;
use crate::calendar::Event;
use crate::editions::{Editions, Issue, Kind};
use crate::run::RunError;
use crate::tally::ClientSeen;
use crate::{AWAY_S, BEGIN_UNIX_S, DAY_S, LEGS, WARM_UP_S};
use identity::NodeId;
use shaped_node::POOL_LOOK;
use std::f64::consts::TAU;
use std::sync::Arc;
use tunnel_plan::{Guards, Place};

/// Part of clients that never stop, that were away for a month, and that are new.
const ALWAYS: f64 = 0.1;
const AWAY: f64 = 0.02;
const NEW: f64 = 0.03;
/// Mean length of a session, and the shortest.
const SESSION_S: f64 = 7_200.0;
const SESSION_MIN_S: f64 = 60.0;
/// Part of the others that is there at the best hour and at the worst, and that hour.
const PRESENT: (f64, f64) = (0.6, 0.1);
const BEST_HOUR: f64 = 20.0;
/// Half of all lines are slower, in bytes a second; log-normal, within bounds.
const LINE_MEDIAN: f64 = 30e6 / 8.0;
const LINE_SPREAD: f64 = 0.7;
const LINE: (f64, f64) = (4e6 / 8.0, 300e6 / 8.0);
/// The guards of clients that were there before are so old at most: none has had its time yet.
const GUARDS_AGE_MAX_S: u64 = 60 * DAY_S as u64;
/// Whoever is not there at the beginning has not been for this long, on average.
const AWAY_MEAN_S: f64 = 8.0 * 3_600.0;
/// Whoever asks too early, or in vain, asks again after this and, at random, as long as everybody has to ask.
const FETCH_AGAIN_S: u32 = 60;
/// Guards are looked through so often.
const GUARDS_LOOK_S: u32 = DAY_S;

/// Who comes how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Always,
    Sometimes,
}

/// A node that uses the network.
pub(super) struct Client {
    habit: Habit,
    pub(super) guards: Guards,
    /// What it goes by; an edition that no keeper knows is left out, its name stays.
    pub(super) issue: Option<Arc<Issue>>,
    base: Option<[u8; 32]>,
    pub(super) is_online: bool,
    /// Counts its starts.
    pub(super) session: u32,
    since_s: u32,
    /// Bytes that its line takes in a second.
    pub(super) line: f64,
    pub(super) tunnel: Option<u32>,
    /// Tunnels that finish their flows.
    pub(super) retired: Vec<u32>,
    /// Guard, middle and mirror of its directory tunnel.
    pub(super) mirror: Option<[u32; 3]>,
    /// Sizes of flows that wait for a tunnel, and since when.
    pub(super) waiting: Vec<(f64, u32)>,
    /// Relays that failed it, and until when they are avoided.
    pub(super) avoided: Vec<(NodeId, u32)>,
    pub(super) failures: u8,
    /// Numbers of all guards that answered it in the measured time.
    pub(super) used: Vec<u32>,
    directory_bytes: f64,
}

impl Client {
    /// What counts of it in the end.
    pub(super) fn seen(&self) -> ClientSeen {
        let guards = self.used.clone();
        ClientSeen { guards, directory_bytes: self.directory_bytes, kept: self.guards.status().count() }
    }

    pub(super) fn forget_unknown(&mut self, editions: &Editions) {
        if !self.is_online && self.issue.as_ref().is_some_and(|issue| !editions.knows(issue.index)) {
            self.issue = None;
        }
    }
}

impl World<'_> {
    /// All clients, as they are at midnight.
    pub(super) fn admit_clients(&mut self) -> Result<(), RunError> {
        let newest = self.editions.newest().cloned().ok_or(RunError::NoDocument)?;
        for number in 0..self.settings.clients {
            let kind = self.comings.unit();
            let guards = Guards::new(self.members.network(), LEGS)?;
            let line = self.comings.log_normal(LINE_MEDIAN, LINE_SPREAD).clamp(LINE.0, LINE.1);
            self.clients.push(Client {
                habit: if kind < ALWAYS { Habit::Always } else { Habit::Sometimes },
                guards,
                issue: None,
                base: None,
                is_online: false,
                session: 0,
                since_s: 0,
                line,
                tunnel: None,
                retired: Vec::new(),
                mirror: None,
                waiting: Vec::new(),
                avoided: Vec::new(),
                failures: 0,
                used: Vec::new(),
                directory_bytes: 0.0,
            });
            let any_time_s = WARM_UP_S + (self.comings.unit() * f64::from(self.settings.hours) * 3_600.0) as u32;
            match kind - ALWAYS {
                at if at < 0.0 => self.return_from(number, 0, &newest),
                at if at < AWAY => {
                    let old = self.old.clone();
                    self.furnish(number, old.as_ref(), BEGIN_UNIX_S - AWAY_S);
                    self.clients[number as usize].issue = None;
                    self.calendar.add(any_time_s, Event::ClientOn(number));
                }
                at if at < AWAY + NEW => self.calendar.add(any_time_s, Event::ClientOn(number)),
                _ => {
                    let is_there = self.comings.unit() < present(0.0);
                    let away_s = if is_there { 0 } else { 1 + self.comings.exponential(AWAY_MEAN_S) as u32 };
                    self.return_from(number, away_s, &newest);
                }
            }
        }
        Ok(())
    }

    /// A client that was there before, and has been away for so long; 0 is not at all.
    fn return_from(&mut self, number: u32, away_s: u32, newest: &Arc<Issue>) {
        let age_s = self.comings.between(0, GUARDS_AGE_MAX_S);
        self.furnish(number, Some(newest), self.unix_s() - age_s);
        let editions_ago = (away_s / crate::INTERVAL_S) as usize;
        let issue = self.editions.ago(editions_ago).cloned();
        let client = &mut self.clients[number as usize];
        // Older than what is kept: its name would say nothing to anybody either.
        client.base = issue.as_ref().or(self.old.as_ref()).map(|issue| issue.hash());
        client.issue = issue;
        let at_s = if away_s == 0 { self.now_s } else { self.now_s + self.until_next_session() };
        self.calendar.add(at_s, Event::ClientOn(number));
    }

    /// Guards and a document, as of a time. The first guards have answered already.
    fn furnish(&mut self, number: u32, issue: Option<&Arc<Issue>>, unix_s: u64) {
        let Some(issue) = issue else { return };
        let client = &mut self.clients[number as usize];
        client.guards.handle_relays(unix_s, &issue.relays, &mut self.rng);
        let first: Vec<NodeId> = client.guards.usable(unix_s).into_iter().take(usize::from(LEGS)).collect();
        for guard in first {
            client.guards.handle_answered(unix_s, &guard, &mut self.rng);
        }
        (client.issue, client.base) = (Some(Arc::clone(issue)), Some(issue.hash()));
    }

    /// How long whoever stops now stays away: so that about as many are there as the hour has.
    fn until_next_session(&mut self) -> u32 {
        let hour = f64::from(self.now_s % DAY_S) / 3_600.0 - f64::from(WARM_UP_S) / 3_600.0;
        let there = present(hour);
        1 + self.comings.exponential(SESSION_S * (1.0 - there) / there) as u32
    }

    pub(super) fn client_on(&mut self, number: u32) {
        let now_ms = self.now_ms();
        let length_s = self.comings.exponential(SESSION_S).max(SESSION_MIN_S);
        let client = &mut self.clients[number as usize];
        client.session += 1;
        (client.is_online, client.failures, client.since_s) = (true, 0, self.now_s);
        let session = client.session;
        if client.habit == Habit::Sometimes {
            self.calendar.add(self.now_s + length_s as u32, Event::ClientOff { client: number, session });
        }
        self.tally.sessions += 1;
        match client.issue.clone().filter(|issue| issue.is_valid(now_ms)) {
            Some(issue) => {
                client.guards.handle_relays(now_ms / 1_000, &issue.relays, &mut self.rng);
                self.build_at_look(number);
                self.fetch_next(number, &issue);
            }
            None => {
                client.issue = None;
                self.calendar.add(self.now_s + 1, Event::Fetch { client: number, session });
            }
        }
        self.calendar.add(self.now_s + GUARDS_LOOK_S, Event::Guards { client: number, session });
        self.begin_applications(number, length_s);
    }

    /// A tunnel is made at the next look at the pool.
    pub(super) fn build_at_look(&mut self, number: u32) {
        let grid_s = POOL_LOOK.as_secs() as u32;
        let at_s = (self.now_s / grid_s + 1) * grid_s;
        let session = self.clients[number as usize].session;
        self.calendar.add(at_s, Event::Build { client: number, session });
    }

    pub(super) fn client_off(&mut self, number: u32) {
        self.leave(number);
        let again_s = self.now_s + self.until_next_session();
        self.calendar.add(again_s, Event::ClientOn(number));
    }

    /// Everything that it had ends.
    pub(super) fn leave(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        client.is_online = false;
        (client.mirror, client.avoided) = (None, Vec::new());
        self.tally.refused_flows += std::mem::take(&mut client.waiting).len() as u64;
        let tunnels: Vec<u32> = client.tunnel.take().into_iter().chain(std::mem::take(&mut client.retired)).collect();
        for tunnel in tunnels {
            self.end_tunnel(tunnel);
        }
    }

    fn fetch_next(&mut self, number: u32, issue: &Issue) {
        let random = self.comings.between(0, u64::MAX);
        let at_ms = issue.fetch_at_ms(random, u64::from(self.settings.spread_s) * 1_000);
        let begin_ms = (BEGIN_UNIX_S - u64::from(WARM_UP_S)) * 1_000;
        let at_s = (at_ms.saturating_sub(begin_ms) / 1_000) as u32;
        let session = self.clients[number as usize].session;
        self.calendar.add(at_s.max(self.now_s + 1), Event::Fetch { client: number, session });
    }

    fn fetch_again(&mut self, number: u32) {
        let wait_s = FETCH_AGAIN_S + self.comings.between(0, u64::from(self.settings.spread_s)) as u32;
        let session = self.clients[number as usize].session;
        self.calendar.add(self.now_s + wait_s, Event::Fetch { client: number, session });
    }

    /// Asks for the newest edition: over a directory tunnel, or whom the invitation names where no document is good.
    pub(super) fn fetch(&mut self, number: u32) -> Result<(), RunError> {
        let now_ms = self.now_ms();
        let known = self.clients[number as usize].issue.clone().filter(|issue| issue.is_valid(now_ms));
        let way = match &known {
            Some(issue) => self.mirror_way(number, issue),
            None => self.any_mirror(),
        };
        let Some(way) = way else {
            self.tally.failed_fetches += 1;
            self.fetch_again(number);
            return Ok(());
        };
        let client = &mut self.clients[number as usize];
        let answered = self.editions.answer(&mut self.members, client.base)?;
        client.directory_bytes += answered.bytes as f64;
        self.tally.fetched(self.now_s - WARM_UP_S, answered, &way, known.is_none());
        if answered.kind == Kind::Current {
            // Nothing new, so nothing is as good as it was: what it has may have ended.
            self.fetch_again(number);
            return Ok(());
        }
        let newest = self.editions.newest().cloned().ok_or(RunError::NoDocument)?;
        let due_ms = newest.fetch_at_ms(0, 1).saturating_sub(u64::from(crate::INTERVAL_S) * 1_000);
        let lag_s = now_ms.saturating_sub(due_ms) / 1_000;
        // Of those who were there when it was due.
        if u64::from(client.since_s) + lag_s <= u64::from(self.now_s) {
            self.tally.lag(lag_s);
        }
        (client.issue, client.base) = (Some(Arc::clone(&newest)), Some(newest.hash()));
        client.guards.handle_relays(now_ms / 1_000, &newest.relays, &mut self.rng);
        self.follow_document(number, &newest);
        if self.clients[number as usize].tunnel.is_none() {
            self.build_at_look(number);
        }
        self.fetch_next(number, &newest);
        Ok(())
    }

    /// Somebody whom an invitation names: any mirror that is up, asked directly.
    fn any_mirror(&mut self) -> Option<Vec<u32>> {
        let up: Vec<u32> = (0..self.relays.len())
            .filter(|relay| self.relays[*relay].is_mirror && self.states[*relay].is_up)
            .map(|relay| relay as u32)
            .collect();
        let last = up.len().checked_sub(1)? as u64;
        Some(vec![up[self.comings.between(0, last) as usize]])
    }

    pub(super) fn look_at_guards(&mut self, number: u32) {
        let unix_s = self.unix_s();
        let client = &mut self.clients[number as usize];
        if let Some(issue) = &client.issue {
            client.guards.handle_relays(unix_s, &issue.relays, &mut self.rng);
        }
        let session = client.session;
        self.calendar.add(self.now_s + GUARDS_LOOK_S, Event::Guards { client: number, session });
    }

    /// The directory tunnel: the one that is there, or a new one.
    fn mirror_way(&mut self, number: u32, issue: &Arc<Issue>) -> Option<Vec<u32>> {
        let is_good = |way: &[u32; 3]| {
            let mirror = &self.relays[way[2] as usize].node_id;
            way.iter().all(|relay| self.states[*relay as usize].is_up) && issue.mirrors.has(mirror, Place::Exit)
        };
        let present = self.clients[number as usize].mirror.filter(is_good);
        let way = present.or_else(|| self.build_mirror(number, issue));
        self.clients[number as usize].mirror = way;
        way.map(|way| way.to_vec())
    }
}

/// The part of clients that is there at an hour of the day.
fn present(hour: f64) -> f64 {
    let (best, worst) = PRESENT;
    (best + worst) / 2.0 + (best - worst) / 2.0 * (TAU * (hour - BEST_HOUR) / 24.0).cos()
}
