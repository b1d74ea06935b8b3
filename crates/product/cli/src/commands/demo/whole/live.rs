//! A table of all nodes that changes, or one line every two seconds where the output is no terminal.

use super::nodes::{Machine, Nodes};
use super::sight::Sight;
use crate::commands::demo::circuits::{is_linked, leg_text};
use crate::commands::demo::meter::Meter;
use crate::terminal;
use admin::render::decimal;
use admin::status::{EntryTunnel, Leg, Link};
use local_network::{Kind, Node};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Columns of what a node does, so that a row has 80.
const DOES: usize = 52;

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
        let mut rows = vec![format!("{:<3} {:<7} {:<DOES$} {:>8}", "", "IS", "DOES", "PROCESS")];
        let tunnel = tunnel(sight);
        for machine in nodes.iter() {
            let does = match machine.restart_at() {
                Some(at) => format!("gone; comes back in {} s", at.saturating_duration_since(Instant::now()).as_secs()),
                None => self.does(machine, sight, tunnel.as_ref()),
            };
            let pid = machine.pid().map_or("none".to_owned(), |pid| pid.to_string());
            let Node { name, kind, .. } = &machine.about;
            rows.push(format!("{name:<3} {:<7} {does:<DOES$} {pid:>8}", word(*kind)));
        }
        rows
    }

    /// What a node that runs does.
    fn does(&self, machine: &Machine, sight: &Sight, tunnel: Option<&Used<'_>>) -> String {
        let Node { kind, name, id, .. } = &machine.about;
        let mut does = match kind {
            Kind::Member => member(sight, name),
            Kind::Relay => String::new(),
            Kind::Exit => format!("{} out", rate(&self.exit_packets)),
            Kind::Entry => format!(
                "{} out, {} in and {} out for programs",
                rate(&self.packets),
                bytes(&self.received),
                bytes(&self.sent)
            ),
        };
        let place = id.as_ref().and_then(|id| tunnel?.place(id));
        match place {
            Some(place) if does.is_empty() => does = place,
            Some(place) => does = format!("{place}; {does}"),
            None if does.is_empty() => does.push_str("ready"),
            None => {}
        }
        does
    }

    fn line(&self, nodes: &Nodes, sight: &Sight) -> String {
        let legs: Vec<String> = match tunnel(sight) {
            Some(Used { tunnel, .. }) => tunnel.legs.iter().map(|leg| leg_text(leg, None, 0)).collect(),
            None => vec!["no tunnel".to_owned()],
        };
        let gone = nodes.iter().filter(|machine| machine.pid().is_none()).map(|machine| machine.about.name.as_str());
        let gone: Vec<&str> = gone.collect();
        let gone = if gone.is_empty() { String::new() } else { format!(" | gone: {}", gone.join(", ")) };
        format!(
            "wire: {} out | {} | apps: {} up, {} down | {}{gone}",
            rate(&self.packets),
            legs.join("; "),
            bytes(&self.sent),
            bytes(&self.received),
            edition(sight)
        )
    }
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
    }
}

/// Who leads the members, by the newest term that anybody knows.
pub(super) fn leader(sight: &Sight) -> Option<&str> {
    let leads = sight.clusters.iter().filter(|(_, status)| status.leads);
    leads.max_by_key(|(_, status)| status.term).map(|(name, _)| name.as_str())
}

fn member(sight: &Sight, name: &str) -> String {
    match sight.clusters.get(name) {
        Some(_) if leader(sight) == Some(name) => format!("leads; {}", edition(sight)),
        Some(status) => format!("follows; {} entries in its log", status.next),
        None => "starting".to_owned(),
    }
}

fn edition(sight: &Sight) -> String {
    match &sight.directory {
        Some((standing, members)) => format!("edition {}, {} relays", standing.published.index, members.described),
        None => "no edition is known".to_owned(),
    }
}

/// The entry's tunnel and its links.
pub(super) struct Used<'a> {
    tunnel: &'a EntryTunnel,
    links: &'a [Link],
}

/// The tunnel of the first entry that has one.
pub(super) fn tunnel(sight: &Sight) -> Option<Used<'_>> {
    let mut used = sight.statuses.values();
    used.find_map(|status| Some(Used { tunnel: status.circuits.as_ref()?, links: &status.links }))
}

impl Used<'_> {
    /// Where a node stands on the entry's tunnel.
    pub(super) fn place(&self, id: &str) -> Option<String> {
        let legs: Vec<(usize, &Leg)> =
            self.tunnel.legs.iter().filter_map(|leg| Some((leg.path.iter().position(|hop| hop == id)?, leg))).collect();
        let (position, leg) = legs.first()?;
        let of = match legs.len() {
            1 => leg.number.map_or("a new leg".to_owned(), |number| format!("leg {number}")),
            count => format!("{count} legs"),
        };
        let rtt = leg.rtt_us.map_or(String::new(), |us| format!(", {:.1} ms to the exit", us as f64 / 1_000.0));
        Some(match position {
            0 => format!("guard of {of}{rtt}{}", self.port(id)),
            _ if position + 1 == leg.path.len() => format!("exit of {of}"),
            _ => format!("middle of {of}"),
        })
    }

    /// At which port of the guard the entry's link is.
    fn port(&self, guard: &str) -> String {
        let link = self.links.iter().find(|link| guard.starts_with(link.peer.trim_end_matches('…')));
        link.and_then(|link| link.hops.as_ref())
            .map_or(String::new(), |hops| format!("; port {}, hop {}", hops.remote_port, hops.hops))
    }
}

/// Whether the tunnel is up with so many legs.
pub(super) fn is_whole(sight: &Sight, legs: usize) -> bool {
    sight.statuses.values().any(|status| is_linked(status, legs))
}
