//! The loss that is claimed for a release, audited through the real quota, count, noise and release, and through the real
//! decisions of mode `queue`; then with each of the faults that the audit is there to find.
//!
//! An audit proves less than there is by about `2 z sqrt(pi / 2 / runs)`, z = 2.4 for three thresholds. That is 0.019 with 10^5
//! runs and 0.006 with 10^6. So the short audits are of epsilon = 4 (mu = 0.838), where 0.019 is 2.3 %, and the long one
//! of epsilon = 1 (mu = 0.237). Seeds are fixed; with other seeds an audit of a sound mechanism would prove too much
//! in at most 5 % of all cases.

use super::support::audit::{Audit, holds};
use shaping::{
    ClientNumber, DpParameters, DpSchedule, DpSettings, Noise, NoiseGenerator, NoiseSeed, Outcome, Per1024,
    QueueParameters, QueueSchedule, QueueSettings, RateClass, ReadyNoise, SendingStrategy, Sigma, SlotLength,
};

const SHORT: u64 = 100_000;
const LONG: u64 = 1_000_000;
/// Of the video example.
const DELTA: u64 = 2_500_000;
/// mu for delta = 1e-6 and epsilon 1 and 4.
const MU_1: f64 = 0.236_704_38;
const MU_4: f64 = 0.837_858_76;
/// Clients that are there in both worlds, and what each sends in an epoch.
const OTHERS: [u64; 3] = [400_000, 1_700_000, 2_400_000];
/// What they send together.
const COMMON: u64 = 4_500_000;

/// Noise that is drawn when it is asked for. A node must not do that; here nobody measures time.
struct Drawn {
    generator: NoiseGenerator,
    sigma: Sigma,
}

impl Drawn {
    fn new(seed: u64, sigma: Sigma) -> Self {
        Self { generator: NoiseGenerator::new(NoiseSeed::for_tests(seed)), sigma }
    }
}

impl ReadyNoise for Drawn {
    fn take(&mut self) -> Option<Noise> {
        Some(self.generator.sample(self.sigma))
    }
}

fn sigma_for(mu: f64) -> Sigma {
    Sigma::round_up(DELTA as f64 / mu).expect("in range")
}

fn settings(sigma: Sigma) -> DpSettings {
    DpSettings {
        epoch_s: 5,
        delta_bytes: DELTA,
        sigma,
        gain: Per1024::ONE,
        margin: Per1024::ONE,
        errors: Per1024(0),
        floor: RateClass::SLOWEST,
        initial: RateClass::SLOWEST,
        ceiling: RateClass::FASTEST,
        count_cap_bytes: 50 * DELTA,
    }
}

/// A direction in mode `dp`, run for run one epoch.
struct DpWorld<N> {
    schedule: DpSchedule,
    noise: N,
    unix_s: u64,
}

impl<N: ReadyNoise> DpWorld<N> {
    fn new(settings: DpSettings, noise: N) -> Self {
        Self { schedule: DpSchedule::new(DpParameters::new(settings).expect("they fit"), 0), noise, unix_s: 0 }
    }

    /// One epoch. The client, if it is there, takes all that the quota gives it.
    fn epoch(&mut self, with: bool) -> Outcome {
        for (number, bytes) in (1..).zip(OTHERS) {
            self.schedule.admit(ClientNumber(number), bytes);
        }
        if with {
            self.schedule.admit(ClientNumber(0), u64::MAX);
        }
        self.unix_s += 5;
        let end = self.schedule.poll(self.unix_s).expect("an edge");
        self.schedule.release(end, true, &mut self.noise)
    }

    /// What the accountant says everybody sees: the released value.
    fn measured(&mut self, with: bool) -> i64 {
        let Outcome::Released(release) = self.epoch(with) else { panic!("granted, and noise is there") };
        release.measured_bytes
    }

    /// What everybody does see: the rate, here in bytes per epoch.
    fn rate(&mut self, with: bool) -> i64 {
        let Outcome::Released(release) = self.epoch(with) else { panic!("granted, and noise is there") };
        (release.bits_per_second / 8 * 5) as i64
    }
}

fn audit(sigma: Sigma, runs: u64) -> Audit {
    Audit::between(COMMON as i64, (COMMON + DELTA) as i64, sigma.bytes() as i64, runs)
}

