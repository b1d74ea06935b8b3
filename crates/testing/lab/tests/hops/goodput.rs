//! What hops cost a download, and what they save it from.

use std::time::Duration;

use anyhow::ensure;
use lab::network::FlowThrottle;

use super::{Family, Hopping, MEGABIT, Outcome, SECOND, Through, line, within_three};

const SLOW: u64 = 1_000_000;

/// A second hop within so few seconds shows that a hop costs no more than noise; the exact share is the long run's.
const SHARE_MIN: f64 = 0.9;

#[test]
fn a_download_does_not_notice_hops() -> Outcome {
    within_three(|| {
        let network = line(20 * Duration::from_millis(1), None)?;
        for (keyed, family) in [(true, Family::V4), (false, Family::V6)] {
            let through = Through::run(&network, family, Hopping::every(keyed, "500ms"), 3 * SECOND)?;
            let rate = through.rate(SECOND);
            ensure!(through.counted.hops() >= 3, "{:?}", through.counted);
            ensure!(through.served.migrations() == 0, "{:?}", through.served);
            ensure!(rate > 47.0 * MEGABIT * SHARE_MIN, "{keyed} {family:?}: {rate:.0} {:?}", through.counted);
        }
        Ok(())
    })
}

#[test]
fn hops_before_the_limit_outrun_a_throttle() -> Outcome {
    within_three(|| {
        let network = line(20 * Duration::from_millis(1), Some(FlowThrottle::after_bytes(5_000_000, SLOW)))?;
        let hopping = Through::run(&network, Family::V4, Hopping::each(true, "3 MB..4 MB"), 4 * SECOND)?;
        let staying = Through::run(&network, Family::V4, Hopping::never(false), 3 * SECOND)?;
        let (fast, slow) = (hopping.rate(2 * SECOND), staying.rate(2 * SECOND));
        ensure!(fast > 40.0 * MEGABIT && slow < 5.0 * MEGABIT, "{fast:.0} {slow:.0} {:?}", hopping.counted);
        Ok(())
    })
}
