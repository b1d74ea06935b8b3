//! Any bytes as a log file.

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    replicated_log::fuzz::log_file(data);
}
