//! Ports and knocks of two ends that share a key and a clock: the stand-alone hopper (docs/spec/hops.md).
//!
//! UTC is cut into windows. The key makes the ports of each window; a server has those of three windows open and is
//! silent on them to all but a knock made with the key.

mod admission;
mod client;
mod knock;
mod replays;
mod schedule;
mod server;

pub use admission::{ADMITTED_MAX, Admission, Admitted, FLOW_PAIRS_MAX, IDLE_TIMEOUT};
pub use client::{Client, ClientConfig, ClientOutput, FromServer};
pub use knock::{
    ANSWER_LEN_MIN, Answer, FlowId, KNOCK_LEN_MAX, KNOCK_LEN_MIN, Knock, KnockKeys, KnockNonce, PairCounts, Purpose,
    SealedKnock,
};
pub use replays::{KNOCKS_A_WINDOW_MAX, Replays};
pub use schedule::{CLOSING_TIME, PORTS_A_WINDOW, PlannedWindow, Schedule, WINDOW, Window};
pub use server::{Datagram, Server};
