//! What a session tells its caller.

use crate::flow::FlowId;
use bytes::Bytes;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use wire::flow::{ResetReason, Syn};
use wire::grant::Grant;
use wire::read::DecodeError;

/// Something happened. At most one of each kind waits per flow, datagrams apart, so the queue is bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// The handshake is done and the other end is the pinned node. A server may still refuse the client: then
    /// `Closed` follows within a round trip.
    Connected {
        /// Measured in the handshake.
        rtt: Duration,
    },
    /// The session is over, and all its flows with it. Nothing follows.
    Closed(CloseReason),
    /// Server: the client opened a flow.
    FlowOpened(FlowId, Syn),
    /// Client: the destination answered; the address is the exit's own end.
    FlowConnected(FlowId, SocketAddr),
    /// There may be something to `read`, its end included. Read until `read` gives less than it was asked for,
    /// or remember that there is more.
    Readable(FlowId),
    /// A `write` that took less than it was given may now take more.
    Writable(FlowId),
    /// The other end reset the flow. It is gone: calls that name it do nothing.
    FlowReset(FlowId, ResetReason),
    /// A datagram flow's record.
    Datagram(FlowId, Bytes),
    /// Server: leave to release measurements. At most [`GRANTS_WAITING_MAX`] wait; a client that sends more without
    /// the caller's looking breaks the protocol.
    Granted(Grant),
}

/// Grants that may wait for the caller. Clients send one or two a minute.
pub const GRANTS_WAITING_MAX: usize = 64;

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// `close` was called here.
    #[error("this side closed the session: {0}")]
    Local(EndReason),
    /// `close` was called at the other end.
    #[error("the other end closed the session: {0}")]
    Peer(EndReason),
    /// Nothing was heard for longer than `session_timeout`.
    #[error("nothing was heard from the other end for too long")]
    TimedOut,
    /// The other end has another key than the pinned one.
    #[error("the other end is not the node that it should be")]
    WrongPeer,
    /// The other end refused the handshake: it expects another node, or speaks another version.
    #[error("the other end refused the handshake (TLS alert {0})")]
    Refused(u8),
    /// The other end broke this protocol; the session was closed here.
    #[error("the other end broke the protocol: {0}")]
    Violation(Violation),
    /// The handshake failed here for another reason than a wrong key.
    #[error("the handshake failed (TLS alert {0})")]
    Handshake(u8),
    /// QUIC's own rules were broken, by the other end or by a bug (RFC 9000, section 20.1).
    #[error("the session's transport failed (QUIC error {0:#x})")]
    Transport(u64),
}

/// Why an end closes a session of its own will. It travels as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[repr(u8)]
pub enum EndReason {
    /// The node stops.
    #[error("the node stops")]
    Stopping = 0,
    /// The other end broke the protocol.
    #[error("the protocol was broken")]
    Violation = 1,
    /// Another session takes its place.
    #[error("another session takes its place")]
    Replaced = 2,
    /// Memory is short, and this session holds most without a flow that could end instead.
    #[error("the node has no memory left for it")]
    NoMemory = 3,
    /// A number that this version does not know.
    #[error("for a reason that this version does not know")]
    Unknown = 255,
}

impl EndReason {
    pub(crate) fn from_code(code: u64) -> Self {
        match code {
            0 => Self::Stopping,
            1 => Self::Violation,
            2 => Self::Replaced,
            3 => Self::NoMemory,
            _ => Self::Unknown,
        }
    }
}

/// How the other end broke the protocol of docs/spec/session.md. Always its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// A control message cannot be read.
    #[error("a control message cannot be read: {0}")]
    Message(#[from] DecodeError),
    /// A control message longer than any can be.
    #[error("a control message is too long")]
    MessageLength,
    /// A message that only the other side may send.
    #[error("a control message came from the wrong side")]
    Side,
    /// A flow number that no flow can have, or whose turn has passed, or of the wrong kind.
    #[error("a flow number is out of order")]
    FlowNumber,
    /// A flow was confirmed, finished or reset that was never opened.
    #[error("a message names a flow that was never opened")]
    UnknownFlow,
    /// A flow was confirmed twice.
    #[error("a flow was confirmed twice")]
    ConfirmedTwice,
    /// The control stream ended.
    #[error("the control stream ended")]
    ControlEnded,
    /// More streams than allowed were opened without a SYN.
    #[error("too many streams were opened without being announced")]
    Unannounced,
    /// The other end takes no control messages although many wait.
    #[error("the control stream is not read")]
    ControlStalled,
    /// A session datagram that cannot be read.
    #[error("a datagram cannot be read")]
    Datagram,
    /// More grants at once than a client has reason to send.
    #[error("too many grants were sent at once")]
    Grants,
}

/// `open_flow` did not open a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The handshake is not done, or the session is over.
    #[error("the session is not connected")]
    NotConnected,
    /// As many flows are open as may be.
    #[error("as many flows are open as the session takes")]
    TooManyFlows,
    /// Only the client opens flows.
    #[error("only the client opens flows")]
    NotClient,
}

/// `write` took nothing and never will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// There is no such flow (any more).
    #[error("there is no such flow")]
    UnknownFlow,
    /// `finish` was called, or the flow carries datagrams.
    #[error("the flow takes no stream bytes")]
    NotWritable,
}

/// `send_datagram` did not take a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DatagramError {
    /// There is no such datagram flow (any more), or it is finished.
    #[error("there is no such datagram flow")]
    UnknownFlow,
    /// The record does not fit two session datagrams.
    #[error("the record does not fit two session datagrams")]
    TooLarge,
    /// Too much waits to be sent; later there may be room.
    #[error("too many datagrams wait to be sent")]
    Full,
}

/// What `read` gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOutcome {
    /// Bytes that were handed over.
    pub bytes: usize,
    /// What stands behind them.
    pub state: StreamState,
}

/// What stands behind the bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// More may come.
    Open,
    /// The other end finished; all bytes have been read.
    Finished,
    /// The flow was reset (a `FlowReset` that says the same may still be queued), or was never there or is over
    /// (then the reason is `TunnelLost`).
    Reset(ResetReason),
}
