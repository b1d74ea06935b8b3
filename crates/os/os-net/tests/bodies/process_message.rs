//! Any bytes as one message on the channel between the supervisor and a process. The first byte says who reads.

use os_net::process_channel::{Channel, FromProcess, MESSAGE_BYTES_MAX, ReceiveError, ToProcess};
use rustix::net::SendFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else { return };
    if first & 1 == 0 { read_by::<FromProcess>(bytes) } else { read_by::<ToProcess>(bytes) }
}

fn read_by<M: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let (sender, receiver) = Channel::pair().expect("descriptors for a channel");
    let sent = rustix::net::send(&sender, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    assert_eq!(sent, Ok(bytes.len()), "the channel takes one message");
    let message = match receiver.try_receive::<M>() {
        Ok(received) => received.expect("a message waits"),
        Err(ReceiveError::Closed) => return assert!(bytes.is_empty(), "only no bytes at all look like the end"),
        Err(ReceiveError::Truncated) => return assert!(bytes.len() > MESSAGE_BYTES_MAX, "a small message is whole"),
        Err(ReceiveError::Decode(_)) => return,
        Err(error @ ReceiveError::System(_)) => panic!("{error}"),
    };
    assert!(message.descriptors.is_empty(), "none was sent");
    // Numbers may be written longer than they were read, up to the limit.
    if sender.send(&message.message, &[]).is_ok() {
        assert!(receiver.try_receive::<M>().is_ok_and(|again| again.is_some()), "what is understood can be told on");
    }
}
