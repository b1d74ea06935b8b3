use super::Pace::{Demand, HeldBack, Schedule};
use super::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const RTT: Duration = Duration::from_millis(20);
/// Packets of 1350 bytes a second at 50 Mbit/s.
const FULL: u64 = 4_630;

/// A detector, the time, and a generator for losses.
struct Bench {
    detector: Detector,
    now: Instant,
    rng: ChaCha20Rng,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self { detector: Detector::new(now, RTT), now, rng: ChaCha20Rng::seed_from_u64(seed) }
    }

    /// One stretch of `millis` in which packets are lost with `loss` in a million; what the detector says about it.
    fn stretch(&mut self, millis: u64, sent: u64, loss_ppm: u32, pace: Pace) -> Option<Cause> {
        self.now += Duration::from_millis(millis);
        let lost = (0..sent).filter(|_| self.rng.next_u32() % 1_000_000 < loss_ppm).count();
        let received = sent - u64::try_from(lost).expect("small");
        let delivery = Delivery { span: Duration::from_millis(millis), sent, received, pace };
        self.detector.handle_delivery(self.now, delivery);
        if received > 0 {
            self.detector.handle_heard(self.now);
        }
        self.detector.poll_cause(self.now)
    }

    /// Stretches of 100 ms for `seconds`; the first cause and after how many milliseconds it came.
    fn run(&mut self, seconds: u64, a_second: u64, loss_ppm: u32, pace: Pace) -> Option<(Cause, u64)> {
        (1..=seconds * 10)
            .find_map(|step| self.stretch(100, a_second / 10, loss_ppm, pace).map(|cause| (cause, step * 100)))
    }
}

#[test]
fn a_throttle_to_1_of_50_mbit_is_noticed_within_a_second() {
    // Shaped: what is sent stays, 2 % of it come. Found by loss.
    let mut bench = Bench::new(1);
    assert_eq!(bench.run(10, FULL, 1_000, Schedule), None);
    let found = bench.run(5, FULL, 980_000, Schedule);
    assert!(matches!(found, Some((Cause::Loss, ..=600))), "{found:?}");
    // Congestion control slows down at once and loses little: found by rate.
    let mut bench = Bench::new(2);
    assert_eq!(bench.run(10, FULL, 1_000, HeldBack), None);
    let found = bench.run(5, FULL / 50, 10_000, HeldBack);
    assert!(matches!(found, Some((Cause::Rate, ..=1_000))), "{found:?}");
    // Where the application had not enough to send, and loses nearly all of it.
    let mut bench = Bench::new(4);
    assert_eq!(bench.run(10, FULL / 5, 1_000, Demand), None);
    let found = bench.run(5, FULL / 5, 900_000, Demand);
    assert!(matches!(found, Some((Cause::Rate, ..=1_000))), "{found:?}");
    // The same from reports once a second.
    let mut bench = Bench::new(3);
    assert!((0..10).all(|_| bench.stretch(1_000, FULL, 1_000, Schedule).is_none()));
    assert_eq!(bench.stretch(1_000, FULL, 980_000, Schedule), Some(Cause::Loss));
}

#[test]
fn a_block_is_silence() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.run(10, FULL, 1_000, Schedule), None);
    let found = bench.run(5, FULL, 1_000_000, Schedule);
    assert!(matches!(found, Some((Cause::Loss | Cause::Silence, ..=500))), "{found:?}");
    // Without any report, because nothing comes back at all.
    let mut bench = Bench::new(2);
    assert_eq!(bench.detector.poll_timeout(), None);
    let start = bench.now;
    bench.detector.handle_sent(start, 7);
    assert_eq!(bench.detector.poll_timeout(), None, "too few packets to tell");
    bench.detector.handle_sent(start, 1);
    assert_eq!(bench.detector.poll_timeout(), Some(start + SILENCE_SPAN_MIN));
    assert_eq!(bench.detector.poll_cause(start + SILENCE_SPAN_MIN), Some(Cause::Silence));
    assert_eq!(bench.detector.poll_cause(start + SILENCE_SPAN_MIN), None, "said once");
}

