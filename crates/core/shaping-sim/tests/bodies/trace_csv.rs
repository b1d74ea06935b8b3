//! Any text as a trace; what can be read is written and read again; an error names a line that exists.

use shaping_sim::trace::{Direction, Trace, parse_csv};
use std::fmt::Write;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse_csv(text) {
        Ok(trace) => {
            let again = parse_csv(&written(&trace)).expect("what is written can be read");
            // Clients are counted in the order of lines, which sorting may have changed.
            assert_eq!(again.transfers().len(), trace.transfers().len());
            assert_eq!(again.clients(), trace.clients());
            for (one, other) in again.transfers().iter().zip(trace.transfers()) {
                assert_eq!(one.at, other.at);
            }
            for direction in [Direction::Up, Direction::Down] {
                assert_eq!(again.bytes(direction), trace.bytes(direction));
            }
        }
        Err(error) => {
            assert!((1..=text.lines().count().max(1)).contains(&error.line), "{error} in {text:?}");
            assert!(error.to_string().starts_with("line "));
        }
    }
}

fn written(trace: &Trace) -> String {
    let mut text = String::new();
    for transfer in trace.transfers() {
        let direction = if transfer.direction == Direction::Up { "up" } else { "down" };
        let (seconds, nanoseconds) = (transfer.at.as_secs(), transfer.at.subsec_nanos());
        let client = transfer.client.0;
        writeln!(text, "{seconds}.{nanoseconds:09},client {client},{direction},{}", transfer.bytes)
            .expect("a string takes everything");
    }
    text
}
