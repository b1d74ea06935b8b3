//! How busy relays were: what they carried beside what they could have carried.

use super::Tally;
use crate::percentiles::Percentiles;
use crate::population::Relay;
use crate::report::{Load, RoleLoad, SpeedLoad};

/// Upper ends of speeds that are looked at together, bit/s; the last has all others.
const SPEEDS: [f64; 5] = [2e6, 4e6, 16e6, 64e6, f64::INFINITY];
/// Relays that were there for less say nothing, in seconds.
const UPTIME_MIN_S: f64 = 3_600.0;
/// So much of an hour is all of it.
const FULL: f64 = 0.95;

/// Relays with what they carried and could have carried, in bytes.
struct Measured<'a> {
    tally: &'a Tally,
    relays: &'a [Relay],
    uptimes: &'a [f64],
    /// Sums over those that were there.
    carried: f64,
    room: f64,
}

pub(super) fn of(tally: &Tally, relays: &[Relay], uptimes: &[f64]) -> Load {
    let there: Vec<usize> = (0..relays.len()).filter(|number| uptimes[*number] >= UPTIME_MIN_S).collect();
    let mut measured = Measured { tally, relays, uptimes, carried: 0.0, room: 0.0 };
    measured.carried = measured.carried_by(&there);
    measured.room = measured.room_of(&there);
    let full = there.iter().filter(|number| tally.best_hour[**number] > FULL).count();
    let mut roles: Vec<String> = relays.iter().map(|relay| relay.roles.to_string()).collect();
    roles.sort_unstable();
    roles.dedup();
    let speeds = |is_exit| measured.by_speed(&there, is_exit);
    Load {
        used_of_all: measured.carried / measured.room.max(1.0),
        used: measured.used(&there),
        best_hour: measured.best_hour(&there),
        ratio: measured.ratio(&there),
        full_in_best_hour: full as f64 / there.len().max(1) as f64,
        by_role: roles.into_iter().map(|role| measured.role(&there, role)).collect(),
        by_speed: [false, true].into_iter().flat_map(speeds).collect(),
    }
}

impl Measured<'_> {
    fn room(&self, number: usize) -> f64 {
        self.relays[number].bytes_per_second() * self.uptimes[number]
    }

    fn room_of(&self, numbers: &[usize]) -> f64 {
        numbers.iter().map(|number| self.room(*number)).sum()
    }

    fn carried_by(&self, numbers: &[usize]) -> f64 {
        numbers.iter().map(|number| self.tally.carried[*number]).sum()
    }

    fn used(&self, numbers: &[usize]) -> Percentiles {
        let used = |number: &usize| self.tally.carried[*number] / self.room(*number);
        Percentiles::of(numbers.iter().map(used).collect())
    }

    fn best_hour(&self, numbers: &[usize]) -> Percentiles {
        Percentiles::of(numbers.iter().map(|number| self.tally.best_hour[*number]).collect())
    }

    fn ratio(&self, numbers: &[usize]) -> Percentiles {
        let share = |number: &usize| self.tally.carried[*number] / self.carried.max(1.0);
        let ratio = |number: &usize| share(number) / (self.room(*number) / self.room);
        Percentiles::of(numbers.iter().map(ratio).collect())
    }

    fn role(&self, there: &[usize], role: String) -> RoleLoad {
        let is_own = |number: &usize| self.relays[*number].roles.to_string() == role;
        let own: Vec<usize> = there.iter().copied().filter(is_own).collect();
        RoleLoad {
            relays: own.len(),
            room_share: self.room_of(&own) / self.room.max(1.0),
            share: self.carried_by(&own) / self.carried.max(1.0),
            used: self.used(&own),
            best_hour: self.best_hour(&own),
            ratio: self.ratio(&own),
            role,
        }
    }

    fn by_speed(&self, there: &[usize], is_exit: bool) -> Vec<SpeedLoad> {
        let mut least = 0.0;
        let speeds = SPEEDS.into_iter().map(|most| {
            let from_bits = std::mem::replace(&mut least, most);
            let is_own = |number: &usize| {
                let relay = &self.relays[*number];
                let bits = relay.class.bits_per_second() as f64;
                bits >= from_bits && bits < most && relay.roles.exit == is_exit
            };
            let own: Vec<usize> = there.iter().copied().filter(is_own).collect();
            SpeedLoad {
                from_bits,
                is_exit,
                relays: own.len(),
                used: self.used(&own),
                best_hour: self.best_hour(&own),
                ratio: self.ratio(&own),
            }
        });
        speeds.collect()
    }
}
