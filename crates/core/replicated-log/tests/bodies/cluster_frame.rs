//! Any bytes as a frame of a member.

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    replicated_log::fuzz::frame(data);
}
