//! What the entry's tunnel does: one line that changes, or one line every two seconds.

use crate::commands::demo::meter::Meter;
use crate::terminal;
use admin::render::decimal;
use admin::status::{EntryTunnel, Leg, Status};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// What `status` says of a leg that carries cells.
const LINKED: &str = "linked";

/// When lines are shown, and what applications have sent and received.
pub(super) struct Live {
    is_terminal: bool,
    begun: Instant,
    next: Instant,
    sent: Meter,
    received: Meter,
    /// Packets of the entry, where a schedule decides about them.
    packets: Option<Meter>,
    cells: Cells,
}

impl Live {
    pub(super) fn new(is_shaped: bool) -> Self {
        let now = Instant::now();
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            begun: now,
            next: now,
            sent: Meter::default(),
            received: Meter::default(),
            packets: is_shaped.then(Meter::default),
            cells: Cells::new(),
        }
    }

    /// Whether it is time for a line.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    pub(super) fn show(&mut self, entry: &Status) {
        self.next = Instant::now() + Duration::from_millis(if self.is_terminal { 1_000 } else { 2_000 });
        let at_ms = self.begun.elapsed().as_millis() as u64;
        let counts = [
            (&mut self.sent, entry.counters.application_bytes_in),
            (&mut self.received, entry.counters.application_bytes_out),
        ];
        let packets = self.packets.as_mut().map(|meter| (meter, entry.counters.packets_sent));
        for (meter, count) in counts.into_iter().chain(packets) {
            if let Some(count) = count {
                meter.update(at_ms, count);
            }
        }
        let line = line(entry, &self.cells, self.sent.per_second, self.received.per_second);
        let wire = self.packets.as_ref().map(|meter| wire(meter.per_second)).unwrap_or_default();
        let line = wire + &line;
        self.cells = cells(entry);
        // The line is replaced, and cut at the margin instead of wrapped.
        let text =
            if self.is_terminal { format!("\r\u{1b}[2K\u{1b}[?7l{line}\u{1b}[?7h") } else { format!("{line}\n") };
        terminal::say(&text);
    }

    /// Ends the line and says the sum.
    pub(super) fn finish(&self) {
        let end = if self.is_terminal { "\n" } else { "" };
        let (seconds, sent, received) = (self.begun.elapsed().as_secs(), self.sent.total(), self.received.total());
        let (sent, received) = (decimal(sent), decimal(received));
        terminal::say(&format!("{end}In {seconds} s applications sent {sent} and received {received}.\n"));
    }
}

/// Whether the session is up and all its legs carry cells.
pub(in crate::commands::demo) fn is_whole(entry: &Status, legs: usize) -> bool {
    let linked = |tunnel: &EntryTunnel| tunnel.legs.iter().filter(|leg| leg.state == LINKED).count();
    entry.circuits.as_ref().is_some_and(|tunnel| tunnel.session_up && linked(tunnel) >= legs)
}

/// Cells of each leg so far.
type Cells = BTreeMap<u8, u64>;

fn cells(entry: &Status) -> Cells {
    let legs = entry.circuits.iter().flat_map(|tunnel| &tunnel.legs);
    legs.filter_map(|leg| Some((leg.number?, leg.data_cells + leg.received))).collect()
}

/// Packets a second that leave for the guards.
fn wire(packets: Option<f64>) -> String {
    let packets = packets.map_or("...".to_owned(), |rate| format!("{rate:.0}"));
    format!("wire: {packets} packets/s out | ")
}

/// `before` is what the last line knew of cells.
fn line(entry: &Status, before: &Cells, sent: Option<f64>, received: Option<f64>) -> String {
    let bytes = |rate: Option<f64>| rate.map_or("...".to_owned(), |rate| decimal(rate as u64) + "/s");
    let apps = format!("apps: {} up, {} down", bytes(sent), bytes(received));
    let Some(tunnel) = &entry.circuits else { return format!("no tunnel | {apps}") };
    let since = |leg: &Leg| {
        let number = leg.number?;
        Some((leg.data_cells + leg.received).saturating_sub(before.get(&number).copied().unwrap_or(0)))
    };
    let all: u64 = tunnel.legs.iter().filter_map(since).sum();
    let legs: Vec<String> = tunnel.legs.iter().map(|leg| leg_text(leg, since(leg), all)).collect();
    format!("{} | {apps}", legs.join("; "))
}

/// One leg; `cells` of `all` since the last line were its own.
pub(in crate::commands::demo) fn leg_text(leg: &Leg, cells: Option<u64>, all: u64) -> String {
    let Some(number) = leg.number else { return format!("a leg is {}", leg.state) };
    let rtt = leg.rtt_us.map_or("...".to_owned(), |us| format!("{:.1} ms", us as f64 / 1000.0));
    let share = cells.filter(|_| all > 0).map_or(String::new(), |cells| format!(", {} %", cells * 100 / all));
    let state = if leg.state == LINKED { String::new() } else { format!(" {}", leg.state) };
    format!("leg {number}{state}: {rtt}{share}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_each_leg_carries() {
        let leg = |number, state: &str, received| Leg {
            number,
            state: state.to_owned(),
            rtt_us: number.map(|_| 1_234),
            received,
            ..Leg::default()
        };
        let legs = vec![leg(Some(0), "linked", 40), leg(Some(1), "silent", 70), leg(None, "building", 0)];
        let tunnel = EntryTunnel { session_up: true, legs, ..EntryTunnel::default() };
        let status = Status { circuits: Some(tunnel), ..Status::default() };
        let before = Cells::from([(0, 10), (1, 60)]);
        assert_eq!(
            line(&status, &before, None, Some(5_000_000.0)),
            "leg 0: 1.2 ms, 75 %; leg 1 silent: 1.2 ms, 25 %; a leg is building | apps: ... up, 5.0 MB/s down"
        );
        assert_eq!(line(&status, &cells(&status), None, None).matches('%').count(), 0, "nothing was carried");
        assert!(is_whole(&status, 1) && !is_whole(&status, 2));
        assert_eq!(line(&Status::default(), &before, None, None), "no tunnel | apps: ... up, ... down");
    }
}
