//! One screen for a person. Problems come last, where they are not scrolled away.

mod circuits;
mod hops;
mod memory;
mod privacy;
mod services;

pub use circuits::{list as circuit_list, show as circuit_show};

/// What a rate that follows the load has told, in a few rows.
pub fn privacy_rows(privacy: &crate::status::Privacy) -> String {
    let mut out = String::new();
    privacy::rows(&mut out, privacy);
    out
}

use crate::status::{
    Counters, ExitTunnels, Flows, LastMinute, Link, LinkState, Mode, Process, Rate, Role, Schedule, Severity, Status,
};
use std::fmt::Write;

const RED: &str = "\u{1b}[1;31m";
const YELLOW: &str = "\u{1b}[33m";
const PLAIN: &str = "\u{1b}[0m";

/// Stands for everything that the node has not said.
pub(crate) const UNKNOWN: &str = "unknown";

/// The whole screen, each line with its end. `colour` for a terminal.
pub fn screen(status: &Status, colour: bool) -> String {
    let mut out = String::new();
    heading(&mut out, status, colour);
    // Guards come and go; on the screen they are parts of legs.
    for link in status.links.iter().filter(|_| status.circuits.is_none()) {
        row(&mut out, "link", &link_text(link));
        if let Some(hops) = &link.hops {
            row(&mut out, "hops", &hops::text(hops));
        }
    }
    if let Some(tunnel) = &status.circuits {
        circuits::rows(&mut out, tunnel);
    }
    match &status.exit {
        Some(exit) => exit_rows(&mut out, exit),
        None if status.links.is_empty() && status.circuits.is_none() && status.services.is_none() => {
            row(&mut out, "link", "none")
        }
        None => {}
    }
    if let Some(services) = &status.services {
        services::rows(&mut out, services);
    }
    if status.mode != Some(Mode::Off) {
        schedule(&mut out, &status.schedule);
    }
    if let Some(privacy) = &status.privacy {
        privacy::rows(&mut out, privacy);
    }
    cells(&mut out, &status.counters);
    if let Some(minute) = &status.last_minute {
        row(&mut out, "minute", &minute_text(minute));
    }
    row(&mut out, "flows", &flows_text(&status.flows));
    row(&mut out, "memory", &memory::text(&status.memory));
    processes(&mut out, &status.processes);
    problems(&mut out, status, colour);
    out
}

