//! What the entry's tunnel does: one line that changes, or one line every two seconds.

use crate::commands::demo::meter::Meter;
use crate::terminal;
use admin::render::decimal;
use admin::status::Status;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// When lines are shown, and what applications have sent and received.
pub(super) struct Live {
    is_terminal: bool,
    begun: Instant,
    next: Instant,
    sent: Meter,
    received: Meter,
}

impl Live {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            is_terminal: std::io::stdout().is_terminal(),
            begun: now,
            next: now,
            sent: Meter::default(),
            received: Meter::default(),
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
        for (meter, count) in counts {
            if let Some(count) = count {
                meter.update(at_ms, count);
            }
        }
        let line = line(entry, self.sent.per_second, self.received.per_second);
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

fn line(entry: &Status, sent: Option<f64>, received: Option<f64>) -> String {
    let bytes = |rate: Option<f64>| rate.map_or("...".to_owned(), |rate| decimal(rate as u64) + "/s");
    format!("apps: {} up, {} down | {} links", bytes(sent), bytes(received), entry.links.len())
}
