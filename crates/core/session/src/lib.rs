#![doc = include_str!("../README.md")]

#[cfg(test)]
extern crate self as session;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

mod config;
mod connection;
mod control;
mod control_law;
mod datagram;
mod event;
mod flow;
mod frames;
mod stats;
mod tap;
mod tls;
mod transport;

pub use config::{
    ConfigError, PACKET_MAX, PACKET_MIN, Paths, STREAM_WINDOW_MAX, STREAM_WINDOW_MIN, SessionConfig, stream_window_for,
};
pub use connection::{PacketBatch, Session};
pub use control::{ControlDecoder, ControlMessage, MESSAGE_MAX};
pub use control_law::CongestionControl;
pub use datagram::{EARLY_MAX, PART_TIMEOUT, PARTS_MAX};
pub use event::{
    CloseReason, DatagramError, EndReason, OpenError, ReadOutcome, SessionEvent, StreamState, Violation, WriteError,
};
pub use flow::FlowId;
pub use stats::SessionStats;

#[doc(hidden)]
pub mod fuzz {
    //! The fuzz body of the control stream's decoder: run by libFuzzer and, over the committed corpus, by
    //! `cargo test`.

    use crate::{ControlDecoder, ControlMessage, Violation};

    /// The first byte says in which pieces the rest comes. However it is cut, the same messages are found; each
    /// is written to the same bytes again, and the decoder never holds more than one message.
    ///
    /// # Panics
    /// When the decoder panics or one of these does not hold: that is the finding.
    pub fn control_stream(input: &[u8]) {
        let Some((piece, stream)) = input.split_first() else { return };
        let whole = decode(stream, stream.len());
        let pieces = decode(stream, usize::from(*piece));
        assert_eq!(whole, pieces, "pieces change nothing");
        let mut written = Vec::new();
        for message in &whole.0 {
            message.encode(&mut written);
        }
        // A host name is read in any case and written in lower case.
        assert!(stream[..written.len()].eq_ignore_ascii_case(&written), "a message is written as it was read");
    }

    fn decode(stream: &[u8], piece: usize) -> (Vec<ControlMessage>, Result<(), Violation>) {
        let mut decoder = ControlDecoder::new();
        let mut messages = Vec::new();
        let outcome = stream.chunks(piece.max(1)).try_for_each(|part| {
            decoder.push(part, |message| {
                messages.push(message);
                Ok(())
            })
        });
        (messages, outcome)
    }
}
