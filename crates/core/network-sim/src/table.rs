//! The report for people.

use crate::INTERVAL_S;
use crate::percentiles::Percentiles;
use crate::report::Report;
use std::fmt::Write;

impl Report {
    /// Tables and sentences, as `hushwire sim network` prints them.
    pub fn table(&self) -> String {
        let mut text = String::new();
        self.write_scenario(&mut text);
        self.write_load(&mut text);
        self.write_flows(&mut text);
        self.write_exposure(&mut text);
        self.write_directory(&mut text);
        self.write_checks(&mut text);
        text
    }

    // Writing to a string does not fail.
    fn write_scenario(&self, text: &mut String) {
        let it = &self.scenario;
        let _ = writeln!(
            text,
            "{} relays, {} clients, {} h, {} members, seed {}, churn {}, traffic {}",
            it.relays, it.clients, it.hours, it.members, it.seed, it.churn, it.traffic
        );
        let _ = writeln!(
            text,
            "all relays forward {} at most, guards {}, exits {}; {} serve documents; {} failures, {} expelled; {} sessions",
            rate(it.bits_per_second),
            rate(it.guard_bits_per_second),
            rate(it.exit_bits_per_second),
            it.mirrors,
            it.failures,
            it.expelled,
            it.sessions
        );
    }

    fn write_load(&self, text: &mut String) {
        let load = &self.load;
        let _ = writeln!(
            text,
            "\nload: {} of all is used; {} of relays are full in an hour",
            part(load.used_of_all),
            part(load.full_in_best_hour)
        );
        let _ = writeln!(
            text,
            "{:<26}relays   room  share   used p50    p99   best hour p50    p99   ratio p1    p50    p99",
            ""
        );
        let mut row = |name: &str, relays: usize, shares: Option<(f64, f64)>, of: [&Percentiles; 3]| {
            let [used, best, ratio] = of;
            let (room, share) = shares.map_or(("–".into(), "–".into()), |(room, share)| (part(room), part(share)));
            let _ = writeln!(
                text,
                "{name:<26}{relays:>6}{room:>7}{share:>7}{:>11}{:>7}{:>16}{:>7}{:>11.2}{:>7.2}{:>7.2}",
                part(used.p50),
                part(used.p99),
                part(best.p50),
                part(best.p99),
                ratio.p1,
                ratio.p50,
                ratio.p99
            );
        };
        row("all", load.used.count, None, [&load.used, &load.best_hour, &load.ratio]);
        for it in &load.by_role {
            row(&it.role, it.relays, Some((it.room_share, it.share)), [&it.used, &it.best_hour, &it.ratio]);
        }
        for it in &load.by_speed {
            let name = format!("{}, from {}", if it.is_exit { "exit" } else { "no exit" }, rate(it.from_bits));
            row(&name, it.relays, None, [&it.used, &it.best_hour, &it.ratio]);
        }
    }

    fn write_flows(&self, text: &mut String) {
        let (flows, tunnels) = (&self.flows, &self.tunnels);
        let long = &flows.long_bits_per_second;
        let _ = writeln!(
            text,
            "\nflows: {} asked for, {} finished, {} cut, {} refused; {} to clients",
            flows.asked,
            flows.finished,
            flows.cut,
            flows.refused,
            bytes(flows.bytes)
        );
        let _ = writeln!(
            text,
            "  {} of 20 MB and more: p1 {}, p10 {}, p50 {}, p90 {}; all: p50 {} s, p90 {} s, p99 {} s",
            long.count,
            rate(long.p1),
            rate(long.p10),
            rate(long.p50),
            rate(long.p90),
            flows.seconds.p50,
            flows.seconds.p90,
            flows.seconds.p99
        );
        let _ = writeln!(
            text,
            "tunnels: {} built, {} legs, of them {} repairs; {} legs lost a relay, {} were left by documents; {} tunnels lost, \
             {} lived to their end",
            tunnels.built,
            tunnels.legs,
            tunnels.legs_repaired,
            tunnels.relays_lost,
            tunnels.legs_left_by_documents,
            tunnels.lost,
            tunnels.lives_ended
        );
        let _ = writeln!(
            text,
            "  {} of circuits were begun over a relay that was down; {} refusals; {} directory tunnels",
            part(tunnels.dead_share),
            tunnels.refusals,
            tunnels.directory_tunnels
        );
    }