/// An audit of the released values under given settings and noise. The observer knows sigma as it is claimed.
fn audit_dp(settings: DpSettings, noise: impl ReadyNoise, claimed: f64, runs: u64) -> f64 {
    let mut world = DpWorld::new(settings, noise);
    audit(sigma_for(claimed), runs).proven_mu(|with| world.measured(with))
}

#[test]
fn a_release_loses_what_is_claimed_at_epsilon_4() {
    let sigma = sigma_for(MU_4);
    let proven = audit_dp(settings(sigma), Drawn::new(1, sigma), MU_4, SHORT);
    assert!(holds(proven, MU_4), "seed 1: {proven} of {MU_4}");
}

#[test]
fn a_release_loses_what_is_claimed_at_epsilon_1() {
    let sigma = sigma_for(MU_1);
    let proven = audit_dp(settings(sigma), Drawn::new(2, sigma), MU_1, LONG);
    assert!(holds(proven, MU_1), "seed 2: {proven} of {MU_1}");
}

#[test]
fn sixteen_epochs_lose_four_times_as_much_as_one() {
    let sigma = sigma_for(MU_1);
    let (common, delta) = (16 * COMMON as i64, 16 * DELTA as i64);
    let audit = Audit::between(common, common + delta, 4 * sigma.bytes() as i64, SHORT);
    let mut world = DpWorld::new(settings(sigma), Drawn::new(3, sigma));
    let proven = audit.proven_mu(|with| (0..16).map(|_| world.measured(with)).sum());
    assert!(holds(proven, 4.0 * MU_1), "seed 3: {proven} of {}", 4.0 * MU_1);
}

/// The audit itself: what it proves lies where its bounds say, and it proves too much no more often than stated.
#[test]
#[ignore = "20 audits of 10^6 runs take 20 s"]
fn twenty_seeds_of_10_6_runs_prove_97_to_98_percent_of_the_claim() {
    let sigma = sigma_for(MU_1);
    let seeds = 100..120;
    let proven: Vec<f64> =
        seeds.map(|seed| audit_dp(settings(sigma), Drawn::new(seed, sigma), MU_1, LONG) / MU_1).collect();
    let mean = proven.iter().sum::<f64>() / proven.len() as f64;
    // The bounds take 2.5 %, the best of three thresholds gives 0.3 % back, and a mean of 20 errs by 0.15 %.
    assert!((0.97..0.985).contains(&mean), "{mean}: {proven:?}");
    assert!(proven.iter().filter(|&&share| share > 1.0).count() <= 4, "{proven:?}");
}

#[test]
fn the_rate_loses_no_more_than_the_release() {
    let sigma = sigma_for(MU_4);
    let mut world = DpWorld::new(settings(sigma), Drawn::new(4, sigma));
    let proven = audit(sigma, SHORT).proven_mu(|with| world.rate(with));
    assert!(holds(proven, MU_4), "seed 4: {proven} of {MU_4}");
}

// --- planted faults of mode `dp` ---

/// The same sample again and again, as from a generator that nobody seeded.
struct Unseeded(Sigma);

impl ReadyNoise for Unseeded {
    fn take(&mut self) -> Option<Noise> {
        Some(Noise::for_tests(1_234_567, self.0))
    }
}

/// Draws with half of the scale and says otherwise.
struct Halved(Drawn, Sigma);

impl ReadyNoise for Halved {
    fn take(&mut self) -> Option<Noise> {
        let bytes = self.0.take()?.into_bytes();
        Some(Noise::for_tests(bytes, self.1))
    }
}

#[test]
fn planted_noise_that_is_not_random_is_caught() {
    let sigma = sigma_for(MU_4);
    let settings = settings(sigma);
    let mut world = DpWorld::new(settings, Unseeded(sigma));
    // An observer who knows the sequence puts the threshold where it separates the worlds.
    let known = 1_234_567 + (COMMON + DELTA / 2) as i64;
    let audit = Audit { thresholds: vec![known], runs: SHORT };
    let proven = audit.proven_mu(|with| world.measured(with));
    assert!(proven > 7.0, "{proven}");
}

#[test]
fn planted_half_of_the_noise_is_caught() {
    let sigma = sigma_for(MU_4);
    let half = Drawn::new(5, Sigma::new(sigma.bytes() / 2).expect("in range"));
    let proven = audit_dp(settings(sigma), Halved(half, sigma), MU_4, SHORT);
    assert!(!holds(proven, MU_4) && proven > 1.8 * MU_4, "seed 5: {proven}");
}

