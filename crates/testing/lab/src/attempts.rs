//! Measurements that a busy machine may spoil.

/// Runs a measurement that reads the clock until it holds, three times at most. On a busy machine a sender or a receiver
/// may stand still for a while; what costs too much does so every time.
///
/// # Errors
/// That of the last attempt; those before it are printed.
#[expect(clippy::print_stderr, reason = "what an attempt measured is shown if a later one fails")]
pub fn within_three(measurement: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    for attempt in 1..3 {
        match measurement() {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("attempt {attempt}: {error:#}"),
        }
    }
    measurement()
}