#[test]
fn whoever_was_not_spoken_to_is_not_silent() {
    let mut bench = Bench::new(1);
    bench.detector.handle_heard(bench.now);
    bench.now += Duration::from_secs(100);
    bench.detector.handle_sent(bench.now, 20);
    assert_eq!(bench.detector.poll_cause(bench.now), None);
    assert_eq!(bench.detector.poll_timeout(), Some(bench.now + SILENCE_SPAN_MIN));
}

#[test]
fn ordinary_loss_is_no_alarm_at_any_rate() {
    // 7 % for an hour at 256 kbit/s and for ten minutes at 50 Mbit/s, as reports of a second.
    for (seed, a_second, seconds) in [(1, 24, 3_600), (2, FULL, 600)] {
        let mut bench = Bench::new(seed);
        for second in 0..seconds {
            assert_eq!(bench.stretch(1_000, a_second, 70_000, Schedule), None, "second {second} of seed {seed}");
        }
    }
    // And in stretches of 100 ms, where 24 packets a second still show a throttle.
    assert_eq!(Bench::new(3).run(600, 240, 70_000, Schedule), None);
    let mut bench = Bench::new(4);
    assert_eq!(bench.run(600, 20, 70_000, Schedule), None);
    let found = bench.run(5, 20, 980_000, Schedule);
    assert!(matches!(found, Some((_, ..=1_200))), "{found:?}");
}

#[test]
fn ordinary_congestion_is_no_alarm() {
    // Slow start overshoots: half of the packets of a stretch are lost, then the rate is halved, and grows again.
    let mut bench = Bench::new(1);
    assert_eq!(bench.run(3, FULL, 0, HeldBack), None);
    for _ in 0..50 {
        assert_eq!(bench.stretch(100, FULL / 5, 500_000, HeldBack), None);
        for share in 5..=10 {
            assert_eq!(bench.stretch(100, FULL * share / 100, 1_000, HeldBack), None);
        }
    }
    // BBR sends next to nothing for 200 ms in 10 s.
    let mut bench = Bench::new(2);
    for _ in 0..6 {
        assert_eq!(bench.run(10, FULL, 0, HeldBack), None);
        assert_eq!((bench.stretch(100, 4, 0, HeldBack), bench.stretch(100, 4, 0, HeldBack)), (None, None));
    }
    // At its start it loses more than half for two seconds, and what comes through is what the path carries.
    let mut bench = Bench::new(4);
    assert_eq!(bench.run(1, FULL / 20, 0, Demand), None);
    assert_eq!(bench.run(2, 5 * FULL / 2, 600_000, Demand), None);
    assert_eq!(bench.run(5, FULL, 0, HeldBack), None);
    // An application that has less to send is not a slow pair.
    let mut bench = Bench::new(3);
    assert_eq!(bench.run(5, FULL, 0, HeldBack), None);
    assert_eq!(bench.run(60, FULL / 100, 0, Demand), None);
}

#[test]
fn what_all_pairs_suffer_makes_few_hops() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.run(10, FULL, 0, Schedule), None);
    // The path loses a third from here on, whatever the ports.
    let mut hops = 0;
    for _ in 0..6_000 {
        if let Some(cause) = bench.stretch(100, FULL / 10, 330_000, Schedule) {
            hops += 1;
            bench.detector.handle_hop(bench.now, cause);
        }
    }
    assert!((1..=8).contains(&hops), "{hops} hops in ten minutes");
    // It recovers, and a throttle of one pair is noticed as before.
    assert_eq!(bench.run(20, FULL, 0, Schedule), None);
    assert!(bench.run(2, FULL, 980_000, Schedule).is_some());
}

