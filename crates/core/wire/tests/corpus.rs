//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "bodies/flow_records.rs"]
mod flow_records;
#[path = "bodies/leg_header.rs"]
mod leg_header;
#[path = "bodies/local_message.rs"]
mod local_message;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn local_message_corpus() {
    Variations::BITS.replay("local_message", 5, local_message::run);
}

#[test]
fn leg_header_corpus() {
    Variations::BITS.replay("leg_header", 5, leg_header::run);
}

#[test]
fn flow_records_corpus() {
    Variations::BITS.replay("flow_records", 5, flow_records::run);
}
