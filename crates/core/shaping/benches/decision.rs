//! Does the time of a decision tell its noise? Welch's t of two classes of samples in random order, in the manner of dudect
//! (Reparaz, Balasch, Verbauwhede 2017): |t| below 4.5 shows no difference in that many decisions.
//!
//! Both classes release the same value, once of little noise and a large count and once the other way round. What the rate
//! costs to compute from a released value may depend on that value: it is public. The last line but one shows how much.
//!
//! `cargo bench -p shaping --bench decision` prints t for pairs of classes, and for a planted decision that takes longer
//! for large samples. It ends with an error if a real pair is told apart three times in a row, or the planted one is not.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement reads the clock and prints")]

use shaping::{ClientNumber, DpParameters, DpSchedule, DpSettings, Noise, Per1024, RateClass, Sigma};
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// Decisions of a run, both classes together.
const DECISIONS: u64 = 400_000;
/// Decisions that are timed as one: a single one is as short as the clock's step.
const BATCH: u32 = 16;
/// Beyond it the classes differ.
const T_MAX: f64 = 4.5;
/// Share of the slowest batches that are left out: interrupts.
const CROPPED: f64 = 0.05;
/// Fresh runs before a pair is said to differ: another program can disturb one.
const RUNS_MAX: u32 = 3;

fn settings() -> Option<DpSettings> {
    let class = |bits| RateClass::at_least(bits).ok();
    Some(DpSettings {
        epoch_s: 5,
        delta_bytes: 2_500_000,
        sigma: Sigma::new(10_561_696).ok()?,
        gain: Per1024(51),
        margin: Per1024(1536),
        errors: Per1024(1536),
        floor: class(2_000_000)?,
        initial: class(10_000_000)?,
        ceiling: class(100_000_000)?,
        count_cap_bytes: 62_000_000,
    })
}

/// What is decided with: a value of noise and a count.
type Class = (i64, u64);

fn seconds(schedule: &mut DpSchedule, sigma: Sigma, (noise, count): Class, now: &mut u64, planted: bool) -> f64 {
    let mut total = 0.0;
    for _ in 0..BATCH {
        schedule.admit(ClientNumber(1), count);
        *now += 5;
        let Some(end) = schedule.poll(*now) else { continue };
        let mut ready = Some(Noise::for_tests(noise, sigma));
        let started = Instant::now();
        black_box(schedule.release(end, true, &mut ready));
        if planted && noise > 0 {
            black_box((0..black_box(40u64)).fold(1, |sum: u64, step| sum.rotate_left(3) ^ step));
        }
        total += started.elapsed().as_secs_f64();
    }
    total
}

fn welch(left: &[f64], right: &[f64]) -> f64 {
    let moments = |samples: &[f64]| {
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        (mean, samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0) / count)
    };
    let ((left, left_error), (right, right_error)) = (moments(left), moments(right));
    (left - right) / (left_error + right_error).sqrt()
}

/// t between two classes, in an order that a counter scrambles.
fn compare(settings: DpSettings, classes: [Class; 2], planted: bool) -> Option<f64> {
    let mut schedule = DpSchedule::new(DpParameters::new(settings).ok()?, 0);
    let (mut now, mut random) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..DECISIONS / u64::from(BATCH) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let which = (random >> 62) as usize & 1;
        let time = seconds(&mut schedule, settings.sigma, classes[which], &mut now, planted);
        times[which].push(time);
    }
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let limit = all[((all.len() as f64 * (1.0 - CROPPED)) as usize).min(all.len() - 1)];
    let [left, right] = times.map(|times| times.into_iter().filter(|time| *time <= limit).collect::<Vec<_>>());
    Some(welch(&left, &right))
}

fn main() -> ExitCode {
    let Some(settings) = settings() else { return ExitCode::FAILURE };
    let sigma = settings.sigma.bytes() as i64;
    let far = 3 * sigma;
    let pairs: [(&str, [Class; 2]); 3] = [
        ("no noise and a full count / the reverse", [(0, 2_500_000), (2_499_999, 1)]),
        ("the same far above", [(far, 2_500_000), (far + 2_499_999, 1)]),
        ("the same far below", [(-far, 2_500_000), (2_499_999 - far, 1)]),
    ];
    let mut sound = true;
    for (name, classes) in pairs {
        let runs = (0..RUNS_MAX).filter_map(|_| compare(settings, classes, false));
        let tried: Vec<f64> =
            runs.scan(false, |done, t| (!std::mem::replace(done, t.abs() < T_MAX)).then_some(t)).collect();
        println!("{name}: t = {tried:.2?}");
        sound &= tried.iter().any(|t| t.abs() < T_MAX);
    }
    let public = compare(settings, [(-far, 0), (far, 0)], false).unwrap_or(0.0);
    println!("released values of -3 / of 3 sigma, which may differ: t = {public:.2}");
    let planted = compare(settings, pairs[0].1, true).unwrap_or(0.0);
    println!("planted, 40 steps more for large samples: t = {planted:.2}");
    if sound && planted.abs() > T_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
