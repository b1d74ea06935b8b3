//! Who may cost a responder work: rates, cookies, remembered ephemerals, links per source
//! (docs/spec/link.md, "Order of work").

mod cookies;
mod replays;
mod sources;

pub(crate) use cookies::{CookieJar, SECRET_LIFETIME};
pub(crate) use replays::{Cached, Replays};
pub(crate) use sources::{Source, Sources};

use std::time::{Duration, Instant};

/// Messages 1 a second above which a cookie is asked for.
pub(crate) const COOKIES_ABOVE: u32 = 500;
/// Handshakes a second that are worked on; the rest is dropped.
pub(crate) const HANDSHAKES_MAX: u32 = 2_000;

/// Counts events of the present second.
pub(crate) struct RateWindow {
    start: Option<Instant>,
    count: u32,
}

impl RateWindow {
    pub(crate) fn new() -> Self {
        Self { start: None, count: 0 }
    }

    /// Counts one event; how many there were in this second, this one included.
    pub(crate) fn count(&mut self, now: Instant) -> u32 {
        if self.start.is_none_or(|start| now.saturating_duration_since(start) >= Duration::from_secs(1)) {
            self.start = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn a_second_later_the_count_begins_again() {
        let start = Instant::now();
        let mut window = RateWindow::new();
        assert_eq!((window.count(start), window.count(start + Duration::from_millis(999))), (1, 2));
        assert_eq!(window.count(start + Duration::from_secs(1)), 1);
    }
}