#[test]
fn planted_two_delta_in_one_epoch_are_caught() {
    let sigma = sigma_for(MU_4);
    let settings = DpSettings { delta_bytes: 2 * DELTA, ..settings(sigma) };
    let proven = audit_dp(settings, Drawn::new(6, sigma), MU_4, SHORT);
    assert!(!holds(proven, MU_4) && proven > 1.8 * MU_4, "seed 6: {proven}");
}

#[test]
fn planted_a_rate_that_follows_the_queue_is_caught() {
    let sigma = sigma_for(MU_4);
    let mut world = DpWorld::new(settings(sigma), Drawn::new(7, sigma));
    // What waits is added to the released rate, as if waiting bytes were to be sent at once.
    let waiting = |with: bool| if with { DELTA as i64 } else { 0 };
    let proven = audit(sigma, SHORT).proven_mu(|with| world.rate(with) + waiting(with));
    assert!(!holds(proven, MU_4) && proven > 1.8 * MU_4, "seed 7: {proven}");
}

#[test]
fn planted_too_much_noise_is_noticed_as_well() {
    let sigma = sigma_for(MU_4);
    let more = Drawn::new(8, Sigma::new(sigma.bytes() / 10 * 11).expect("in range"));
    let proven = audit_dp(settings(sigma), Halved(more, sigma), MU_4, SHORT);
    assert!(!holds(proven, MU_4) && proven < MU_4, "seed 8: {proven}");
}

// --- mode `queue`, one decision ---

/// Two worlds whose queues differ by the sensitivity at one decision.
struct QueueWorld {
    schedule: QueueSchedule,
    noise: Drawn,
    slot: u64,
}

const SENSITIVITY: u64 = 200_000;
const PACKET: u64 = 1_222;
/// Bytes of the flow that waits in both worlds.
const WAITING: u64 = 1_200_000;

impl QueueWorld {
    fn new(seed: u64) -> Self {
        let settings = QueueSettings {
            noise_multiplier: 1.0 / MU_4,
            sensitivity: SENSITIVITY,
            max_decision_size: 2_900_000,
            sending_loop_interval_us: 10_000,
            sending_strategy: SendingStrategy::Uniform,
            ..QueueSettings::default()
        };
        let parameters = QueueParameters::new(settings, SlotLength::DEFAULT, PACKET as usize).expect("they fit");
        Self { schedule: QueueSchedule::new(parameters, 0), noise: Drawn::new(seed, parameters.sigma()), slot: 0 }
    }

    /// One decision; returns the bytes in the cells of the ten slots after it.
    fn decision(&mut self, with: bool) -> i64 {
        let due = self.schedule.poll(self.slot).expect("a decision is due");
        let queue = WAITING + if with { SENSITIVITY } else { 0 };
        self.schedule.release(due, queue, true, &mut self.noise);
        let slots = self.slot + 1..=self.slot + 10;
        self.slot += 10;
        slots.map(|slot| u64::from(self.schedule.cells_in_slot(slot)) * PACKET).sum::<u64>() as i64
    }

    fn audit(&self) -> Audit {
        let sigma = self.schedule.parameters().sigma().bytes() as i64;
        // Cells are whole: half of one lies between a decision and what is seen of it.
        let without = (WAITING + PACKET / 2) as i64;
        Audit::between(without, without + SENSITIVITY as i64, sigma, SHORT)
    }
}

#[test]
fn one_decision_of_queue_loses_what_is_claimed() {
    let mut world = QueueWorld::new(9);
    let proven = world.audit().proven_mu(|with| world.decision(with));
    assert!(holds(proven, MU_4), "seed 9: {proven} of {MU_4}");
}

#[test]
fn planted_bytes_over_the_decision_are_caught() {
    let mut world = QueueWorld::new(10);
    // As in the original: each of the flows that wait is sent up to the whole decision.
    let proven = world.audit().proven_mu(|with| {
        let decided = world.decision(with);
        let second_flow = if with { SENSITIVITY as i64 } else { 0 };
        decided.max(decided.min(WAITING as i64) + decided.min(second_flow))
    });
    assert!(!holds(proven, MU_4), "seed 10: {proven}");
}
