//! An entry over circuits of real relays to a real exit: what its tunnel carries, and what it survives.

use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{Health, Setting, World};
use shaped_node::NodeEvent;
use std::time::Duration;
use tunnel_plan::Relaxation;

const SECOND: Duration = Duration::from_secs(1);

/// A world whose legs are all in use.
fn world(setting: Setting) -> World {
    let legs = usize::from(setting.legs);
    let mut world = World::new(setting);
    let up = world.run_while(10 * SECOND, |world| world.linked() == legs && world.status().session_up);
    assert!(up, "{:?} {:?}", world.status(), world.entry.events);
    world
}

fn legs(legs: u8) -> Setting {
    Setting { legs, ..Setting::default() }
}

fn plan(port: u16, send: u64) -> Plan {
    Plan { port, client: 7, send, read_per_step: usize::MAX }
}

#[test]
fn a_megabyte_goes_both_ways_over_one_leg_and_over_two() {
    for setting in [legs(1), legs(2), Setting { hops: 2, ..legs(2) }, Setting { hops: 1, ..legs(1) }] {
        let mut world = world(setting.clone());
        let up = world.entry.unshaped.open(plan(port::ECHO, MEGABYTE)).expect("a queue pair");
        let down = world.entry.unshaped.open(plan(port::MEGABYTE, 0)).expect("a queue pair");
        let done = world.run_while(20 * SECOND, |world| {
            world.entry.unshaped.outcome(up).received == MEGABYTE && world.entry.unshaped.outcome(down).received == MEGABYTE
        });
        assert!(done, "{setting:?}: {:?}", world.status());
        let status = world.status();
        let used = status.legs.iter().filter(|leg| leg.data_cells > 50).count();
        assert_eq!(used, usize::from(setting.legs), "every leg carries data: {status:?}");
        assert!(world.entry.guards.is_some(), "the guards are to be stored");
    }
}
