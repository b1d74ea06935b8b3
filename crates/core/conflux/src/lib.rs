#![doc = include_str!("../README.md")]

mod asked;
mod counter;
mod flight;
mod ids;
mod inbound;
mod intake;
mod join_point;
mod law;
mod leg;
mod loss;
mod message;
mod only_leg;
mod outbound;
mod reorder;
mod repeat;
mod schedule;
mod tunnel;

pub use asked::Asked;
pub use flight::{FLIGHT_CELLS_MAX, LegOutbound};
pub use ids::{DesiredUx, LEG_IDS, LegId, NONCE_LEN, Nonce, TunnelId};
pub use inbound::{Inbound, LATE_CELLS_MAX};
pub use join_point::{ENDED_MAX, First, JoinPoint, JoinPointConfig, TUNNELS_MAX, check_used};
pub use law::{LegControl, WINDOW_FIRST, WINDOW_MAX, WINDOW_MIN};
pub use leg::{Accepted, Building, Built, Circuit, Fault, Fresh, HOPS_MAX, LegEnd, LegState, PathError, Released};
pub use message::{ATTEMPTS_MAX, Attempt, LINK_VERSION, Message, MessageError, Refusal};
pub use only_leg::{DEBT_CELLS, DEBT_DELAY, OnlyLeg};
pub use outbound::{Outbound, SEND_TIMES_KEPT};
pub use reorder::{REORDER_BYTES_MAX, ReorderFigures};
pub use schedule::{COPIED_CELLS, COPY_SPREAD, START_AFTER, START_BATCH, START_CELLS, START_CLASS, Scheduler};
pub use tunnel::{
    AddLegError, LEG_BYTES, LEGS_MAX, LegFigures, LegsMemory, NotAccepted, Pace, Sharing, SlotUse, TUNNEL_EVENTS_MAX,
    Tunnel, TunnelConfig, TunnelEnd, TunnelEvent,
};

#[doc(hidden)]
pub mod fuzz;

/// A moment for virtual time to begin at; its value plays no part.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "an origin for virtual time")]
pub(crate) fn origin() -> std::time::Instant {
    std::time::Instant::now()
}
