//! Both ends of a link's hops on virtual time, over a network that delays, loses, blocks, throttles and translates.
//!
//! Each run is a function of its settings and seed; a failing property prints them.

mod network;
mod run;

use network::{Rules, Translator};
use proptest::prelude::*;
use run::{End, Run, Settings};
use std::time::Duration;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_hundred_hops_lose_nothing(seed: u64, rtt in 1u64..200, jitter in 0u64..20, translator in 0u8..3) {
        let translator = [Translator::None, Translator::KeepsPorts, Translator::Symmetric][usize::from(translator)];
        let rules = Rules { jitter: millis(jitter), translator, ..Rules::default() };
        let mut run = Run::new(Settings { seed, rtt: millis(rtt), hop_every: millis(700), rules, ..Settings::default() });
        run.until_index(100, Duration::from_secs(200));
        let told = run.told();
        prop_assert_eq!((told.lost, told.came_to_closed), (0, 0), "{:?}", told);
        prop_assert!(told.data_received + told.in_flight == told.data_sent, "{:?}", told);
        prop_assert!(told.probes <= 100 * 3, "a hop takes few slots: {:?}", told);
        prop_assert_eq!(told.through_door, 0);
    }

    #[test]
    fn loss_makes_no_other_loss(seed: u64, rtt in 1u64..150, loss_per_mille in 0u32..150, jitter in 0u64..20) {
        let rules = Rules { loss_per_mille, jitter: millis(jitter), translator: Translator::Symmetric, ..Rules::default() };
        let mut run = Run::new(Settings { seed, rtt: millis(rtt), hop_every: millis(900), rules, ..Settings::default() });
        run.until_index(50, Duration::from_secs(120));
        let told = run.told();
        prop_assert_eq!(told.came_to_closed, 0, "{:?}", told);
        prop_assert_eq!(told.data_received + told.data_lost + told.in_flight, told.data_sent, "{:?}", told);
    }

    #[test]
    fn a_blocked_next_port_costs_at_most_three_round_trips_and_50_ms(seed: u64, rtt in 1u64..300, blocked in 0usize..3) {
        let mut run = Run::new(Settings { seed, rtt: millis(rtt), hop_every: Duration::from_secs(10), ..Settings::default() });
        run.for_time(Duration::from_secs(1));
        let candidates = run.candidates();
        prop_assume!(candidates.len() == 3);
        run.network.rules.blocked.extend(candidates.iter().take(blocked).map(|place| place.port()));
        run.hop();
        let begun = run.time();
        run.until_index(1, Duration::from_secs(10));
        let took = run.time() - begun;
        prop_assert!(took <= millis(3 * rtt + 50), "{took:?}");
        prop_assert_eq!(run.initiator_remote(), candidates[blocked]);
        // The link itself stood still for no time: every slot was full and what was sent came.
        let told = run.told();
        prop_assert_eq!(told.data_received + told.in_flight, told.data_sent, "{:?}", told);
    }

    #[test]
    fn translators_that_forget_do_not_end_a_link(seed: u64, rtt in 1u64..150, forget_every in 300u64..3_000) {
        let rules = Rules { translator: Translator::Symmetric, ..Rules::default() };
        let mut run = Run::new(Settings { seed, rtt: millis(rtt), hop_every: millis(1_500), rules, ..Settings::default() });
        for _ in 0..20 {
            run.for_time(millis(forget_every));
            run.network.forget_translations();
            // What is on its way to the old address is lost; then the other end has seen the new one.
            run.for_time(millis(2 * rtt + 20));
            let before = run.told().received_by(End::Initiator);
            run.for_time(millis(100));
            prop_assert!(run.told().received_by(End::Initiator) > before, "nothing comes back after a change of address");
        }
        prop_assert!(run.initiator_index() >= 3);
        prop_assert_eq!(run.told().through_door, 0);
    }

    #[test]
    fn jumps_of_either_clock_are_harmless(seed: u64, rtt in 1u64..150, jumps in proptest::collection::vec((any::<bool>(), 1u64..100_000), 1..8)) {
        let mut run = Run::new(Settings { seed, rtt: millis(rtt), hop_every: Duration::from_secs(8), ..Settings::default() });
        for (initiator, seconds) in jumps {
            run.for_time(millis(700));
            let end = if initiator { End::Initiator } else { End::Responder };
            run.jump(end, Duration::from_secs(seconds));
        }
        // Whatever was given up at a jump, the link works and hops.
        run.for_time(Duration::from_secs(70));
        let (before, index) = (run.told(), run.initiator_index());
        run.for_time(Duration::from_secs(30));
        prop_assert!(run.told().data_received > before.data_received + 5_000, "{:?}", run.told());
        prop_assert!(run.initiator_index() >= index + 2, "{} after {index}", run.initiator_index());
    }
}

