//! The row about a link's pair of ports.

use super::{UNKNOWN, decimal, duration, printable};
use crate::status::Hops;

/// `7 so far; port 15210 to 31234 for 12 s, 3.4 MB; last: interval over, loss; held blocked: 21000`.
pub(super) fn text(hops: &Hops) -> String {
    let local = hops.local_port.map_or(UNKNOWN.to_owned(), |port| port.to_string());
    let (age, bytes) = (duration(hops.age_ms / 1000), decimal(hops.bytes));
    let mut text = format!("{} so far; port {local} to {} for {age}, {bytes}", hops.hops, hops.remote_port);
    if !hops.causes.is_empty() {
        let causes: Vec<String> = hops.causes.iter().map(|cause| printable(cause)).collect();
        text = format!("{text}; last: {}", causes.join(", "));
    }
    if !hops.blocked.is_empty() {
        let ports: Vec<String> = hops.blocked.iter().map(u16::to_string).collect();
        text = format!("{text}; held blocked: {}", ports.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_says_where_since_when_and_why() {
        let mut hops = Hops { hops: 7, remote_port: 31_234, age_ms: 12_900, bytes: 3_410_000, ..Hops::default() };
        assert_eq!(text(&hops), "7 so far; port unknown to 31234 for 12 s, 3.4 MB");
        hops.local_port = Some(15_210);
        hops.causes = ["interval over", "lo\u{1b}ss"].map(String::from).to_vec();
        hops.blocked = vec![21_000, 21_001];
        let row = text(&hops);
        assert!(row.starts_with("7 so far; port 15210 to 31234 for 12 s, 3.4 MB; last: interval over, lo"), "{row}");
        assert!(row.ends_with("; held blocked: 21000, 21001") && !row.contains('\u{1b}'), "{row}");
    }
}
