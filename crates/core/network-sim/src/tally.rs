//! What is counted while a run goes on, and what is made of it.

mod load;

use crate::INTERVAL_S;
use crate::editions::{Answered, Editions, Issue, Kind};
use crate::percentiles::Percentiles;
use crate::population::Relay;
use crate::report::{Checks, Directory, Exposure, FlowFigures, Report, Scenario, TunnelFigures};
use crate::settings::Settings;
use crate::world::Flow;

/// Transfers of so many bytes tell how fast the network is; shorter ones end within the steps of a second.
const LONG_BYTES: f64 = 20e6;
/// Seconds that are told apart.
const SECONDS_MAX: usize = 3_600;
/// What a client comes to in the end.
#[derive(Debug)]
pub(crate) struct ClientSeen {
    /// Guards that it used.
    pub(crate) guards: Vec<u32>,
    /// Guards in its set at the end.
    pub(crate) kept: usize,
    pub(crate) directory_bytes: f64,
}

/// Of one adversary.
#[derive(Debug, Clone, Default)]
struct Watched {
    legs: u64,
    tunnels: u64,
    /// What there would be if relays were drawn by their shares, one by one.
    legs_expected: f64,
    tunnels_expected: f64,
}

/// All counters.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) published: u32,
    pub(crate) listed: Vec<f64>,
    pub(crate) member_bytes: f64,
    pub(crate) failures: u32,
    pub(crate) expelled: u32,
    pub(crate) over_expelled: u64,
    pub(crate) broken_rules: u64,
    pub(crate) strange_guards: u64,
    pub(crate) sessions: u64,
    pub(crate) choices: u64,
    pub(crate) refusals: u64,
    pub(crate) attempts: u64,
    pub(crate) dead: u64,
    pub(crate) repaired: u64,
    pub(crate) broken: u64,
    pub(crate) dropped_legs: u64,
    pub(crate) lost_tunnels: u64,
    pub(crate) lives_ended: u64,
    pub(crate) directory_tunnels: u64,
    pub(crate) failed_fetches: u64,
    pub(crate) flows: u64,
    pub(crate) refused_flows: u64,
    /// Bytes that flows got, and of them those of flows that were cut.
    pub(crate) got_bytes: f64,
    cut: u64,
    cut_bytes: f64,
    finished: u64,
    finished_bytes: f64,
    /// Bytes that exits carried.
    exit_bytes: f64,
    legs: u64,
    tunnels: u64,
    watched: Vec<Watched>,
    /// Bytes of each relay in this hour, of all hours, and the most in an hour.
    hour: Vec<f64>,
    carried: Vec<f64>,
    best_hour: Vec<f64>,
    /// Speeds of long transfers.
    long_rates: Vec<f64>,
    durations: Vec<u64>,
    lags: Vec<u64>,
    /// Bytes that mirrors served, second by second.
    served: Vec<u64>,
    mirror_bytes: Vec<f64>,
    directory_carried: f64,
    current: u64,
    diffs: (u64, f64),
    fulls: (u64, f64),
    bootstraps: (u64, f64),
}

impl Tally {
    pub(crate) fn new(settings: &Settings, relays: usize) -> Self {
        let seconds = settings.hours as usize * 3_600;
        Self {
            published: 0,
            listed: Vec::new(),
            member_bytes: 0.0,
            failures: 0,
            expelled: 0,
            over_expelled: 0,
            broken_rules: 0,
            strange_guards: 0,
            sessions: 0,
            choices: 0,
            refusals: 0,
            attempts: 0,
            dead: 0,
            repaired: 0,
            broken: 0,
            dropped_legs: 0,
            lost_tunnels: 0,
            lives_ended: 0,
            directory_tunnels: 0,
            failed_fetches: 0,
            flows: 0,
            refused_flows: 0,
            got_bytes: 0.0,
            cut: 0,
            cut_bytes: 0.0,
            finished: 0,
            finished_bytes: 0.0,
            exit_bytes: 0.0,
            legs: 0,
            tunnels: 0,
            watched: vec![Watched::default(); settings.hostile.len()],
            hour: vec![0.0; relays],
            carried: vec![0.0; relays],
            best_hour: vec![0.0; relays],
            long_rates: Vec::new(),
            durations: vec![0; SECONDS_MAX],
            lags: vec![0; SECONDS_MAX],
            served: vec![0; seconds],
            mirror_bytes: vec![0.0; relays],
            directory_carried: 0.0,
            current: 0,
            diffs: (0, 0.0),
            fulls: (0, 0.0),
            bootstraps: (0, 0.0),
        }
    }

    /// A second of one leg.
    pub(crate) fn carry(&mut self, relays: [u32; 3], bytes: f64) {
        for relay in relays {
            self.hour[relay as usize] += bytes;
        }
        self.exit_bytes += bytes;
    }

    pub(crate) fn end_hour(&mut self, relays: &[Relay]) {
        for (number, relay) in relays.iter().enumerate() {
            let bytes = std::mem::take(&mut self.hour[number]);
            self.carried[number] += bytes;
            let part = bytes / (relay.bytes_per_second() * 3_600.0);
            self.best_hour[number] = self.best_hour[number].max(part);
        }
    }

