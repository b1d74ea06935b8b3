//! The life of flows through a whole pair on virtual time: bytes, ends, resets, restarts, outages, fairness.

use model_tests::apps::{MEGABYTE, Outcome, Plan, port};
use model_tests::pair::{Pair, Setting};
use shaped_node::{Mode, NodeEvent};
use shaping::RateClass;
use simnet::Loss;
use std::time::Duration;
use wire::flow::ResetReason;

fn plan(port: u16, send: u64) -> Plan {
    Plan { port, client: 1, send, read_per_step: 64 * 1024 }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn both_modes() -> [Setting; 2] {
    [Setting::constant(), Setting { mode: Mode::Off, ..Setting::constant() }]
}

/// Opens a flow and returns its number.
fn open(pair: &mut Pair, plan: Plan) -> usize {
    pair.entry.unshaped.open(plan).expect("a queue pair is free")
}

/// Runs until a flow is over and returns what became of it.
fn finish(pair: &mut Pair, number: usize, limit: Duration) -> Outcome {
    let limit = pair.elapsed() + limit;
    pair.run_while(limit, |pair| pair.entry.unshaped.outcome(number).released);
    pair.entry.unshaped.outcome(number)
}

#[test]
fn bytes_arrive_equal_in_both_directions_under_loss_and_both_ends_half_close() {
    for mut setting in both_modes() {
        for loss in [0.0, 0.01, 0.07] {
            setting.path.loss = Loss::Independent(loss);
            let mut pair = Pair::new(setting.clone());
            let number = open(&mut pair, plan(port::ECHO, 300_000));
            let outcome = finish(&mut pair, number, seconds(30));
            let expected =
                Outcome { connected: true, sent: 300_000, received: 300_000, ended: true, reset: None, released: true };
            assert_eq!(outcome, expected, "{:?} at loss {loss}", setting.mode);
            assert!(pair.run_while(pair.elapsed() + seconds(2), |pair| pair.exit.unshaped.open_count() == 0));
        }
    }
}

#[test]
fn a_queue_pair_is_used_again_and_shows_nothing_of_the_flow_before() {
    for setting in both_modes() {
        let mut pair = Pair::new(Setting { flows: 3, ..setting });
        for round in 0..20 {
            // Every other flow is aborted with bytes in all four rings; the pattern check of the next would see them.
            let number = open(&mut pair, plan(port::ECHO, 20_000));
            if round % 2 == 0 {
                pair.run_until(pair.elapsed() + Duration::from_millis(97));
                pair.entry.unshaped.abort(number);
                assert!(finish(&mut pair, number, seconds(10)).released);
            } else {
                assert_eq!(finish(&mut pair, number, seconds(10)).received, 20_000);
            }
        }
        assert!(pair.run_while(pair.elapsed() + seconds(2), |pair| pair.entry.unshaped.free_count() == 3));
    }
}

#[test]
fn every_reason_reaches_the_application() {
    let mut pair = Pair::new(Setting::constant());
    let number = open(&mut pair, plan(port::REFUSED, 10));
    let outcome = finish(&mut pair, number, seconds(5));
    assert_eq!((outcome.reset, outcome.connected), (Some(ResetReason::Refused), false));
}

#[test]
fn an_exit_without_a_free_queue_pair_says_so_and_serves_the_others() {
    let mut pair = Pair::new(Setting::constant());
    let numbers: Vec<usize> = (0..256).map(|_| open(&mut pair, plan(port::ECHO, 10))).collect();
    assert!(pair.entry.unshaped.open(plan(port::ECHO, 10)).is_none());
    for number in numbers {
        assert_eq!(finish(&mut pair, number, seconds(20)).received, 10);
    }
}

#[test]
fn a_full_exit_is_waited_for_until_it_has_its_queue_pair_back() {
    for setting in both_modes() {
        let mut pair = Pair::new(Setting { flows: 3, ..setting.clone() });
        // The last bytes of a flow lie in the exit's queue for a while.
        pair.exit.unshaped.server_reads = 100;
        for _ in 0..20 {
            // The entry has its queue pairs back before the exit has, and uses them again at once.
            for _ in 0..2 {
                let numbers = [(); 3].map(|()| open(&mut pair, plan(port::SINK, 10_000)));
                for outcome in numbers.map(|number| finish(&mut pair, number, seconds(10))) {
                    assert_eq!(
                        (outcome.sent, outcome.ended, outcome.reset),
                        (10_000, true, None),
                        "{:?}",
                        setting.mode
                    );
                }
            }
            pair.run_until(pair.elapsed() + Duration::from_millis(300));
        }
        assert_eq!(pair.exit.unshaped.open_count(), 0, "{:?}", setting.mode);
    }
}

#[test]
fn an_outage_shorter_than_the_session_timeout_loses_no_flow_and_a_longer_one_resets_it() {
    for mut setting in both_modes() {
        setting.path = setting.path.with_rate(20_000_000, 100_000);
        for (outage, survives) in [(20, true), (60, false)] {
            let mut pair = Pair::new(setting.clone());
            let number = open(&mut pair, plan(port::ENDLESS, 1));
            pair.run_until(seconds(3));
            pair.set_cut(true);
            pair.run_until(seconds(3 + outage));
            let before = pair.entry.unshaped.outcome(number).received;
            pair.set_cut(false);
            pair.run_until(seconds(3 + outage + 4));
            let outcome = pair.entry.unshaped.outcome(number);
            if survives {
                assert_eq!(outcome.reset, None, "{:?}", setting.mode);
                assert!(outcome.received > before + 100_000, "{:?}: {before} {outcome:?}", setting.mode);
            } else {
                assert_eq!(outcome.reset, Some(ResetReason::TunnelLost), "{:?}", setting.mode);
            }
            let again = open(&mut pair, plan(port::MEGABYTE, 1));
            let outcome = finish(&mut pair, again, seconds(20));
            assert_eq!((outcome.received, outcome.reset), (MEGABYTE, None), "{:?} after {outage} s", setting.mode);
        }
    }
}

#[test]
fn flows_work_within_two_seconds_of_a_networks_return_however_long_it_was_away() {
    for setting in both_modes() {
        // Short of the end of the session's patience, and behind it, where the next session begins in the dark. Left
        // out are the seconds in between, in which one end has given up and the other has not.
        for outage_ms in [31_000].into_iter().chain((38_000..50_000).step_by(900)) {
            let mut pair = Pair::new(setting.clone());
            pair.run_until(seconds(3));
            pair.set_cut(true);
            pair.run_until(seconds(3) + Duration::from_millis(outage_ms));
            pair.set_cut(false);
            // A flow may still be told that the old session is lost; its application tries again.
            let (deadline, mut received) = (pair.elapsed() + seconds(2), 0);
            while received == 0 && pair.elapsed() < deadline {
                let number = open(&mut pair, plan(port::ECHO, 10));
                let left = deadline.saturating_sub(pair.elapsed());
                received = finish(&mut pair, number, left).received;
                pair.run_until(pair.elapsed() + Duration::from_millis(20));
            }
            assert_eq!(received, 10, "{:?} after {outage_ms} ms", setting.mode);
        }
    }
}

#[test]
fn killed_shaped_processes_come_back_within_two_seconds_and_their_flows_are_reset() {
    for setting in both_modes() {
        let mut pair = Pair::new(setting.clone());
        pair.run_until(seconds(1));
        for seed in 2..6 {
            let number = open(&mut pair, plan(port::ENDLESS, 1));
            pair.run_until(pair.elapsed() + seconds(1));
            if seed % 2 == 0 {
                pair.restart_exit(seed);
                assert_eq!(finish(&mut pair, number, seconds(4)).reset, Some(ResetReason::TunnelLost));
            } else {
                pair.restart_entry(seed);
                pair.run_while(pair.elapsed() + seconds(4), |pair| pair.exit.unshaped.open_count() == 0);
                assert_eq!(pair.exit.unshaped.open_count(), 0, "the exit ended the flows of the dead entry");
            }
            let killed_at = pair.elapsed();
            let again = open(&mut pair, plan(port::ECHO, 1_000));
            assert_eq!(finish(&mut pair, again, seconds(6)).received, 1_000, "{:?}", setting.mode);
            let took = pair.elapsed() - killed_at;
            assert!(took < seconds(3), "{:?}: {took:?}", setting.mode);
        }
    }
}

#[test]
fn a_killed_unshaped_process_resets_its_flows_at_the_other_node_and_leaves_the_link_alone() {
    let mut pair = Pair::new(Setting::constant());
    let number = open(&mut pair, plan(port::ENDLESS, 1));
    pair.run_until(seconds(2));
    assert!(pair.entry.unshaped.outcome(number).received > 0);
    pair.restart_entry_unshaped();
    pair.run_until(seconds(4));
    assert_eq!(pair.exit.unshaped.open_count(), 0);
    let again = open(&mut pair, plan(port::ECHO, 1_000));
    assert_eq!(finish(&mut pair, again, seconds(3)).received, 1_000);
    let lost = pair.entry.events.iter().filter(|event| matches!(event, NodeEvent::SessionLost(..))).count();
    assert_eq!(lost, 0, "the session lived on");
}

#[test]
fn a_bulk_flow_fills_every_slot() {
    for port in [port::ENDLESS, port::SINK] {
        let mut pair = Pair::new(Setting { class: RateClass::new(22).expect("a class"), ..Setting::constant() });
        pair.run_until(seconds(1));
        open(&mut pair, plan(port, u64::MAX / 2));
        pair.run_until(seconds(3));
        let sender = |pair: &Pair| {
            let host = if port == port::SINK { &pair.entry } else { &pair.exit };
            (host.count("data_cells_sent"), host.count("cover_cells_sent"), host.count("empty_while_waiting"))
        };
        let before = sender(&pair);
        pair.run_until(seconds(8));
        let after = sender(&pair);
        let (data, cover) = (after.0 - before.0, after.1 - before.1);
        let share = data as f64 / (data + cover) as f64;
        assert!(share >= 0.99, "{share}: {data} data and {cover} cover cells");
        assert_eq!(after.2, 0, "no slot was empty while bytes waited");
    }
}

#[test]
fn slow_readers_hold_back_only_themselves() {
    // Enough time for every slow flow to fill its ring and its window: then their turns are over.
    let mut pair = Pair::new(Setting { class: RateClass::new(30).expect("a class"), ..Setting::constant() });
    for client in 0..100 {
        open(&mut pair, Plan { client, read_per_step: 0, ..plan(port::ENDLESS, 1) });
    }
    pair.run_until(seconds(12));
    let number = open(&mut pair, Plan { client: 999, ..plan(port::ECHO, 10_000) });
    let began = pair.elapsed();
    assert_eq!(finish(&mut pair, number, seconds(10)).received, 10_000);
    assert!(pair.elapsed() - began < seconds(2), "{:?}", pair.elapsed() - began);
}

#[test]
fn clients_share_evenly_whatever_their_number_of_flows() {
    for (up, port) in [(true, port::SINK), (false, port::ENDLESS)] {
        let mut pair = Pair::new(Setting::constant());
        pair.run_until(seconds(1));
        let greedy: Vec<usize> =
            (0..40).map(|_| open(&mut pair, Plan { client: 1, ..plan(port, u64::MAX / 2) })).collect();
        let modest = open(&mut pair, Plan { client: 2, ..plan(port, u64::MAX / 2) });
        pair.run_until(seconds(4));
        let moved = |pair: &Pair, number: usize| {
            let outcome = pair.entry.unshaped.outcome(number);
            if up { outcome.sent } else { outcome.received }
        };
        let before: (u64, u64) = (greedy.iter().map(|&number| moved(&pair, number)).sum(), moved(&pair, modest));
        pair.run_until(seconds(24));
        let after: (u64, u64) = (greedy.iter().map(|&number| moved(&pair, number)).sum(), moved(&pair, modest));
        let ratio = (after.0 - before.0) as f64 / (after.1 - before.1) as f64;
        assert!((0.8..1.25).contains(&ratio), "up {up}: forty flows against one got {ratio}");
    }
}

#[test]
fn loss_above_the_bound_steps_the_class_down_at_both_ends() {
    let mut setting = Setting::constant();
    setting.path.loss = Loss::Independent(0.4);
    let mut pair = Pair::new(setting.clone());
    pair.run_until(seconds(40));
    for host in [&pair.entry, &pair.exit] {
        let status = host.node.status();
        let link = status.links.first().expect("one link");
        assert!(link.steps_down >= 1, "{link:?}");
        assert!(link.rate_bits_per_second < setting.class.bits_per_second());
    }
}

#[test]
fn loss_below_the_bound_changes_no_class() {
    let mut setting = Setting::constant();
    setting.path.loss = Loss::Independent(0.1);
    let mut pair = Pair::new(setting);
    open(&mut pair, plan(port::ENDLESS, 1));
    pair.run_until(seconds(60));
    for host in [&pair.entry, &pair.exit] {
        assert_eq!(host.node.status().links.first().map(|link| link.steps_down), Some(0));
    }
}

#[test]
fn constant_delivers_its_rate_less_the_loss() {
    for (loss, share) in [(0.0, 0.95), (0.01, 0.94), (0.07, 0.87)] {
        let mut setting = Setting { class: RateClass::new(22).expect("a class"), ..Setting::constant() };
        setting.path.delay = Duration::from_millis(20);
        setting.path.loss = Loss::Independent(loss);
        let rate = setting.class.bits_per_second();
        let mut pair = Pair::new(setting);
        pair.run_until(seconds(1));
        let number = open(&mut pair, plan(port::ENDLESS, 1));
        pair.run_until(seconds(4));
        let before = pair.entry.unshaped.outcome(number).received;
        pair.run_until(seconds(14));
        let bits = 8 * (pair.entry.unshaped.outcome(number).received - before);
        let got = bits as f64 / (10 * rate) as f64;
        assert!(got >= share, "{got} of the rate at loss {loss}");
    }
}

/// What is over and served by nothing makes a process without slots turn for ever; [`Pair::run_until`] sees it.
#[test]
fn nodes_without_slots_rest_after_every_start() {
    for seed in 1..=20 {
        let mut setting = Setting { mode: Mode::Off, seed, ..Setting::constant() };
        setting.path.loss = Loss::Independent(0.3);
        let mut pair = Pair::new(setting);
        pair.run_until(seconds(3));
        pair.restart_entry(seed);
        pair.run_until(seconds(6));
    }
}
