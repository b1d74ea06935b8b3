#![doc = include_str!("../README.md")]

mod counter;
mod inbound;
mod leg;
mod outbound;

pub use inbound::{Inbound, LATE_CELLS_MAX};
pub use leg::{DEBT_CELLS, DEBT_DELAY, Leg};
pub use outbound::{Outbound, SEND_TIMES_KEPT};
