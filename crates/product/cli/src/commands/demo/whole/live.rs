//! A table of all nodes that changes, or one line every two seconds where the output is no terminal.

use super::nodes::{Machine, Nodes};
use super::sight::Sight;
use crate::commands::demo::circuits::{is_linked, leg_text};
use crate::commands::demo::meter::Meter;
use crate::terminal;
use admin::render::decimal;
use admin::status::EntryTunnel;
use local_network::{Kind, Node};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Columns of what a node does, so that a row has 80.
const DOES: usize = 54;

/// When it is shown, and what was counted.
pub(super) struct Live {
    is_terminal: bool,
    begun: Instant,
    next: Instant,
    /// Rows that the table had when it was shown last.
    rows: usize,
    sent: Meter,
    received: Meter,
    packets: Meter,
    exit_packets: Meter,
}

impl Live {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let meter = Meter::default;
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            begun: now,
            next: now,
            rows: 0,
            sent: meter(),
            received: meter(),
            packets: meter(),
            exit_packets: meter(),
        }
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    pub(super) fn show(&mut self, nodes: &Nodes, sight: &Sight) {
        self.next = Instant::now() + Duration::from_millis(if self.is_terminal { 1_000 } else { 2_000 });
        self.count(nodes, sight);
        let is_first = self.rows == 0;
        if self.is_terminal || is_first {
            let table = self.table(nodes, sight);
            let mut text = String::new();
            if !is_first {
                // Back to the first row.
                let _ = write!(text, "\u{1b}[{}A", self.rows);
            }
            for row in &table {
                // A row is replaced, and cut at the margin instead of wrapped.
                let _ = if self.is_terminal {
                    writeln!(text, "\r\u{1b}[2K\u{1b}[?7l{row}\u{1b}[?7h")
                } else {
                    writeln!(text, "{row}")
                };
            }
            self.rows = table.len();
            terminal::say(&text);
        }
        if !self.is_terminal {
            terminal::say(&(self.line(nodes, sight) + "\n"));
        }
    }

    /// The sum of everything that was shown.
    pub(super) fn finish(&self) {
        let (seconds, sent, received) = (self.begun.elapsed().as_secs(), self.sent.total(), self.received.total());
        let (sent, received, packets) = (decimal(sent), decimal(received), self.packets.total());
        terminal::say(&format!(
            "\nIn {seconds} s the entry sent {packets} packets; applications sent {sent} and received {received}.\n"
        ));
    }

    fn count(&mut self, nodes: &Nodes, sight: &Sight) {
        let now_ms = self.begun.elapsed().as_millis() as u64;
        let first = |kind| nodes.iter().find(|machine| machine.about.kind == kind);
        let status = |kind| sight.statuses.get(&first(kind)?.about.name);
        let (entry, exit) = (status(Kind::Entry), status(Kind::Exit));
        let counts = [
            (&mut self.sent, entry.and_then(|status| status.counters.application_bytes_in)),
            (&mut self.received, entry.and_then(|status| status.counters.application_bytes_out)),
        ];
        for (meter, count) in counts {
            count.into_iter().for_each(|count| meter.update(now_ms, count));
        }
        for (meter, status) in [(&mut self.packets, entry), (&mut self.exit_packets, exit)] {
            let Some(counters) = status.map(|status| &status.counters) else { continue };
            if let Some(count) = counters.packets_sent {
                meter.update(counters.sampled_at_ms.unwrap_or(now_ms), count);
            }
        }
    }

    fn table(&self, nodes: &Nodes, sight: &Sight) -> Vec<String> {
        let mut rows = vec![row("", "IS", "DOES", "PROCESS")];
        let tunnel = tunnel(sight);
        for machine in nodes.iter() {
            let does = match machine.restart_at() {
                Some(at) => format!("gone; comes back in {} s", at.saturating_duration_since(Instant::now()).as_secs()),
                None => self.does(machine, sight, tunnel.as_ref()),
            };
            let pid = machine.pid().map_or("none".to_owned(), |pid| pid.to_string());
            rows.push(row(&machine.about.name, word(machine.about.kind), &does, &pid));
        }
        rows
    }

    /// What a node that runs does.
    fn does(&self, machine: &Machine, sight: &Sight, tunnel: Option<&Used<'_>>) -> String {
        let Node { kind, name, id, .. } = &machine.about;
        let does = match kind {
            Kind::Member => Some(member(sight, name)),
            Kind::Relay => None,
            Kind::Exit => Some(format!("{} out", rate(&self.exit_packets))),
            Kind::Entry => Some(format!("{} out | {}", rate(&self.packets), self.programs())),
            Kind::Service => Some(service(sight, name)),
        };
        let place = id.as_ref().and_then(|id| tunnel?.place(id));
        match (does, place) {
            (Some(does), Some(place)) => format!("{does}; {place}"),
            (Some(does), None) => does,
            (None, Some(place)) => place,
            (None, None) => "ready".to_owned(),
        }
    }

    /// What applications send and receive.
    fn programs(&self) -> String {
        format!("apps: {} up, {} down", bytes(&self.sent), bytes(&self.received))
    }

    fn line(&self, nodes: &Nodes, sight: &Sight) -> String {
        let legs: Vec<String> = match tunnel(sight) {
            Some(Used(tunnel)) => tunnel.legs.iter().map(|leg| leg_text(leg, None, 0)).collect(),
            None => vec!["no tunnel".to_owned()],
        };
        let gone = nodes.iter().filter(|machine| machine.pid().is_none()).map(|machine| machine.about.name.as_str());
        let gone: Vec<&str> = gone.collect();
        let gone = if gone.is_empty() { String::new() } else { format!(" | gone: {}", gone.join(", ")) };
        format!(
            "wire: {} out | {} | {} | {}{gone}",
            rate(&self.packets),
            legs.join("; "),
            self.programs(),
            edition(sight)
        )
    }
}

