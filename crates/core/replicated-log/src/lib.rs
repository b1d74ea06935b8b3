#![doc = include_str!("../README.md")]

pub mod apps;
mod checkpoint;
mod checksum;
mod engine;
mod entry;
mod frame;
mod ids;
mod machine;
mod node;
pub mod record;
mod replay;
mod timers;

pub use checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, CheckpointError, CheckpointHash, Members, MembersError};
pub use engine::{FRAME_BYTES_MAX, LogReader, ReadError};
pub use entry::{BODY_BYTES_MAX, Change, Command, Entry, EntryError};
pub use frame::{Frame, FrameError, Kind};
pub use ids::{AppId, ClusterId, LogIndex, Now, Offset, Sequence, SessionEpoch, SessionId, SessionIdError, Term};
pub use machine::{
    Applied, Machine, OpenRefusal, Outcome, RESULT_BYTES_MAX, RESULTS_KEPT, SESSION_IDLE_MS, SESSION_OPEN_WINDOW_MS,
    SESSIONS_MAX, SubmitRefusal,
};
pub use node::{
    Event, Fatal, Node, OpenError, Outgoing, Released, Status, SubmitError, Token, TuneError, Tuning, Turn, Unsynced,
    Write,
};
pub use replay::{Replay, ReplayError};
pub use timers::Timers;

#[doc(hidden)]
pub mod fuzz {
    //! The fuzz bodies of the decoders: run by libFuzzer and, over the committed corpora, by `cargo test`.

    pub use crate::frame::fuzz::frame;
    pub use crate::record::fuzz::log_file;
}
