//! What came of a run.

use crate::percentiles::Percentiles;
use serde::Serialize;

/// All figures of a run. Shares are parts of one; bytes are an application's unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was simulated.
    pub scenario: Scenario,
    /// How busy relays are.
    pub load: Load,
    /// What applications got.
    pub flows: FlowFigures,
    /// Guards that a client used in the run, of clients that were there.
    pub guards_used: Percentiles,
    /// Guards in a client's set at the end.
    pub guards_kept: Percentiles,
    /// What adversaries see, in the order of the settings.
    pub exposure: Vec<Exposure>,
    /// Tunnels and their legs.
    pub tunnels: TunnelFigures,
    /// Editions, and what fetching them costs.
    pub directory: Directory,
    /// What must be so.
    pub checks: Checks,
}

/// What was simulated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    /// Relays that were ever admitted.
    pub relays: u32,
    /// Clients.
    pub clients: u32,
    /// Length.
    pub hours: u32,
    /// Members of the directory.
    pub members: u8,
    /// Of the run.
    pub seed: u64,
    /// Factor of failures.
    pub churn: f64,
    /// Factor of what is transferred.
    pub traffic: f64,
    /// Time in which clients ask for an edition.
    pub spread_s: u32,
    /// Starts of clients.
    pub sessions: u64,
    /// Of all relays' classes.
    pub bits_per_second: f64,
    /// Of those that may be guards.
    pub guard_bits_per_second: f64,
    /// Of exits.
    pub exit_bits_per_second: f64,
    /// Relays that serve documents to clients.
    pub mirrors: usize,
    /// Failures and stops of relays.
    pub failures: u32,
    /// Relays that were expelled.
    pub expelled: u32,
}

/// How busy relays are that were there for an hour or more. *Used* is the part of what a relay could have forwarded while it was
/// up; the *best hour* is that in which it forwarded most. *Ratio* is a relay's share of what all forwarded, over its share of what all
/// could have: 1 is what it was worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Of all together.
    pub used_of_all: f64,
    /// Over relays.
    pub used: Percentiles,
    /// Over relays.
    pub best_hour: Percentiles,
    /// Over relays.
    pub ratio: Percentiles,
    /// Relays of which more than 0.95 was used for an hour.
    pub full_in_best_hour: f64,
    /// By roles.
    pub by_role: Vec<RoleLoad>,
    /// By speed, those that are no exits first.
    pub by_speed: Vec<SpeedLoad>,
}

/// Relays of one set of roles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoleLoad {
    /// As documents have them.
    pub role: String,
    /// How many.
    pub relays: usize,
    /// Their share of what all could have forwarded.
    pub room_share: f64,
    /// Their share of what all forwarded.
    pub share: f64,
    /// As in [`Load`].
    pub used: Percentiles,
    /// As in [`Load`].
    pub best_hour: Percentiles,
    /// As in [`Load`].
    pub ratio: Percentiles,
}

/// Relays of about one speed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeedLoad {
    /// The slowest of them, in bit/s.
    pub from_bits: f64,
    /// Exits, or all others.
    pub is_exit: bool,
    /// How many.
    pub relays: usize,
    /// As in [`Load`].
    pub used: Percentiles,
    /// As in [`Load`].
    pub best_hour: Percentiles,
    /// As in [`Load`].
    pub ratio: Percentiles,
}

/// What applications got.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowFigures {
    /// Transfers that were asked for.
    pub asked: u64,
    /// That came to their end.
    pub finished: u64,
    /// That ended with their tunnel, or with their client.
    pub cut: u64,
    /// That found no tunnel in time.
    pub refused: u64,
    /// Bytes that reached clients.
    pub bytes: f64,
    /// Speed of transfers of 20 MB and more that nothing paced, in bit/s.
    pub long_bits_per_second: Percentiles,
    /// Duration of those that nothing paced, in seconds, rounded up; an hour is the most.
    pub seconds: Percentiles,
}

