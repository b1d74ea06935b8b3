//! What a node refused or dropped, by reason: for `status`, and in a line of the log when there is more of it.

use node::NodeStatus;
use shaped_tunnel::ShapedStatus;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time between two lines, however much is refused.
const LINE_EVERY: Duration = Duration::from_secs(60);
/// Refusals of requests, as the ingress counts them among the ends of its connections.
const REQUESTS: [&str; 11] = [
    "unknown_protocol",
    "wrong_version",
    "no_login",
    "wrong_login",
    "command_not_served",
    "not_a_destination",
    "wrong_service_name",
    "malformed_request",
    "request_too_long",
    "request_timed_out",
    "request_abandoned",
];

/// Counts by reason, since the processes were started.
pub(crate) type Refusals = BTreeMap<String, u64>;

/// Everything that was thrown away or refused, by reason.
pub(crate) fn refusals(node: &NodeStatus, shaped: Option<&ShapedStatus>) -> Refusals {
    let mut refusals = Refusals::new();
    let mut add = |name: &str, count: u64| {
        if count > 0 {
            let sum = refusals.entry(name.to_owned()).or_insert(0);
            // The processes say what they like; the supervisor outlives it.
            *sum = sum.saturating_add(count);
        }
    };
    if let Some(shaped) = shaped {
        for (name, count) in &shaped.node.counters {
            if let Some(reason) = name.strip_prefix("dropped_") {
                add(&words(reason), *count);
            }
        }
        for name in ["bad_cells", "unknown_circuit", "stale_messages", "datagrams_dropped"] {
            add(&words(name), shaped.node.counters.get(name).copied().unwrap_or(0));
        }
        add("path too narrow", shaped.too_narrow);
    }
    if let Some(slots) = shaped.and_then(|shaped| shaped.slots.as_ref()) {
        add("kernel buffer full", slots.blocked);
        add("no route", slots.unreachable);
        add("refused by the system", slots.failed);
    }
    let unshaped = |pointer: &str| node.unshaped.body.as_ref()?.pointer(pointer)?.as_u64();
    add("datagrams dropped", unshaped("/datagrams_dropped").unwrap_or(0));
    add("silent clients closed", unshaped("/half_open_evicted").unwrap_or(0));
    for name in REQUESTS {
        add(&format!("client: {}", words(name)), unshaped(&format!("/ended/{name}")).unwrap_or(0));
    }
    refusals
}

/// Decides when refusals are worth a line.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    said: Refusals,
    last: Option<Instant>,
}

impl RefusalLog {
    /// What came since the last line, if there is something and the last line is old enough.
    pub(crate) fn poll_line(&mut self, now: Instant, refusals: Refusals) -> Option<String> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LINE_EVERY) {
            return None;
        }
        let news = refusals.iter().filter_map(|(reason, count)| {
            let said = self.said.get(reason).copied().unwrap_or(0);
            // A process that was started again counts from zero.
            let more = if *count >= said { count - said } else { *count };
            (more > 0).then(|| format!("{reason} {more}"))
        });
        let news: Vec<String> = news.collect();
        self.said = refusals;
        if news.is_empty() {
            return None;
        }
        self.last = Some(now);
        Some(news.join(", "))
    }
}

/// `WrongSize` and `wrong_size` as `wrong size`.
fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        match letter {
            '_' => out.push(' '),
            upper if upper.is_ascii_uppercase() => {
                if !out.is_empty() {
                    out.push(' ');
                }
                out.push(upper.to_ascii_lowercase());
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Refusals {
        counts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }

    #[test]
    fn lines_say_what_is_new_and_are_a_minute_apart() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        assert_eq!(log.poll_line(start, counts(&[])), None);
        let line = log.poll_line(start, counts(&[("stranger", 3), ("wrong size", 1)]));
        assert_eq!(line.as_deref(), Some("stranger 3, wrong size 1"));
        assert_eq!(log.poll_line(start + LINE_EVERY / 2, counts(&[("stranger", 9), ("wrong size", 1)])), None);
        let line = log.poll_line(start + LINE_EVERY, counts(&[("stranger", 9), ("wrong size", 1)]));
        assert_eq!(line.as_deref(), Some("stranger 6"));
        let restarted = log.poll_line(start + 2 * LINE_EVERY, counts(&[("stranger", 2)]));
        assert_eq!(restarted.as_deref(), Some("stranger 2"));
    }

    #[test]
    fn names_become_words() {
        assert_eq!(words("ReplayedHandshake"), "replayed handshake");
        assert_eq!(words("stale_messages"), "stale messages");
    }
}
