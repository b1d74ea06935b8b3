//! What `status` says of the last minute, on virtual time: the share of cells with data, and how long bytes waited. That
//! noting it changes nothing on the wire is what `observer.rs` and `releases.rs` show: they run with it.

use model_tests::apps::{Plan, port};
use model_tests::pair::{Host, Pair, Setting};
use shaped_node::{MinuteStatus, Mode};
use std::time::Duration;

fn plan(port: u16, send: u64) -> Plan {
    Plan { port, client: 1, send, read_per_step: 64 * 1024 }
}

fn minute(host: &Host) -> MinuteStatus {
    host.node.status().last_minute.expect("there are slots")
}

fn share(minute: MinuteStatus) -> f64 {
    minute.data_cells as f64 / minute.cells as f64
}

#[test]
fn a_full_queue_waits_as_long_as_it_takes_to_drain_and_an_empty_one_for_the_next_look() {
    let mut pair = Pair::new(Setting::constant());
    pair.run_until(Duration::from_secs(1));
    // A request at a time: nothing stands before it.
    assert!(pair.entry.unshaped.open(plan(port::ECHO, 500)).is_some());
    pair.run_until(Duration::from_secs(5));
    let idle = minute(&pair.entry);
    assert_eq!(idle.bytes, 500);
    assert!(idle.wait_mean_us < Some(100), "what is seen before a slot leaves in it: {idle:?}");
    assert!(share(idle) < 0.1, "{idle:?}");
    // Far more than the rate carries: the ring of 64 KiB is always full, about 2.1 Mbit/s drain it in a quarter of a second.
    assert!(pair.entry.unshaped.open(plan(port::SINK, u64::MAX)).is_some());
    pair.run_until(Duration::from_secs(70));
    let busy = minute(&pair.entry);
    let rate = pair.entry.node.status().links[0].rate_bits_per_second;
    let drain_us = 64 * 1024 * 8 * 1_000_000 / rate;
    let near = |us: Option<u64>| us.is_some_and(|us| us > drain_us * 9 / 10 && us < drain_us * 12 / 10);
    assert!(near(busy.wait_mean_us) && near(busy.wait_p95_us), "{busy:?} beside {drain_us}");
    assert!(share(busy) > 0.99, "{busy:?}");
    let per_minute = pair.entry.node.status().links[0].cells_per_second * 60;
    assert!(busy.cells <= per_minute + 60 && busy.cells > per_minute * 11 / 12, "{busy:?} beside {per_minute}");
    let back = minute(&pair.exit);
    assert!(share(back) < 0.9 && back.bytes == 0, "the other direction has acknowledgements alone: {back:?}");
}

#[test]
fn without_slots_there_is_nothing_to_wait_for() {
    let mut pair = Pair::new(Setting { mode: Mode::Off, ..Setting::constant() });
    pair.run_until(Duration::from_secs(1));
    assert_eq!(pair.entry.node.status().last_minute, None);
}