/// `91.8 GB`: decimal, three digits, as disks and traffic are sold.
pub fn decimal(bytes: u64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// `91.6 GB`, `4133 GB`: always in GB, as contracts count a month.
pub fn gigabytes(bytes: u64) -> String {
    let gigabytes = bytes as f64 / 1e9;
    if gigabytes < 100.0 { format!("{gigabytes:.1} GB") } else { format!("{gigabytes:.0} GB") }
}

/// `23.4 MiB`: binary, as memory is counted.
pub fn binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// `3 d 4 h`, `2 min 5 s`: the two largest units.
pub fn duration(seconds: u64) -> String {
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown: Vec<String> = units[first..].iter().take(2).map(|(count, unit)| format!("{count} {unit}")).collect();
    shown.join(" ")
}

fn heading(out: &mut String, status: &Status, colour: bool) {
    let role = match status.role {
        Some(Role::Entry) => "entry",
        Some(Role::Exit) => "exit",
        Some(Role::Service) => "service",
        None => "node",
    };
    let mode = match status.mode {
        Some(Mode::Off) => paint("mode OFF", RED, colour),
        Some(mode) => format!("mode {}", mode.name()),
        None => format!("mode {UNKNOWN}"),
    };
    let _ = writeln!(
        out,
        "hushwire {role} {}, running for {}, {mode}\n",
        printable(&status.version),
        duration(status.uptime_s)
    );
}

fn link_text(link: &Link) -> String {
    let since = link.since_s.map_or(String::new(), |seconds| format!(" for {}", duration(seconds)));
    let state = match link.state {
        Some(LinkState::Connecting) => format!("connecting{since}"),
        Some(LinkState::Up) => format!("up{since}"),
        Some(LinkState::Lost) => format!("LOST{since}"),
        None => UNKNOWN.to_owned(),
    };
    let rtt = optional(link.rtt_us, |us| format!("{:.1} ms", us as f64 / 1000.0));
    let loss = optional(link.loss_per_mille, |loss| format!("{:.1} %", f64::from(loss) / 10.0));
    format!("{} {state}, round trip {rtt}, loss {loss}", printable(&link.peer))
}

fn exit_rows(out: &mut String, exit: &ExitTunnels) {
    let ExitTunnels { links, circuits, tunnels, sessions, legs } = exit;
    row(out, "relay", &format!("{links} links, {circuits} circuits"));
    row(out, "tunnels", &format!("{tunnels} end here, with {legs} legs; {sessions} sessions are up"));
}

fn schedule(out: &mut String, schedule: &Schedule) {
    let rate = |rate: Option<Rate>| {
        optional(rate, |rate| {
            let megabits = rate.bits_per_second as f64 / 1e6;
            let month = gigabytes(rate.bytes_per_month);
            format!("{megabits:.3} Mbit/s = {} packets/s = {month} a month", rate.packets_per_second)
        })
    };
    let slot = optional(schedule.slot_ms, |millis| format!("{millis} ms"));
    row(out, "send", &format!("{}, slots of {slot}", rate(schedule.send)));
    row(out, "receive", &rate(schedule.receive));
}

fn cells(out: &mut String, counters: &Counters) {
    let number = |value: Option<u64>| optional(value, |value| value.to_string());
    let size = optional(counters.packet_size, |bytes| format!("{bytes} bytes each"));
    let (sent, received) = (number(counters.packets_sent), number(counters.packets_received));
    row(out, "packets", &format!("{sent} sent, {received} received, {size}"));
    let (data, cover) = (number(counters.data_cells_sent), number(counters.cover_cells_sent));
    let (missed, late) = (number(counters.missed_slots), number(counters.late_cells));
    row(out, "cells", &format!("{data} data, {cover} cover sent; {missed} slots missed, {late} cells late"));
    let (taken, given) = (counters.application_bytes_in, counters.application_bytes_out);
    row(out, "payload", &format!("{} taken in, {} given out", optional(taken, decimal), optional(given, decimal)));
    let drops: Vec<String> = counters
        .drops
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {}", printable(reason)))
        .collect();
    if !drops.is_empty() {
        row(out, "dropped", &drops.join(", "));
    }
}

fn minute_text(minute: &LastMinute) -> String {
    let share = optional(minute.useful_share, |share| format!("{:.1} %", share * 100.0));
    let millis = |us: u64| format!("{:.1} ms", us as f64 / 1000.0);
    let wait = match (minute.wait_mean_us, minute.wait_p95_us) {
        (Some(mean), Some(most)) => format!("bytes waited {} for a slot, 95 % at most {}", millis(mean), millis(most)),
        _ => "no byte waited for a slot".to_owned(),
    };
    format!("{share} of the cells had data; {wait}")
}

fn flows_text(flows: &Flows) -> String {
    let number = |value: Option<u64>| optional(value, |value| value.to_string());
    let (open, max) = (number(flows.open), number(flows.max));
    let text = format!("{open} open of {max}, {} opened, {} refused", number(flows.opened), number(flows.refused));
    match flows.swapped.as_ref().and_then(|swapped| swapped.get("now")) {
        Some(now) => format!("{text}, {now} by shared memory"),
        None => text,
    }
}

fn processes(out: &mut String, processes: &[Process]) {
    let _ =
        writeln!(out, "\n{:<16}{:>8}{:>10}{:>10}{:>12}  confined by", "process", "pid", "restarts", "cpu s", "memory");
    for process in processes {
        let pid = process.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let cpu = optional(process.cpu_s, |seconds| format!("{seconds:.1}"));
        let memory = optional(process.rss_bytes, binary);
        let confined = match process.confinement.as_deref() {
            None => UNKNOWN.to_owned(),
            Some([]) => "nothing".to_owned(),
            Some(measures) => {
                let missing = measures.iter().filter(|measure| measure.starts_with(crate::status::MISSING)).count();
                let all = measures.len();
                if missing == 0 {
                    format!("all {all} measures")
                } else {
                    format!("{} of {all} measures", all - missing)
                }
            }
        };
        let (name, restarts) = (printable(&process.name), process.restarts);
        let _ = writeln!(out, "{name:<16}{pid:>8}{restarts:>10}{cpu:>10}{memory:>12}  {confined}");
    }
}

fn problems(out: &mut String, status: &Status, colour: bool) {
    if status.warnings.is_empty() {
        let _ = writeln!(out, "\nno problems");
        return;
    }
    let _ = writeln!(out, "\nproblems");
    let mut sorted: Vec<_> = status.warnings.iter().collect();
    sorted.sort_by_key(|warning| warning.severity as u8);
    for warning in sorted {
        let (word, paint_with) = match warning.severity {
            Severity::Notice => ("note", ""),
            Severity::Warning => ("warning", YELLOW),
            Severity::Alarm => ("ALARM", RED),
        };
        let word = if paint_with.is_empty() { word.to_owned() } else { paint(word, paint_with, colour) };
        let _ = writeln!(out, "  {word}: {}", printable(&warning.sentence));
    }
}

fn row(out: &mut String, name: &str, text: &str) {
    let _ = writeln!(out, "{name:<10}{text}");
}

/// Texts that a process of the node chose may not move the cursor or speak in the name of this program.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

fn paint(text: &str, colour_code: &str, colour: bool) -> String {
    if colour { format!("{colour_code}{text}{PLAIN}") } else { text.to_owned() }
}

fn optional<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), show)
}