#[test]
fn a_throttled_pair_is_left_within_a_second() {
    for seed in 0..5 {
        let rules = Rules { throttle_after: Some(Duration::from_secs(3)), ..Rules::default() };
        let mut run = Run::new(Settings { seed, hop_every: Duration::from_secs(3_600), rules, ..Settings::default() });
        run.until_index(15, Duration::from_secs(61));
        let told = run.told();
        // 3 s good, at most 1 s until the detector has seen and the link has hopped.
        assert!(run.time() <= Duration::from_secs(4 * 15), "seed {seed}: {:?}", run.time());
        assert_eq!((told.came_to_closed, told.through_door), (0, 0), "seed {seed}: {told:?}");
    }
}

#[test]
fn hops_before_the_throttle_lose_nothing() {
    let rules = Rules { throttle_after: Some(Duration::from_secs(3)), ..Rules::default() };
    let mut run = Run::new(Settings { seed: 1, hop_every: Duration::from_secs(2), rules, ..Settings::default() });
    run.for_time(Duration::from_secs(60));
    let told = run.told();
    assert_eq!((told.lost, told.came_to_closed), (0, 0), "{told:?}");
    assert!(run.initiator_index() >= 26);
}

#[test]
fn without_a_hop_the_throttle_shows() {
    // The model can fail: the same network, and nobody hops.
    let rules = Rules { throttle_after: Some(Duration::from_secs(3)), ..Rules::default() };
    let settings =
        Settings { seed: 1, hop_every: Duration::from_secs(3_600), rules, reports: false, ..Settings::default() };
    let mut run = Run::new(settings);
    run.for_time(Duration::from_secs(10));
    let told = run.told();
    assert!(told.data_lost > told.data_sent / 2, "{told:?}");
}

#[test]
fn sockets_that_close_too_soon_are_seen() {
    // The model can fail: old sockets that are closed at once lose what is on its way.
    let settings = Settings { seed: 1, hop_every: millis(700), close_at_once: true, ..Settings::default() };
    let mut run = Run::new(settings);
    run.until_index(20, Duration::from_secs(60));
    assert!(run.told().came_to_closed > 0);
}

#[test]
fn a_link_whose_ports_are_all_blocked_stays_and_asks_for_a_door() {
    let mut run = Run::new(Settings { seed: 1, hop_every: Duration::from_secs(10), ..Settings::default() });
    run.network.rules.blocked.extend(20_000..=50_000);
    run.for_time(Duration::from_secs(60));
    let told = run.told();
    assert_eq!(run.initiator_index(), 0);
    assert_eq!((told.through_door, told.came_to_closed), (1, 0), "{told:?}");
    assert_eq!(told.data_received + told.in_flight, told.data_sent, "{told:?}");
}

#[test]
fn ports_in_use_at_the_other_end_are_passed_over() {
    let mut run =
        Run::new(Settings { seed: 1, hop_every: Duration::from_secs(1), ports_in_use: 10, ..Settings::default() });
    run.until_index(30, Duration::from_secs(90));
    let told = run.told();
    assert_eq!((told.lost, told.came_to_closed, told.through_door), (0, 0, 0), "{told:?}");
}
