//! What the log is for: applications that are the same on every member because they get the same entries in the same order.

use crate::ids::{AppId, Offset, SessionId};
use std::collections::BTreeMap;
use thiserror::Error;

mod kv;
mod log;
mod pingpong;

pub use kv::{Kv, KvRequest, KvResult};
pub use log::{Log, LogRequest};
pub use pingpong::PingPong;

/// The application of ordered topics, [`Log`].
pub const LOG: AppId = AppId(1);

/// The application of keys and values, [`Kv`].
pub const KV: AppId = AppId(2);

/// The application of the worked example, [`PingPong`].
pub const PING_PONG: AppId = AppId(3);

/// What an application may know beside the message: all of it is the same on every member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Context {
    /// The entry's place.
    pub offset: Offset,
    /// The log's time, in milliseconds since 1970 UTC: the greatest that a leader wrote before this entry; 0 before any.
    pub log_time_ms: u64,
    /// Whose message it is.
    pub session: SessionId,
}

/// Something for whoever watches a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// Which: a topic, a key.
    pub channel: Vec<u8>,
    /// Its number in the channel, from 0, without a gap.
    pub sequence: u64,
    /// What is said.
    pub body: Vec<u8>,
}

/// What a message did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// The answer for its client, at most [`crate::RESULT_BYTES_MAX`] bytes; a longer one is cut, on every member alike.
    pub result: Vec<u8>,
    /// For those who watch.
    pub notices: Vec<Notice>,
}

impl Output {
    /// An answer and nothing else.
    pub fn answer(result: impl Into<Vec<u8>>) -> Self {
        Self { result: result.into(), notices: Vec::new() }
    }
}

/// Bytes that are no state of the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the bytes are no state of this application")]
pub struct RestoreError;

/// An application of the log.
///
/// `apply` must be a function of the state, the context and the body alone: no clock, no randomness, no iteration of hash
/// maps. Members whose states differ find it at the end of the term and stop.
pub trait App: Send {
    /// Applies a message. A body that makes no sense gets an answer that says so, and changes nothing.
    fn apply(&mut self, context: Context, body: &[u8]) -> Output;

    /// Answers from the present state without an entry. Ask [`crate::Node::read`] first to read what is surely not old.
    fn query(&self, _request: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    /// The whole state as bytes, the same ones for the same state.
    fn snapshot(&self) -> Vec<u8>;

    /// Takes the whole state from such bytes.
    ///
    /// # Errors
    /// When they are none.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError>;
}

/// The applications of a node. Every member has the same.
pub type Apps = BTreeMap<AppId, Box<dyn App>>;

/// `log`, `kv` and `pingpong`.
pub fn built_in() -> Apps {
    let apps: [(AppId, Box<dyn App>); 3] =
        [(LOG, Box::<Log>::default()), (KV, Box::<Kv>::default()), (PING_PONG, Box::<PingPong>::default())];
    apps.into_iter().collect()
}
