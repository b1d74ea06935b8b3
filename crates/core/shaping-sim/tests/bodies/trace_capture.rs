//! Any bytes as a capture: a trace whose bytes are those of its flows, whatever the file says.

use shaping_sim::trace::pcap::parse_pcap;
use shaping_sim::trace::{Direction, Trace};

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let capture = match parse_pcap(data) {
        Ok(capture) => capture,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let trace = &capture.trace;
    let sum = |of: fn(&shaping_sim::trace::pcap::FlowTotal) -> u64| capture.flows.iter().map(of).sum::<u64>();
    assert_eq!(trace.bytes(Direction::Up), sum(|flow| flow.up_bytes));
    assert_eq!(trace.bytes(Direction::Down), sum(|flow| flow.down_bytes));
    assert!(capture.flows.iter().all(|flow| flow.client.0 <= capture.flows.len() as u32));
    assert!(trace.transfers().is_sorted());
    assert_eq!(Trace::new(trace.transfers().to_vec()).as_ref(), Ok(trace), "a trace can be made of its transfers");
    // Each packet has a record of 16 bytes at least.
    assert!(trace.transfers().len() <= data.len() / 16);
}
