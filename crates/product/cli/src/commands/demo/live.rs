//! What the wire carries beside what applications send: one line that changes, or one line every two seconds.

use crate::terminal;
use admin::render::decimal;
use admin::status::Status;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A count with the time at which it was taken, and how fast it grows.
#[derive(Debug, Default)]
struct Meter {
    first: Option<u64>,
    last: Option<(u64, u64)>,
    per_second: Option<f64>,
}

impl Meter {
    /// A new count, taken at `at_ms`. A count of the same time says nothing new; a smaller one is of a new process.
    fn update(&mut self, at_ms: u64, count: u64) {
        self.first.get_or_insert(count);
        match self.last {
            Some((before_ms, _)) if at_ms <= before_ms => return,
            Some((before_ms, before)) if count >= before => {
                self.per_second = Some((count - before) as f64 * 1000.0 / (at_ms - before_ms) as f64);
            }
            _ => {}
        }
        self.last = Some((at_ms, count));
    }

    /// How much was counted since the first time.
    fn total(&self) -> u64 {
        match (self.first, self.last) {
            (Some(first), Some((_, last))) => last.saturating_sub(first),
            _ => 0,
        }
    }
}

/// The four meters and where they are shown.
pub(super) struct Live {
    terminal: bool,
    begun: Instant,
    packet_size: Option<u32>,
    up: Meter,
    down: Meter,
    sent: Meter,
    received: Meter,
    /// Whether the demo has begun a download of its own.
    pub(super) has_downloaded: bool,
}

impl Live {
    pub(super) fn new() -> Self {
        let meter = Meter::default;
        Self {
            terminal: std::io::stdout().is_terminal(),
            begun: Instant::now(),
            packet_size: None,
            up: meter(),
            down: meter(),
            sent: meter(),
            received: meter(),
            has_downloaded: false,
        }
    }

    /// How long this has been shown.
    pub(super) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Time until the next line.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs(if self.terminal { 1 } else { 2 })
    }

    /// Takes both nodes' states and shows a line.
    pub(super) fn update(&mut self, entry: &Status, exit: &Status, downloading: bool) {
        let now_ms = self.begun.elapsed().as_millis() as u64;
        let pairs = [
            (&mut self.up, entry, entry.counters.packets_sent, true),
            (&mut self.down, exit, exit.counters.packets_sent, true),
            (&mut self.sent, entry, entry.counters.application_bytes_in, false),
            (&mut self.received, entry, entry.counters.application_bytes_out, false),
        ];
        for (meter, status, count, sampled) in pairs {
            let at_ms = if sampled { status.counters.sampled_at_ms } else { None };
            if let Some(count) = count {
                meter.update(at_ms.unwrap_or(now_ms), count);
            }
        }
        self.packet_size = entry.counters.packet_size.or(self.packet_size);
        self.show(downloading);
    }

    fn show(&self, downloading: bool) {
        let line = self.line(downloading);
        // The line is replaced, and cut at the margin instead of wrapped.
        let text = if self.terminal { format!("\r\u{1b}[2K\u{1b}[?7l{line}\u{1b}[?7h") } else { format!("{line}\n") };
        terminal::say(&text);
    }

    /// Short enough for 80 columns.
    fn line(&self, downloading: bool) -> String {
        let packets = |meter: &Meter| meter.per_second.map_or("...".to_owned(), |rate| format!("{rate:.0}/s"));
        let bytes = |meter: &Meter| meter.per_second.map_or("...".to_owned(), |rate| decimal(rate as u64) + "/s");
        let size = self.packet_size.map_or(String::new(), |size| format!(", {size} bytes each"));
        let note = if downloading { " (demo's own)" } else { "" };
        format!(
            "wire: {} up, {} down{size} | apps: {} up, {} down{note}",
            packets(&self.up),
            packets(&self.down),
            bytes(&self.sent),
            bytes(&self.received),
        )
    }

    /// The sum of everything that was shown.
    pub(super) fn finish(&self) {
        let packets = self.up.total() + self.down.total();
        let wire = self.packet_size.map_or(String::new(), |size| format!(" = {}", decimal(packets * u64::from(size))));
        let (sent, received) = (decimal(self.sent.total()), decimal(self.received.total()));
        let end = if self.terminal { "\n" } else { "" };
        terminal::say(&format!(
            "{end}In {} s the wire carried {packets} packets{wire}; applications sent {sent} and received {received}.\n",
            self.age().as_secs(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_difference_over_the_time_of_the_counts() {
        let mut meter = Meter::default();
        meter.update(1000, 500);
        assert_eq!(meter.per_second, None, "one count makes no rate");
        meter.update(1000, 500);
        meter.update(3000, 2500);
        assert_eq!((meter.per_second, meter.total()), (Some(1000.0), 2000));
        meter.update(2000, 9000);
        assert_eq!(meter.per_second, Some(1000.0), "an older count says nothing");
        meter.update(4000, 10);
        meter.update(5000, 20);
        assert_eq!(meter.per_second, Some(10.0), "a new process starts again");
    }

    #[test]
    fn a_line_says_what_wire_and_applications_carry() {
        let mut live = Live::new();
        assert_eq!(live.line(false), "wire: ... up, ... down | apps: ... up, ... down", "unknown is not shown as 0");
        let (mut before, mut after) = (Status::default(), Status::default());
        before.counters = admin::status::Counters {
            sampled_at_ms: Some(500),
            packet_size: Some(1350),
            packets_sent: Some(7),
            ..Default::default()
        };
        after.counters =
            admin::status::Counters { sampled_at_ms: Some(1500), packets_sent: Some(1192), ..before.counters.clone() };
        live.update(&before, &before, false);
        live.update(&after, &after, false);
        let line = live.line(true);
        assert_eq!(line, "wire: 1185/s up, 1185/s down, 1350 bytes each | apps: ... up, ... down (demo's own)");
        assert!(line.len() <= 89, "{line}");
    }
}