    /// A new leg.
    pub(crate) fn leg(&mut self, guard: u32, exit: u32, issue: &Issue, relays: &[Relay]) {
        self.legs += 1;
        let both = relays[guard as usize].hostile & relays[exit as usize].hostile;
        for (bit, watched) in self.watched.iter_mut().enumerate() {
            let (guards, exits) = issue.hostile[bit];
            watched.legs += u64::from(both & 1 << bit != 0);
            watched.legs_expected += guards * exits;
        }
    }

    /// A new tunnel.
    pub(crate) fn tunnel(&mut self, exit: u32, guards: impl Iterator<Item = u32>, issue: &Issue, relays: &[Relay]) {
        self.tunnels += 1;
        let (mut any, mut legs) = (0, 0);
        for guard in guards {
            any |= relays[guard as usize].hostile;
            legs += 1;
        }
        let both = any & relays[exit as usize].hostile;
        for (bit, watched) in self.watched.iter_mut().enumerate() {
            let (guards, exits) = issue.hostile[bit];
            watched.tunnels += u64::from(both & 1 << bit != 0);
            watched.tunnels_expected += exits * (1.0 - (1.0 - guards).powi(legs));
        }
    }

    pub(crate) fn finish(&mut self, flow: &Flow, now_s: u32) {
        self.finished += 1;
        self.finished_bytes += flow.asked;
        let seconds = now_s + 1 - flow.begun_s;
        if flow.pace.is_infinite() {
            self.durations[(seconds as usize).min(SECONDS_MAX - 1)] += 1;
            if flow.asked >= LONG_BYTES {
                self.long_rates.push(flow.asked * 8.0 / f64::from(seconds));
            }
        }
    }

    pub(crate) fn cut(&mut self, flow: &Flow) {
        self.cut += 1;
        self.cut_bytes += flow.asked - flow.left;
    }

    /// An answer to a client. Whoever serves it is the last one on the way.
    pub(crate) fn fetched(&mut self, second: u32, answered: Answered, way: &[u32], is_bootstrap: bool) {
        let bytes = answered.bytes as f64;
        match answered.kind {
            Kind::Current => self.current += 1,
            Kind::Diff => self.diffs = (self.diffs.0 + 1, self.diffs.1 + bytes),
            Kind::Full => self.fulls = (self.fulls.0 + 1, self.fulls.1 + bytes),
        }
        if is_bootstrap {
            self.bootstraps = (self.bootstraps.0 + 1, self.bootstraps.1 + bytes);
        }
        self.served[second as usize] += answered.bytes;
        self.directory_carried += bytes * way.len() as f64;
        for relay in way {
            self.hour[*relay as usize] += bytes;
        }
        if let Some(mirror) = way.last() {
            self.mirror_bytes[*mirror as usize] += bytes;
        }
    }

    pub(crate) fn lag(&mut self, seconds: u64) {
        self.lags[(seconds as usize).min(SECONDS_MAX - 1)] += 1;
    }

    /// All of it as figures.
    pub(crate) fn report(
        self,
        settings: &Settings,
        relays: &[Relay],
        uptimes: &[f64],
        editions: &Editions,
        clients: Vec<ClientSeen>,
        empty: u32,
    ) -> Report {
        Report {
            scenario: self.scenario(settings, relays),
            load: load::of(&self, relays, uptimes),
            flows: self.flow_figures(),
            guards_used: Percentiles::of(clients.iter().map(|seen| seen.guards.len() as f64).collect()),
            guards_kept: Percentiles::of(clients.iter().map(|seen| seen.kept as f64).collect()),
            exposure: self.exposure(settings, relays, editions, &clients),
            tunnels: self.tunnel_figures(),
            directory: self.directory(settings, relays, editions, &clients, empty),
            checks: Checks {
                broken_rules: self.broken_rules,
                strange_guards: self.strange_guards,
                over_expelled: self.over_expelled,
                got_bytes: self.got_bytes,
                exit_bytes: self.exit_bytes,
                finished_bytes: self.finished_bytes,
                cut_bytes: self.cut_bytes,
            },
        }
    }

    fn scenario(&self, settings: &Settings, relays: &[Relay]) -> Scenario {
        let bits = |relay: &Relay| relay.class.bits_per_second() as f64;
        let of = |role: fn(&Relay) -> bool| relays.iter().filter(|relay| role(relay)).map(bits).sum::<f64>();
        Scenario {
            relays: settings.relays,
            clients: settings.clients,
            hours: settings.hours,
            members: settings.members,
            seed: settings.seed,
            churn: settings.churn,
            traffic: settings.traffic,
            spread_s: settings.spread_s,
            sessions: self.sessions,
            bits_per_second: of(|_| true),
            guard_bits_per_second: of(|relay| relay.roles.guard),
            exit_bits_per_second: of(|relay| relay.roles.exit),
            mirrors: relays.iter().filter(|relay| relay.is_mirror).count(),
            failures: self.failures,
            expelled: self.expelled,
        }
    }

