//! The fuzz bodies over the committed corpora.

#[path = "bodies/process_message.rs"]
mod process_message;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[test]
fn process_message_corpus() {
    replay::inputs("process_message", 5).iter().for_each(|input| process_message::run(input));
}
