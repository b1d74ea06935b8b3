//! Any record of a control queue: what is read is written again, and reads the same.

use wire::local::{LocalMessage, MESSAGE_LEN};

/// Feeds one input, cut or filled up with zeros to the size of a record.
pub(crate) fn run(data: &[u8]) {
    let mut record = [0; MESSAGE_LEN];
    let count = data.len().min(MESSAGE_LEN);
    record[..count].copy_from_slice(&data[..count]);
    let Ok(message) = LocalMessage::decode(&record) else { return };
    let again = message.encode();
    assert_eq!(again[..7], record[..7], "kind and queue pair stand first");
    assert_eq!(LocalMessage::decode(&again), Ok(message));
}
