//! What the wire carries beside what applications send: one line that changes, or one line every two seconds.

use crate::commands::demo::meter::Meter;
use crate::terminal;
use admin::render::decimal;
use admin::status::Status;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

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