    fn write_exposure(&self, text: &mut String) {
        let (used, kept) = (&self.guards_used, &self.guards_kept);
        let _ = writeln!(
            text,
            "\nguards that a client used: mean {:.2}, p50 {}, p99 {}, most {}; in its set at the end: mean {:.2}, most {}",
            used.mean, used.p50, used.p99, used.max, kept.mean, kept.max
        );
        let _ = writeln!(
            text,
            "hostile   relays  of guards  of exits   clients  expected      legs  expected   tunnels  expected"
        );
        for it in &self.exposure {
            let _ = writeln!(
                text,
                "{:<10}{:>6}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
                part(it.bandwidth),
                it.relays,
                part(it.guard_share),
                part(it.exit_share),
                part(it.clients),
                part(it.clients_expected),
                fine(it.legs),
                fine(it.legs_expected),
                fine(it.tunnels),
                fine(it.tunnels_expected)
            );
        }
    }

    fn write_directory(&self, text: &mut String) {
        let it = &self.directory;
        let _ = writeln!(
            text,
            "\ndirectory: {} of {} editions published, {} left empty; {} relays, whole {}, difference to the next {} (p99 {})",
            it.published,
            it.intervals,
            it.empty,
            it.listed.p50,
            bytes(it.full_bytes.p50),
            bytes(it.next_bytes.p50),
            bytes(it.next_bytes.p99)
        );
        let _ = writeln!(
            text,
            "  a client fetches {} a day (p50 {}, p99 {}); a mirror serves p50 {}, most {}",
            bytes(it.client_bytes_a_day.mean),
            bytes(it.client_bytes_a_day.p50),
            bytes(it.client_bytes_a_day.p99),
            bytes(it.mirror_bytes_a_day.p50),
            bytes(it.mirror_bytes_a_day.max)
        );
        let _ = writeln!(
            text,
            "  answers: {} nothing new, {} differences of {}, {} whole of {}; {} bootstraps; {} found no way",
            it.current,
            it.diffs,
            bytes(it.diff_bytes),
            it.fulls,
            bytes(it.full_answer_bytes),
            it.bootstraps,
            it.failed
        );
        let _ = writeln!(
            text,
            "  {} in all, {} of it differences, {} of what relays forward; members give relays {} a day",
            bytes(it.bytes),
            part(it.diff_share),
            fine(it.share_of_traffic),
            bytes(it.member_bytes_a_day)
        );
        let _ = writeln!(
            text,
            "  a second: mean {}, peak {} (at {} h, {} s into its interval), a minute {}; a client has an edition p50 {} s, p99 \
             {} s after it is due",
            bytes(it.mean_bytes_a_second),
            bytes(it.peak_bytes_a_second),
            it.peak_second / 3_600,
            it.peak_second % INTERVAL_S,
            bytes(it.peak_bytes_a_minute),
            it.lag_seconds.p50,
            it.lag_seconds.p99
        );
    }

    fn write_checks(&self, text: &mut String) {
        let it = &self.checks;
        let holds = if it.hold() { "all hold" } else { "BROKEN" };
        let _ = writeln!(
            text,
            "\nchecks: {holds} ({} legs against the rules, {} over strange guards, {} over expelled relays; {} carried, {} \
             finished, {} cut)",
            it.broken_rules,
            it.strange_guards,
            it.over_expelled,
            bytes(it.got_bytes),
            bytes(it.finished_bytes),
            bytes(it.cut_bytes)
        );
    }
}

/// A part of one in per cent.
fn part(part: f64) -> String {
    let per_cent = part * 100.0;
    if per_cent < 9.95 { format!("{per_cent:.1} %") } else { format!("{per_cent:.0} %") }
}

/// A small part of one.
fn fine(part: f64) -> String {
    format!("{:.3} %", part * 100.0)
}

fn rate(bits: f64) -> String {
    with_prefix(bits, "bit/s")
}

fn bytes(bytes: f64) -> String {
    with_prefix(bytes, "B")
}

/// About three digits.
fn with_prefix(value: f64, unit: &str) -> String {
    let steps = ["", "k", "M", "G", "T"];
    let mut scaled = value;
    let mut step = 0;
    while scaled >= 999.5 && step + 1 < steps.len() {
        (scaled, step) = (scaled / 1_000.0, step + 1);
    }
    let digits = if scaled >= 99.5 || step == 0 {
        0
    } else if scaled >= 9.95 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$} {}{unit}", steps[step])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_about_three_digits() {
        assert_eq!([7.0, 1_234.0, 45_600.0, 999_900.0].map(bytes), ["7 B", "1.23 kB", "45.6 kB", "1.00 MB"]);
        assert_eq!([0.001, 0.05, 0.5].map(part), ["0.1 %", "5.0 %", "50 %"]);
        assert_eq!(fine(0.0025), "0.250 %");
    }
}
