//! How long a tunnel took to build, by the entry's log.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// What the log says when the process with the links begins.
const BEGINS: &str = "process serves process=\"shaped-client\"";
/// What it says of each leg, and of the session.
const DONE: [&str; 2] = ["a leg is in use", "session up"];

/// From the last beginning in a log to the session and `legs` legs; `None` if they are not there.
pub(super) fn built(log: &str, legs: usize) -> Option<Duration> {
    let lines: Vec<&str> = log.lines().collect();
    let begins = lines.iter().rposition(|line| line.contains(BEGINS))?;
    let mut done = lines[begins..].iter().filter(|line| DONE.iter().any(|what| line.contains(what)));
    let last = done.nth(legs)?;
    let (from, to) = (moment(lines[begins])?, moment(last)?);
    Some(if to < from { to + DAY - from } else { to - from })
}

/// The time of day at the beginning of a line: `2026-11-29T10:20:30.123456Z`.
fn moment(line: &str) -> Option<Duration> {
    let time = line.split_whitespace().next()?.split('T').nth(1)?.strip_suffix('Z')?;
    let mut parts = time.split(':');
    let (hours, minutes) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    let seconds: f64 = parts.next()?.parse().ok().filter(|seconds| (0.0..61.0).contains(seconds))?;
    Some(Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_beginning_counts_to_the_last_leg() {
        let log = "2026-11-29T10:00:00.000000Z INFO process serves process=\"shaped-client\"\n\
                   2026-11-29T10:00:09.000000Z INFO a leg is in use leg=0\n\
                   2026-11-29T23:59:59.990000Z INFO process serves process=\"shaped-client\"\n\
                   2026-11-29T23:59:59.995000Z INFO a leg is in use leg=0\n\
                   2026-11-30T00:00:00.000500Z INFO session up\n\
                   2026-11-30T00:00:00.001500Z INFO a leg is in use leg=1\n\
                   2026-11-30T00:00:07.000000Z INFO a leg is in use leg=2\n";
        let time = built(log, 2).expect("two legs and the session");
        assert!(time.abs_diff(Duration::from_micros(11_500)) < Duration::from_micros(2), "{time:?}");
        assert_eq!(built(log, 4), None);
        assert_eq!(built("nothing", 1), None);
        assert_eq!(moment("2026-11-29T10:00:99.0Z INFO"), None);
    }
}
