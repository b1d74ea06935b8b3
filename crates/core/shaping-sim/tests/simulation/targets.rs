//! The targets: what is reached is held here; what is aimed at and cannot be had is shown to be out of reach.
//!
//! Fixed seeds. The small size has wider limits only where its figures vary more.

use shaping_sim::Average;
use shaping_sim::published::compare_video;
use shaping_sim::targets::{Bound, TargetError, least_overhead_of_one_client, targets};
use shaping_sim::{Report, Setup};
use std::time::Duration;

const SMALL: (Duration, u32) = (Duration::from_secs(120), 2);
const FULL: (Duration, u32) = (Duration::from_secs(300), 16);

#[test]
fn targets_are_reached_at_a_small_size() -> Result<(), TargetError> {
    hold_targets(SMALL)
}

#[test]
#[ignore = "full size: 300 s and 16 seeds a row"]
fn targets_are_reached_at_full_size() -> Result<(), TargetError> {
    hold_targets(FULL)
}

fn hold_targets((length, seeds): (Duration, u32)) -> Result<(), TargetError> {
    for target in targets()? {
        let reports = target.measure(length, seeds)?;
        let average = Average::of(&reports);
        assert!(target.reached.hold(&average), "{}: {average:?}", target.name);
        assert_eq!(reports.iter().map(Report::dropped_bytes).sum::<u64>(), 0, "{}", target.name);
        let waiting: u64 = reports.iter().map(|report| report.down.waiting_bytes).sum();
        assert_eq!(waiting, 0, "{}", target.name);
    }
    Ok(())
}

/// Whoever knows the load and needs neither noise nor classes misses the aim too, with turns of one cell.
#[test]
fn latency_that_no_schedule_reaches_with_fair_turns_at_a_small_size() -> Result<(), TargetError> {
    hold_bounds((Duration::from_secs(300), 6))
}

#[test]
#[ignore = "full size: 300 s and 16 seeds a row"]
fn latency_that_no_schedule_reaches_with_fair_turns_at_full_size() -> Result<(), TargetError> {
    hold_bounds(FULL)
}

fn hold_bounds((length, seeds): (Duration, u32)) -> Result<(), TargetError> {
    for (clients, overhead, aim_ms) in [(128, 0.5, 100.0), (16, 1.0, 300.0)] {
        let bound = Bound::measure(clients, overhead, length, seeds)?;
        let error = bound.by_turns.mean_error_ms;
        assert!(bound.by_turns.overhead > overhead - 0.06, "it uses what it may: {bound:?}");
        assert!(bound.by_turns.mean_ms > aim_ms + 2.0 * error, "{clients} clients: {bound:?}");
        assert!(bound.in_order.mean_ms < bound.by_turns.mean_ms);
    }
    Ok(())
}

/// A segment of 446,529 bytes on average in 1.7 s is 262,664 bytes a second, in packets of 1350 for 1192 of them 297,482; the
/// client uses 89,306.
#[test]
fn one_client_cannot_have_two_and_one_point_seven_seconds() {
    let least = least_overhead_of_one_client(Duration::from_millis(1_700), &Setup::new(SMALL.0, 0));
    assert!((least - 2.331).abs() < 0.001, "{least}");
}

#[test]
fn netshaper_is_beaten_in_both_at_128_flows() -> Result<(), Box<dyn std::error::Error>> {
    for comparison in compare_video(Duration::from_secs(120), 2)? {
        let model = comparison.model.and_then(|model| model.overhead()).expect("the model delivered segments");
        let ratio = model / comparison.published.overhead;
        assert!((0.7..1.8).contains(&ratio), "the model is of the size of what was published: {comparison:?}");
        if comparison.published.clients == 128 {
            assert!(comparison.overhead_ratio() > 1.4 && comparison.latency_ratio() > 1.0, "{comparison:?}");
        }
    }
    Ok(())
}
