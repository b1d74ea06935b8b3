//! The fuzz bodies over the committed corpora.

#[path = "bodies/admin_message.rs"]
mod admin_message;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[test]
fn admin_message_corpus() {
    replay::inputs("admin_message", 5).iter().for_each(|input| admin_message::run(input));
}
