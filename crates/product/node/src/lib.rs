#![doc = include_str!("../README.md")]

mod backoff;
mod child;
mod documents;
mod error;
mod figures;
mod generations;
mod introductions;
mod orders;
mod parts;
mod plan;
mod process_entry;
pub mod replay_file;
mod resources;
mod service;
mod status;
mod stop;
mod supervisor;

pub use backoff::{Backoff, CRASH_LOOP_DEATHS, RestartPlan};
pub use documents::{
    DOCUMENT_LOOK, DocumentFileError, DocumentPlan, DocumentRole, DocumentWatch, Found, TakenDocument, read_document,
};
pub use error::NodeError;
pub use orders::{AskHandle, OrderHandle, OrderRefused, asks};
pub use parts::{PartPlan, Parts};
pub use plan::{
    HopPorts, KeptText, LaunchPlan, ListenerPlan, NodePlan, NodeRole, ProcessPlan, STOP_DEADLINE_DEFAULT, UdpPlan,
};
pub use process_entry::{Role, RunRole, process_main};
pub use status::{NodeStatus, ProcessState, ProcessStatus, StatusSource};
pub use stop::StopHandle;
pub use supervisor::{Beside, Supervisor, run_node};
