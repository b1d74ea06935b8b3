#![doc = include_str!("../README.md")]

mod alternatives;
mod directions;
mod effort;
mod error;
mod measured;
mod mechanism;
mod plan;
mod promises;
mod recommendation;
mod request;
mod solve;

pub use alternatives::{ConstantPlan, NetShaperPlan, NoNetShaper, SteppedPlan, UserBound};
pub use directions::Directions;
pub use effort::Effort;
pub use error::{PlanError, RequestError};
pub use measured::Performance;
pub use mechanism::{DirectionPlan, DpPlan};
pub use plan::{Plan, Simulated, USABLE, plan};
pub use promises::{Capacity, Horizon, Promises, Reacting};
pub use recommendation::{Reason, Recommendation, RecommendedMode};
pub use request::{
    BUSY_HOURS_MAX, CLIENTS_PLANNED_MAX, EPSILON_RANGE, Goal, LatencyTarget, ROUND_TRIP_MAX, Request, Statistic,
    Traffic, quota_for_speed,
};
