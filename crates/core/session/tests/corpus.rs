//! Runs the fuzz targets' bodies over the committed corpora.

#[path = "../../../../fuzz/replay.rs"]
mod replay;
#[path = "bodies/session_control.rs"]
mod session_control;

use replay::Variations;
use session::{ControlDecoder, Violation};

#[test]
fn session_control_corpus() {
    let (mut messages, mut refused) = (0, 0);
    for bytes in replay::inputs("session_control", 20) {
        session_control::run(&bytes);
        let outcome = ControlDecoder::new().push(bytes.get(1..).unwrap_or_default(), |_| {
            messages += 1;
            Ok::<(), Violation>(())
        });
        refused += u32::from(outcome.is_err());
    }
    assert!(messages >= 12 && refused >= 8, "{messages} messages, {refused} refused");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn session_datagram_corpus() {
    let start = std::time::Instant::now();
    let variations = Variations { step: 1, places_max: usize::MAX, changes: &[0x03] };
    variations.replay("session_datagram", 5, |input| session::fuzz::session_datagrams(input, start));
}