    fn flow_figures(&self) -> FlowFigures {
        FlowFigures {
            asked: self.flows,
            finished: self.finished,
            cut: self.cut,
            refused: self.refused_flows,
            bytes: self.got_bytes,
            long_bits_per_second: Percentiles::of(self.long_rates.clone()),
            seconds: counted(&self.durations),
        }
    }

    fn exposure(
        &self,
        settings: &Settings,
        relays: &[Relay],
        editions: &Editions,
        clients: &[ClientSeen],
    ) -> Vec<Exposure> {
        let count = clients.len().max(1) as f64;
        let shares = editions.newest().map(|issue| issue.hostile.clone()).unwrap_or_default();
        let of = |(bit, watched): (usize, &Watched)| {
            let is_bad = |guard: &u32| relays[*guard as usize].hostile & 1 << bit != 0;
            let bad = clients.iter().filter(|seen| seen.guards.iter().any(is_bad)).count() as f64;
            let (guard_share, exit_share) = shares.get(bit).copied().unwrap_or_default();
            let expected = |seen: &ClientSeen| 1.0 - (1.0 - guard_share).powi(seen.guards.len() as i32);
            Exposure {
                bandwidth: settings.hostile[bit],
                relays: relays.iter().filter(|relay| relay.hostile & 1 << bit != 0).count(),
                guard_share,
                exit_share,
                clients: bad / count,
                clients_expected: clients.iter().map(expected).sum::<f64>() / count,
                legs: watched.legs as f64 / self.legs.max(1) as f64,
                legs_expected: watched.legs_expected / self.legs.max(1) as f64,
                tunnels: watched.tunnels as f64 / self.tunnels.max(1) as f64,
                tunnels_expected: watched.tunnels_expected / self.tunnels.max(1) as f64,
            }
        };
        self.watched.iter().enumerate().map(of).collect()
    }

    fn tunnel_figures(&self) -> TunnelFigures {
        TunnelFigures {
            built: self.tunnels,
            legs: self.legs,
            legs_repaired: self.repaired,
            relays_lost: self.broken,
            legs_left_by_documents: self.dropped_legs,
            lost: self.lost_tunnels,
            lives_ended: self.lives_ended,
            refusals: self.refusals,
            choices: self.choices,
            dead_share: self.dead as f64 / self.attempts.max(1) as f64,
            directory_tunnels: self.directory_tunnels,
        }
    }

    fn directory(
        &self,
        settings: &Settings,
        relays: &[Relay],
        editions: &Editions,
        clients: &[ClientSeen],
        empty: u32,
    ) -> Directory {
        let days = f64::from(settings.hours) / 24.0;
        let all: f64 = self.served.iter().map(|bytes| *bytes as f64).sum();
        let peak = self.served.iter().copied().max().unwrap_or(0);
        let at = self.served.iter().position(|bytes| *bytes == peak).unwrap_or(0) as u32;
        let minutes = self.served.chunks(60).map(|minute| minute.iter().sum::<u64>());
        let mirrors = relays.iter().zip(&self.mirror_bytes).filter(|(relay, _)| relay.is_mirror);
        let flows = self.got_bytes * 3.0;
        let mean = |(count, bytes): (u64, f64)| if count == 0 { 0.0 } else { bytes / count as f64 };
        Directory {
            intervals: settings.hours * 3_600 / INTERVAL_S,
            published: self.published,
            empty,
            listed: Percentiles::of(self.listed.clone()),
            full_bytes: Percentiles::of(editions.full_bytes.clone()),
            next_bytes: Percentiles::of(editions.next_bytes.clone()),
            client_bytes_a_day: Percentiles::of(clients.iter().map(|seen| seen.directory_bytes / days).collect()),
            current: self.current,
            diffs: self.diffs.0,
            diff_bytes: mean(self.diffs),
            fulls: self.fulls.0,
            full_answer_bytes: mean(self.fulls),
            bootstraps: self.bootstraps.0,
            failed: self.failed_fetches,
            bytes: all,
            diff_share: self.diffs.1 / all.max(1.0),
            share_of_traffic: self.directory_carried / (self.directory_carried + flows).max(1.0),
            mirror_bytes_a_day: Percentiles::of(mirrors.map(|(_, bytes)| bytes / days).collect()),
            mean_bytes_a_second: all / self.served.len().max(1) as f64,
            peak_bytes_a_second: peak as f64,
            peak_second: at,
            peak_bytes_a_minute: minutes.max().unwrap_or(0) as f64,
            member_bytes_a_day: self.member_bytes / days,
            lag_seconds: counted(&self.lags),
        }
    }
}

/// Percentiles of whole numbers that were counted.
fn counted(counts: &[u64]) -> Percentiles {
    let count: u64 = counts.iter().sum();
    let sum: f64 = counts.iter().zip(0_u32..).map(|(count, value)| *count as f64 * f64::from(value)).sum();
    let at = |part: f64| {
        let rank = ((part * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let place = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        place.unwrap_or(0) as f64
    };
    if count == 0 {
        return Percentiles::default();
    }
    Percentiles {
        count: count as usize,
        mean: sum / count as f64,
        p1: at(0.01),
        p10: at(0.1),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        max: at(1.0),
    }
}
