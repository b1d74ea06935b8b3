//! Answers alone.

use super::{Source, Workload};
use crate::trace::{Direction, Trace, TraceError};
use std::time::Duration;

/// The answers of exchanges in this time as a trace, each at the moment at which it was asked for, as if requests and answers
/// took no time; a trace as it is.
pub fn answers(workload: &Workload, length: Duration, seed: u64) -> Result<Trace, TraceError> {
    if let Workload::Replay(trace) = workload {
        return Ok(trace.clone());
    }
    let mut source = Source::new(workload, length, seed);
    let mut answers = Vec::new();
    while let Some(at) = source.next_at() {
        let Some(arrival) = source.pop(at) else { break };
        source.handle_done(&arrival, at);
        if arrival.transfer.direction == Direction::Down {
            answers.push(arrival.transfer);
        }
    }
    Trace::new(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{Exchanges, PAGE_BYTES};

    /// Fixed seed; 20 readers for 600 s at one page in 10 s: 1,200 with a standard deviation of 35.
    #[test]
    fn answers_come_at_the_pace_and_of_the_size_of_the_clients() -> Result<(), Box<dyn std::error::Error>> {
        let web = Workload::Exchanges(Exchanges::web(20)?);
        let trace = answers(&web, Duration::from_secs(600), 1)?;
        assert!((1_060..1_340).contains(&trace.transfers().len()), "{}", trace.transfers().len());
        let [least, most] = PAGE_BYTES;
        let is_page = |bytes: u64| (least..=most).contains(&bytes);
        assert!(
            trace.transfers().iter().all(|transfer| transfer.direction == Direction::Down && is_page(transfer.bytes))
        );
        Ok(())
    }
}