/// What somebody sees who has a part of the bandwidth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exposure {
    /// Part of all bandwidth.
    pub bandwidth: f64,
    /// Relays.
    pub relays: usize,
    /// Part of draws for guards, by the last document.
    pub guard_share: f64,
    /// Part of draws for exits.
    pub exit_share: f64,
    /// Clients that used a hostile guard.
    pub clients: f64,
    /// As it would be if each client had drawn as many guards independently.
    pub clients_expected: f64,
    /// Legs with a hostile guard and a hostile exit.
    pub legs: f64,
    /// The product of both shares, over the documents of those legs.
    pub legs_expected: f64,
    /// Tunnels of which at least one first leg is like that.
    pub tunnels: f64,
    /// As it would be if exit and guards were drawn independently.
    pub tunnels_expected: f64,
}

/// Tunnels and their legs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TunnelFigures {
    /// Tunnels for flows.
    pub built: u64,
    /// Legs of them, replacements included.
    pub legs: u64,
    /// Legs that took the place of others.
    pub legs_repaired: u64,
    /// Times a leg ended because its guard or middle fell silent.
    pub relays_lost: u64,
    /// Legs that ended because a document lacked one of their relays.
    pub legs_left_by_documents: u64,
    /// Tunnels whose exit fell silent, or that lost every leg.
    pub lost: u64,
    /// Tunnels that lived as long as they may.
    pub lives_ended: u64,
    /// Times that no path was found.
    pub refusals: u64,
    /// Times that paths were asked for.
    pub choices: u64,
    /// Part of all circuits that were begun over a relay that was down.
    pub dead_share: f64,
    /// Circuits to whoever serves documents.
    pub directory_tunnels: u64,
}

/// Editions, and what fetching them costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Directory {
    /// Intervals of the run.
    pub intervals: u32,
    /// Editions that enough members signed.
    pub published: u32,
    /// Editions that were made and got too few signatures.
    pub empty: u32,
    /// Relays in an edition.
    pub listed: Percentiles,
    /// Bytes of a whole edition as an answer.
    pub full_bytes: Percentiles,
    /// Bytes of question and answer from one edition to the next.
    pub next_bytes: Percentiles,
    /// Of clients that were there.
    pub client_bytes_a_day: Percentiles,
    /// Answers that there was nothing new.
    pub current: u64,
    /// Answers that were differences.
    pub diffs: u64,
    /// Their mean.
    pub diff_bytes: f64,
    /// Answers that were whole editions.
    pub fulls: u64,
    /// Their mean.
    pub full_answer_bytes: f64,
    /// Of all answers, those to clients that had no good document.
    pub bootstraps: u64,
    /// Requests for which no directory tunnel was found.
    pub failed: u64,
    /// Bytes to all clients.
    pub bytes: f64,
    /// Part of them that was differences.
    pub diff_share: f64,
    /// Part of all bytes that relays forwarded.
    pub share_of_traffic: f64,
    /// Of relays that serve documents.
    pub mirror_bytes_a_day: Percentiles,
    /// Bytes to all clients in the mean second.
    pub mean_bytes_a_second: f64,
    /// And in the worst.
    pub peak_bytes_a_second: f64,
    /// The worst second, counted from the beginning of the run.
    pub peak_second: u32,
    /// Bytes in the worst minute.
    pub peak_bytes_a_minute: f64,
    /// Bytes from members to relays.
    pub member_bytes_a_day: f64,
    /// From the moment that an edition is due to that at which a client has it that was there by then.
    pub lag_seconds: Percentiles,
}

/// What must be so, whatever the figures are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checks {
    /// Legs with two relays of one operator or subnet, or that share a relay with another leg: 0.
    pub broken_rules: u64,
    /// Legs over guards that are not in their client's set: 0.
    pub strange_guards: u64,
    /// Legs over relays that were out for longer than an interval and the time in which clients ask: 0.
    pub over_expelled: u64,
    /// Bytes that flows got,
    pub got_bytes: f64,
    /// and that exits carried: the same,
    pub exit_bytes: f64,
    /// and that is what flows asked for that came to their end,
    pub finished_bytes: f64,
    /// and what the others had got by then.
    pub cut_bytes: f64,
}

impl Checks {
    /// True when all of it is so, and of bytes all but one in a million.
    pub fn hold(&self) -> bool {
        let same = |one: f64, other: f64| (one - other).abs() <= 1e-6 * one.max(1e6);
        let counts = [self.broken_rules, self.strange_guards, self.over_expelled];
        counts == [0; 3]
            && same(self.got_bytes, self.exit_bytes)
            && same(self.got_bytes, self.finished_bytes + self.cut_bytes)
    }
}
