//! A network of relays on loopback beside one of C-tor, with the same servers and the same client of SOCKS5. Where tor is not
//! installed its rows stay out. One system rests while the other is measured.
//!
//! Targets are those for which this was built; each says whether it is met.

use super::Plan;

mod failures;
mod idle;
mod latency;
mod speed;
mod system;
mod tor;

pub(super) use failures::section as failures;
pub(super) use idle::section as idle;
pub(super) use latency::section as latency;
pub(super) use speed::{limited, unlimited};

/// Hops of every leg.
const HOPS: u8 = 3;

/// Bytes of a transfer that lasts about as long as the plan says at a guessed speed, 4 MB at least.
fn bytes_for(plan: &Plan, megabits_per_second: u64) -> u64 {
    (u64::from(plan.seconds) * megabits_per_second * 125_000).max(4_000_000)
}

/// A note for figures of a build that is not what anybody runs.
pub(super) fn profile_note() -> &'static str {
    if cfg!(debug_assertions) { "**Not the release profile: these figures say nothing about speed.**\n\n" } else { "" }
}
