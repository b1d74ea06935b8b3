#![doc = include_str!("../README.md")]

pub mod accountant;
mod breaker;
mod class;
mod dp;
mod edge;
mod grants;
mod grid;
pub mod ledger;
mod noise;
mod queue;
mod quota;
mod rate;
mod release;
mod stepped;

pub use breaker::{Breaker, DOWN_EDGE_S, LOSS_BOUND_PER_MILLE, UP_EDGE_S};
pub use class::{RangeError, RateClass};
pub use dp::{DpError, DpParameters, DpSchedule, DpSettings, EpochEnd, Outcome, Per1024, Release, floor_for_reverse};
pub use grants::GrantBook;
pub use grid::{Grid, SlotLength};
pub use noise::{Noise, NoiseGenerator, NoiseSeed, ReadyNoise, SeedError, Sigma, SigmaError};
pub use queue::{
    DecisionDue, QUEUE_CELLS_PER_SLOT_MAX, QueueError, QueueOutcome, QueueParameters, QueueSchedule, QueueSettings,
    SendingStrategy,
};
pub use quota::{CLIENTS_MAX, ClientNumber, Quota};
pub use rate::CellRate;
pub use release::{Held, ReleaseCounts};
pub use stepped::{STEPPED_CLASSES_MAX, StepEdge, Stepped, SteppedError, SteppedParameters};
