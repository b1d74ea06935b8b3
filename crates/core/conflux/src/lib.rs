#![doc = include_str!("../README.md")]

mod counter;
mod inbound;
mod leg;
mod outbound;

pub use inbound::{Inbound, LATE_CELLS_MAX};
pub use leg::{DEBT_CELLS, DEBT_DELAY, Leg};
pub use outbound::{Outbound, SEND_TIMES_KEPT};

/// A moment for virtual time to begin at; its value plays no part.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
pub(crate) fn origin() -> std::time::Instant {
    std::time::Instant::now()
}