fn row(name: &str, is: &str, does: &str, process: &str) -> String {
    format!("{name:<3} {is:<7} {does:<DOES$.DOES$} {process:>8}")
}

fn rate(meter: &Meter) -> String {
    meter.per_second.map_or("...".to_owned(), |rate| format!("{rate:.0} packets/s"))
}

fn bytes(meter: &Meter) -> String {
    meter.per_second.map_or("...".to_owned(), |rate| decimal(rate as u64) + "/s")
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Member => "member",
        Kind::Relay => "relay",
        Kind::Exit => "exit",
        Kind::Entry => "entry",
        Kind::Service => "service",
    }
}

/// Who leads the members, by the newest term that anybody knows.
pub(super) fn leader(sight: &Sight) -> Option<&str> {
    let leads = sight.clusters.iter().filter(|(_, status)| status.leads);
    leads.max_by_key(|(_, status)| status.term).map(|(name, _)| name.as_str())
}

fn service(sight: &Sight, name: &str) -> String {
    let services = sight.statuses.get(name).and_then(|status| status.services.as_ref());
    match services.and_then(|services| services.list.first()) {
        Some(of) if of.published_for_s.is_some() => {
            format!("waits at {} relays, {} clients", of.points, of.tunnels)
        }
        Some(of) => format!("waits at {} relays, not published yet", of.points),
        None => "starting".to_owned(),
    }
}

fn member(sight: &Sight, name: &str) -> String {
    match sight.clusters.get(name) {
        Some(_) if leader(sight) == Some(name) => format!("leads, {}", edition(sight)),
        Some(status) => format!("follows, {} entries in its log", status.next),
        None => "starting".to_owned(),
    }
}

fn edition(sight: &Sight) -> String {
    match &sight.directory {
        Some((standing, members)) => format!("edition {}, {} relays", standing.published.index, members.described),
        None => "no edition is known".to_owned(),
    }
}

/// The entry's tunnel.
pub(super) struct Used<'a>(&'a EntryTunnel);

/// The tunnel of the first entry that has one.
pub(super) fn tunnel(sight: &Sight) -> Option<Used<'_>> {
    sight.statuses.values().find_map(|status| status.circuits.as_ref()).map(Used)
}

impl Used<'_> {
    /// Where a node stands on the entry's tunnel.
    pub(super) fn place(&self, id: &str) -> Option<String> {
        let mut legs = self.0.legs.iter().filter_map(|leg| Some((leg.path.iter().position(|hop| hop == id)?, leg)));
        let (position, leg) = legs.next()?;
        let of = match (legs.count(), leg.number) {
            (0, Some(number)) => format!("leg {number}"),
            (0, None) => "a new leg".to_owned(),
            (more, _) => format!("{} legs", more + 1),
        };
        let rtt = leg.rtt_us.map_or(String::new(), |us| format!(", {:.1} ms", us as f64 / 1_000.0));
        Some(match position {
            0 => format!("guard of {of}{rtt}"),
            _ if position + 1 == leg.path.len() => format!("exit of {of}"),
            _ => format!("middle of {of}"),
        })
    }
}

/// Whether the tunnel is up with so many legs.
pub(super) fn is_whole(sight: &Sight, legs: usize) -> bool {
    sight.statuses.values().any(|status| is_linked(status, legs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::cluster::ClusterStatus;
    use admin::status::{Leg, Status};

    fn sight() -> Sight {
        let leg = |number, path: [&str; 3]| Leg {
            number: Some(number),
            path: path.map(str::to_owned).to_vec(),
            rtt_us: Some(2_345),
            ..Leg::default()
        };
        let legs = vec![leg(0, ["g", "m", "x"]), leg(1, ["h", "n", "x"])];
        let tunnel = EntryTunnel { legs, session_up: true, ..EntryTunnel::default() };
        let mut sight = Sight::default();
        sight.statuses.insert("x0".into(), Status::default());
        sight.statuses.insert("e0".into(), Status { circuits: Some(tunnel), ..Status::default() });
        let member = |term, leads, next| ClusterStatus { term, leads, next, ..ClusterStatus::default() };
        sight.clusters.insert("d0".into(), member(1, true, 30));
        sight.clusters.insert("d1".into(), member(2, true, 41));
        sight.clusters.insert("d2".into(), member(2, false, 40));
        sight
    }

    #[test]
    fn a_row_says_where_a_node_stands() {
        let sight = sight();
        let tunnel = tunnel(&sight).expect("the entry has one");
        let place = |id| tunnel.place(id);
        assert_eq!(place("g").as_deref(), Some("guard of leg 0, 2.3 ms"));
        assert_eq!(place("n").as_deref(), Some("middle of leg 1"));
        assert_eq!(place("x").as_deref(), Some("exit of 2 legs"));
        assert_eq!(place("other"), None);
    }

    #[test]
    fn of_two_who_believe_that_they_lead_the_one_of_the_later_term_does() {
        let sight = sight();
        assert_eq!(leader(&sight), Some("d1"));
        assert_eq!(member(&sight, "d0"), "follows, 30 entries in its log");
        assert_eq!(member(&sight, "d1"), "leads, no edition is known");
        assert_eq!(member(&sight, "d9"), "starting");
    }

    #[test]
    fn rows_have_the_width_of_a_terminal() {
        let long = row("d10", "member", &"what it does ".repeat(9), "1234567");
        assert_eq!(long.chars().count(), row("", "IS", "DOES", "PROCESS").chars().count());
        assert!(long.len() <= 79 && long.ends_with(" 1234567"), "{long}");
    }
}