fn scaled(bytes: u64, step: f64, units: &[&str]) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= step && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} {}", units[0]) } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::status::{Memory, Warning};

    /// A status with every field known.
    pub(crate) fn full() -> Status {
        let rate = Rate { bits_per_second: 256_000, packets_per_second: 26, bytes_per_month: 91_600_000_000 };
        Status {
            schema: 1,
            version: "0.1.0".into(),
            role: Some(Role::Entry),
            mode: Some(Mode::Constant),
            uptime_s: 7384,
            links: vec![Link {
                peer: "k3mz7q".into(),
                node_id: None,
                state: Some(LinkState::Up),
                since_s: Some(7380),
                rtt_us: Some(40_210),
                loss_per_mille: Some(1),
                hops: None,
            }],
            schedule: Schedule { slot_ms: Some(5), send: Some(rate), receive: Some(rate) },
            privacy: None,
            last_minute: Some(LastMinute {
                cells_sent: Some(1_560),
                data_cells_sent: Some(39),
                useful_share: Some(0.025),
                wait_mean_us: Some(12_345),
                wait_p95_us: Some(36_863),
            }),
            counters: Counters {
                sampled_at_ms: Some(7_383_900),
                packet_size: Some(1350),
                packets_sent: Some(193_000),
                packets_received: Some(192_990),
                data_cells_sent: Some(1_200),
                cover_cells_sent: Some(191_800),
                missed_slots: Some(0),
                late_cells: Some(2),
                application_bytes_in: Some(1_234_567),
                application_bytes_out: Some(12_345_678),
                drops: [("replayed".into(), 3), ("stranger".into(), 0)].into(),
            },
            exit: None,
            neighbours: Vec::new(),
            clients: None,
            circuits: None,
            services: None,
            flows: Flows {
                open: Some(12),
                max: Some(1024),
                opened: Some(230),
                refused: Some(0),
                swapped: Some([("now".into(), 3), ("linked".into(), 40)].into()),
            },
            processes: vec![Process {
                name: "shaped-client".into(),
                pid: Some(4242),
                restarts: 0,
                cpu_s: Some(12.34),
                rss_bytes: Some(23 << 20),
                confinement: Some(vec!["seccomp".into(), "no landlock: too old".into()]),
            }],
            memory: Memory {
                segments_bytes: Some(513 << 20),
                session_bound_bytes: Some(128 << 20),
                ..Memory::default()
            },
            warnings: vec![
                Warning { severity: Severity::Alarm, sentence: "the link is lost; is the exit running?".into() },
                Warning { severity: Severity::Notice, sentence: "no core is pinned".into() },
            ],
        }
    }

    #[test]
    fn a_full_screen() {
        insta::assert_snapshot!(screen(&full(), false));
    }

    #[test]
    fn what_is_unknown_is_said_to_be_unknown() {
        let processes = vec![Process { name: "shaped-client".into(), ..Process::default() }];
        let links = vec![Link { peer: "k3mz7q".into(), ..Link::default() }];
        insta::assert_snapshot!(screen(
            &Status { version: "0.1.0".into(), processes, links, ..Status::default() },
            false
        ));
    }

    #[test]
    fn mode_off_is_red_and_the_worst_problem_is_the_last_line() {
        let status = Status { mode: Some(Mode::Off), ..full() };
        let shown = screen(&status, true);
        assert!(shown.contains("\u{1b}[1;31mmode OFF\u{1b}[0m"), "{shown}");
        assert!(!shown.contains("packets/s"), "no schedule is shown where there is none:\n{shown}");
        let last = shown.lines().last().unwrap_or_default();
        assert!(last.contains("ALARM"), "{last}");
        assert!(shown.lines().count() <= 24, "one screen:\n{shown}");
    }

    #[test]
    fn an_exit_over_circuits_shows_counts_in_place_of_links() {
        let exit = ExitTunnels { links: 3, circuits: 9, tunnels: 2, sessions: 1, legs: 4 };
        let status = Status { mode: Some(Mode::Off), links: Vec::new(), exit: Some(exit), ..full() };
        let shown = screen(&status, false);
        assert!(shown.contains("3 links, 9 circuits"), "{shown}");
        assert!(shown.contains("2 end here, with 4 legs; 1 sessions are up"), "{shown}");
        assert!(!shown.contains("none"), "{shown}");
        assert!(shown.lines().count() <= 24, "one screen:\n{shown}");
    }

    #[test]
    fn texts_of_processes_cannot_move_the_cursor() {
        let sentence = "\u{1b}[2J\r\nno problems".to_owned();
        let mut status = full();
        status.warnings.push(Warning { severity: Severity::Alarm, sentence: sentence.clone() });
        status.counters.drops.insert(sentence.clone(), 1);
        status.processes[0].name = sentence.clone();
        status.links[0].peer = sentence;
        let shown = screen(&status, false);
        assert!(shown.chars().all(|letter| letter == '\n' || !letter.is_control()), "{shown:?}");
        assert!(shown.ends_with("\u{fffd}no problems\n"), "{shown:?}");
    }

    #[test]
    fn numbers_are_printed_for_people() {
        assert_eq!(decimal(999), "999 B");
        assert_eq!(decimal(91_800_000_000), "91.8 GB");
        assert_eq!(gigabytes(4_133_000_000_000), "4133 GB");
        assert_eq!(binary(1536), "1.5 KiB");
        assert_eq!(duration(0), "0 s");
        assert_eq!(duration(7384), "2 h 3 min");
        assert_eq!(duration(90_000), "1 d 1 h");
        assert_eq!(duration(3600), "1 h 0 min");
    }
}
