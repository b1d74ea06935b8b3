//! A network of relays on loopback beside one of C-tor, with the same servers and the same client of SOCKS5. Where tor is not
//! installed its rows stay out. One system rests while the other is measured.
//!
//! Targets are those for which this was built; each says whether it is met.

use super::Plan;
use super::table::{Samples, at_most};

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

/// Whether a figure keeps a bound; and where C-tor ran beside, whether it keeps the bound's share of C-tor's. How fast a machine is decides
/// about both alike.
fn at_most_beside_tor(own: &Samples, most: f64, tor: &Samples, most_of_tor: f64) -> String {
    let absolute = at_most(own.median(), most, 0);
    if tor.median() == 0.0 {
        return absolute;
    }
    let share = own.median() / tor.median();
    format!("{absolute}, {share:.2} of C-tor's {}", at_most(share, most_of_tor, 2))
}

/// A note for figures of a build that is not what anybody runs.
pub(super) fn profile_note() -> &'static str {
    if cfg!(debug_assertions) { "**Not the release profile: these figures say nothing about speed.**\n\n" } else { "" }
}
