//! What the rate has told, in two or three rows.

use super::{duration, row};
use crate::status::{Edges, LedgerMark, Privacy, Spent};

/// The rows of a direction whose rate follows the load.
pub(super) fn rows(out: &mut String, privacy: &Privacy) {
    if let Some(epsilon) = privacy.epsilon_each {
        let delta = privacy.delta.map_or(String::new(), |delta| format!(" at delta {delta:e}"));
        row(out, "privacy", &format!("epsilon {epsilon} for a client in an epoch of a direction{delta}"));
    }
    let window = privacy.window_s.map_or(String::new(), |seconds| format!(" in {}", duration(seconds)));
    for (name, spent) in [("up", privacy.up), ("down", privacy.down), ("both", privacy.together)] {
        if let Some(text) = spent.and_then(|spent| spent_text(spent, &window)) {
            row(out, "spent", &format!("{name}: {text}"));
        }
    }
    if let Some(LedgerMark { id, reservations }) = &privacy.ledger {
        row(out, "ledger", &format!("{}, {reservations} reservations", super::printable(id)));
    }
    if let Some(why) = &privacy.held {
        row(out, "budget", &super::printable(why));
    }
    if let Some(Edges { released, unpaid, without_noise, missed }) = privacy.edges {
        let text = format!("{released} released, {unpaid} unpaid, {without_noise} without noise, {missed} missed");
        row(out, "edges", &text);
    }
}

fn spent_text(spent: Spent, window: &str) -> Option<String> {
    let of = |limit: Option<f64>| limit.map_or(String::new(), |limit| format!(" of {limit}"));
    let (in_window, in_all) = (of(spent.window_limit), of(spent.lifetime_limit));
    if let (Some(now), Some(all)) = (spent.window_epsilon, spent.lifetime_epsilon) {
        return Some(format!("epsilon {now:.2}{in_window}{window}, {all:.2}{in_all} in all"));
    }
    let (now, all) = (spent.window_bits?, spent.lifetime_bits?);
    Some(format!("{now:.0}{in_window} bits{window}, {all:.0}{in_all} in all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dp_entry_and_a_stepped_one() {
        let spent = Spent { window_epsilon: Some(49.62), lifetime_epsilon: Some(70.0), ..Spent::default() };
        let edges = Edges { released: 720, unpaid: 1, without_noise: 0, missed: 2 };
        let privacy = Privacy {
            epsilon_each: Some(1.0),
            delta: Some(1e-6),
            window_s: Some(86_400),
            up: Some(spent),
            together: Some(spent),
            ledger: Some(LedgerMark { id: "0a1b".repeat(8), reservations: 1_234 }),
            held: Some("the limit of the window is reached until 12:00".into()),
            edges: Some(edges),
            ..Privacy::default()
        };
        let mut out = String::new();
        rows(&mut out, &privacy);
        let bits = Spent { window_bits: Some(576.0), lifetime_bits: Some(1_152.0), ..Spent::default() };
        let bits = Spent { window_limit: Some(600.0), lifetime_limit: Some(100_000.0), ..bits };
        rows(&mut out, &Privacy { down: Some(bits), window_s: Some(86_400), ..Privacy::default() });
        insta::assert_snapshot!(out);
    }
}