#[test]
fn a_throttle_after_bytes_is_found_on_every_pair() {
    // 5 MB at 50 Mbit/s last 0.8 s; then the pair is throttled. Each time the pair was good before.
    let mut bench = Bench::new(1);
    for pair in 0..20 {
        assert_eq!(bench.run(1, FULL, 0, Schedule), None, "pair {pair}");
        let found = bench.run(3, FULL, 980_000, Schedule);
        let Some((cause, after)) = found else { panic!("pair {pair} was not found") };
        assert!(after <= 600, "pair {pair}: {after} ms");
        bench.detector.handle_hop(bench.now, cause);
    }
}

#[test]
fn a_pair_that_is_slow_from_its_start_is_left_and_a_slow_path_is_not() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.run(5, FULL, 0, HeldBack), None);
    bench.detector.handle_hop(bench.now, Cause::Interval);
    let found = bench.run(10, FULL / 50, 0, HeldBack);
    assert!(matches!(found, Some((Cause::Rate, 5_000..=6_000))), "{found:?}");
    let mut hops = 0;
    for _ in 0..3_000 {
        if let Some(cause) = bench.stretch(100, FULL / 500, 0, HeldBack) {
            hops += 1;
            bench.detector.handle_hop(bench.now, cause);
        }
    }
    assert!(hops <= 10, "{hops} hops in five minutes on a path that became slow");
}

#[test]
fn refused_packets_are_a_cause_and_some_of_many_are_not() {
    let mut bench = Bench::new(1);
    let mut refuse = |sent: u64, refused: u64| {
        bench.now += Duration::from_millis(5);
        bench.detector.handle_heard(bench.now);
        bench.detector.handle_sent(bench.now, sent);
        bench.detector.handle_refused(bench.now, refused);
        bench.detector.poll_cause(bench.now)
    };
    // A rule of the firewall about rates stops a quarter of all.
    assert!((0..1_000).all(|_| refuse(12, 3).is_none()));
    let found = (0..20).find(|_| refuse(12, 12).is_some());
    assert!(found.is_some(), "and then everything");
    // What the next pair refuses too is the machine's state: the detector waits.
    bench.detector.handle_hop(bench.now, Cause::SocketFailed);
    let mut causes = 0;
    for _ in 0..12_000 {
        bench.now += Duration::from_millis(5);
        bench.detector.handle_heard(bench.now);
        bench.detector.handle_sent(bench.now, 1);
        bench.detector.handle_refused(bench.now, 1);
        if let Some(cause) = bench.detector.poll_cause(bench.now) {
            causes += 1;
            bench.detector.handle_hop(bench.now, cause);
        }
    }
    assert!((1..=4).contains(&causes), "{causes} hops in a minute of refusals");
}

#[test]
fn two_causes_are_two_round_trips_apart() {
    let mut bench = Bench::new(1);
    bench.detector.handle_rtt(Duration::from_millis(150));
    assert_eq!(bench.run(5, FULL, 0, Schedule), None);
    let mut last = None;
    for _ in 0..400 {
        if bench.stretch(10, 46, 900_000, Schedule).is_some() {
            let since = last.map(|last| bench.now - last);
            assert!(since.is_none_or(|since| since >= Duration::from_millis(300)), "{since:?}");
            last = Some(bench.now);
        }
    }
    assert!(last.is_some());
}

#[test]
fn figures_without_sense_do_no_harm() {
    let mut bench = Bench::new(1);
    for (span, sent, received) in [(0, 5, 5), (1, 0, 0), (1, 0, u64::MAX), (1, u64::MAX, 0), (u64::MAX / 2, 1, 1)] {
        let delivery = Delivery { span: Duration::from_millis(span), sent, received, pace: HeldBack };
        for _ in 0..100 {
            bench.detector.handle_delivery(bench.now, delivery);
            let _ = bench.detector.poll_cause(bench.now);
        }
    }
}
