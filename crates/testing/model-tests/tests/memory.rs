//! What happens when what tunnels hold is too much: at an exit, at an entry and at a service, with several tunnels of two legs of three
//! hops at a time, and a modest one beside them.

use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{self, Setting};
use model_tests::exit_world::{self, Bounds, Conduct, EXIT};
use session::FlowId;
use shaped_node::memory::{MEMORY_MAX_LEAST, MemoryAccount};
use shaped_node::{Isolation, PoolConfig};
use std::time::Duration;
use wire::flow::ResetReason;

const ONE: [usize; 3] = [0, 2, EXIT];
const OTHER: [usize; 3] = [1, 3, EXIT];
const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(20);
/// What tunnels hold that carry nothing: what is charged for each, and for legs.
const IDLE_TUNNEL: u64 = 96 * 1024;
/// Of all, what may be pushed to tunnels.
const PUSHED_MAX: u64 = MEMORY_MAX_LEAST / 8 * 3;

/// An exit with as little memory as can be, and many queues.
fn tight_world(seed: u64) -> exit_world::World {
    println!("seed {seed}");
    exit_world::World::bounded(seed, Bounds { tunnels_max: 16, queues: 96, memory_max: MEMORY_MAX_LEAST })
}

/// Runs until `done`, and looks all the time whether the bound holds. Says whether it is done.
fn runs_within_bounds(
    world: &mut exit_world::World,
    longest: Duration,
    mut done: impl FnMut(&exit_world::World) -> bool,
) -> bool {
    world.run_until(longest, |world| {
        let held = world.exit.memory();
        assert!(held.total() <= MEMORY_MAX_LEAST, "{held:?}");
        done(world)
    })
}

/// A megabyte there and back again, and another one back alone.
fn moves_a_megabyte_both_ways(world: &mut exit_world::World, client: usize) {
    let flows = [(port::ECHO, MEGABYTE), (port::MEGABYTE, 1)];
    let flows = flows.map(|(port, bytes)| world.clients[client].start(port, bytes));
    let all_of = |world: &exit_world::World| flows.map(|flow| world.clients[client].flow(flow));
    let done = runs_within_bounds(world, SOON, |world| all_of(world).iter().all(|flow| flow.is_finished));
    assert!(done, "{:?} {:?}", all_of(world), world.exit.status());
    assert_eq!(all_of(world).map(|flow| flow.received), [MEGABYTE; 2]);
}

fn reset_of(world: &exit_world::World, (client, flow): (usize, FlowId)) -> Option<ResetReason> {
    world.clients[client].flow(flow).reset
}

#[test]
fn clients_that_acknowledge_nothing_are_held_back_at_the_bound_and_others_go_on() {
    let mut world = tight_world(16);
    let hostile = [0; 3].map(|_| world.connected(&[ONE, OTHER]));
    for client in hostile {
        for _ in 0..12 {
            world.clients[client].start(port::ENDLESS, 1);
        }
    }
    world.run_for(Duration::from_millis(200));
    for client in hostile {
        world.clients[client].conduct = Conduct::Silent;
    }
    runs_within_bounds(&mut world, 6 * SECOND, |_| false);
    let held = world.exit.memory();
    assert!(held.unacknowledged > MEMORY_MAX_LEAST / 4, "they do hold memory: {held:?}");
    let status = world.exit.status();
    assert_eq!(status.counters["flows_cut_for_memory"], 0, "nobody had to go: {status:?}");
    let modest = world.connected(&[OTHER, ONE]);
    moves_a_megabyte_both_ways(&mut world, modest);
    // Their sessions time out, and all of it comes back.
    runs_within_bounds(&mut world, SOON, |world| world.exit.status().tunnels == 1);
    let status = world.exit.status();
    assert!(status.tunnels == 1 && status.memory.total() < IDLE_TUNNEL, "{status:?}");
    assert!(status.memory_peak <= MEMORY_MAX_LEAST, "{status:?}");
}

/// Servers that read nothing while clients send bulk, one of which leaves gaps as well.
#[test]
fn clients_whose_servers_never_read_lose_flows_at_the_bound_and_others_go_on() {
    let mut world = tight_world(17);
    let hostile = [0; 2].map(|_| world.connected(&[ONE, OTHER]));
    let modest = world.connected(&[OTHER, ONE]);
    world.clients[hostile[1]].conduct = Conduct::Gaps;
    let stalled: Vec<_> = hostile
        .into_iter()
        .flat_map(|client| [client; 10])
        .map(|client| (client, world.clients[client].start(port::STALLED, MEGABYTE * 100)))
        .collect();
    let mut most = MemoryAccount::default();
    let cut = |world: &exit_world::World| stalled.iter().filter(|flow| reset_of(world, **flow).is_some()).count();
    let reached = runs_within_bounds(&mut world, SOON, |world| {
        let held = world.exit.memory();
        (most.unread, most.reorder) = (most.unread.max(held.unread), most.reorder.max(held.reorder));
        cut(world) >= 2
    });
    println!("most unread {}, most out of order {}", most.unread, most.reorder);
    assert!(reached && most.unread > PUSHED_MAX * 9 / 10, "{most:?} {:?}", world.exit.status());
    assert!(most.reorder > MEGABYTE, "it does leave gaps: {most:?}");
    // All the while they hold what they may, whoever holds little is not concerned.
    moves_a_megabyte_both_ways(&mut world, modest);
    let reset: Vec<ResetReason> = stalled.iter().filter_map(|flow| reset_of(&world, *flow)).collect();
    assert!(reset.len() < stalled.len() && reset.iter().all(|reason| *reason == ResetReason::NoMemory), "{reset:?}");
    let status = world.exit.status();
    assert!(status.memory.unread > PUSHED_MAX / 2, "they still do: {status:?}");
    assert_eq!(status.counters["flows_cut_for_memory"], reset.len() as u64);
    assert_eq!(status.counters["sessions_cut_for_memory"], 0);
    for (client, flow) in stalled {
        world.clients[client].abort(flow);
    }
    let idle = |world: &exit_world::World| {
        let status = world.exit.status();
        status.flows == 0 && status.memory.total() < 3 * IDLE_TUNNEL
    };
    assert!(runs_within_bounds(&mut world, SOON, idle), "{:?}", world.exit.status());
    let status = world.exit.status();
    assert!(status.memory_peak <= MEMORY_MAX_LEAST && (status.flows, status.tunnels) == (0, 3), "{status:?}");
}

fn clients(tunnels: u8) -> PoolConfig {
    PoolConfig { tunnels, isolation: Isolation::Clients, ..PoolConfig::default() }
}

fn was_reset(world: &circuits::World, flow: usize) -> Option<ResetReason> {
    world.entry.unshaped.outcome(flow).reset
}

/// Applications that read nothing while servers send bulk.
#[test]
fn downloads_that_nobody_reads_end_at_the_bound_and_others_go_on() {
    let mut world = circuits::World::new(Setting {
        memory_max: MEMORY_MAX_LEAST,
        pool: clients(3),
        seed: 18,
        ..Setting::default()
    });
    println!("seed 18");
    let ready = |world: &circuits::World| world.tunnels().iter().filter(|tunnel| tunnel.session_up).count() >= 3;
    assert!(world.run_while(10 * SECOND, ready), "{:?}", world.tunnels());
    let open = |world: &mut circuits::World, client, port, send, read_per_step| {
        world.entry.unshaped.open(Plan { port, client, send, read_per_step }).expect("a queue pair")
    };
    let greedy: Vec<usize> =
        [1, 1, 1, 1, 2, 2, 2, 2].map(|client| open(&mut world, client, port::ENDLESS, 0, 0)).to_vec();
    let mut most = 0;
    let within = |world: &circuits::World| {
        let status = world.entry.node.status();
        assert!(status.memory.total() <= MEMORY_MAX_LEAST, "{:?}", status.memory);
        status
    };
    let reached = world.run_while(SOON, |world| {
        let status = within(world);
        most = most.max(status.memory.unread);
        status.counters["flows_cut_for_memory"] >= 2
    });
    println!("most unread {most}");
    assert!(reached && most > PUSHED_MAX * 9 / 10, "{:?}", world.tunnels());
    let modest = open(&mut world, 3, port::ECHO, MEGABYTE, usize::MAX);
    let done = world.run_while(SOON, |world| within(world).memory.unread > 0 && world.received(modest) == MEGABYTE);
    assert!(done && was_reset(&world, modest).is_none(), "{:?}", world.tunnels());
    let reset: Vec<ResetReason> = greedy.iter().filter_map(|flow| was_reset(&world, *flow)).collect();
    assert!(reset.len() >= 2 && reset.len() < greedy.len(), "{reset:?}");
    assert!(reset.iter().all(|reason| *reason == ResetReason::NoMemory), "{reset:?}");
    let status = within(&world);
    assert!(status.memory_peak <= MEMORY_MAX_LEAST && status.memory.unread > PUSHED_MAX / 2, "{status:?}");
    let holders = world.tunnels().iter().filter(|tunnel| tunnel.memory.unread > 0).count();
    assert_eq!(holders, 2, "the modest tunnel holds nothing unread: {:?}", world.tunnels());
    for flow in greedy {
        world.entry.unshaped.abort(flow);
    }
    let idle = |world: &circuits::World| within(world).memory.total() < world.tunnels().len() as u64 * IDLE_TUNNEL;
    assert!(world.run_while(SOON, idle), "{:?}", world.tunnels());
    assert_eq!(world.entry.node.status().memory.unread, 0);
}

/// The same end as an exit, behind joined circuits: what visitors send to a port that reads nothing.
#[test]
fn visitors_of_a_service_that_does_not_read_lose_flows_and_another_goes_on() {
    let setting = Setting { relays: 14, service: true, memory_max: MEMORY_MAX_LEAST, seed: 19, ..Setting::default() };
    println!("seed {}", setting.seed);
    let mut world = circuits::World::new(Setting { pool: clients(1), ..setting });
    let known = |world: &circuits::World| world.status().session_up && world.service().published > 1;
    assert!(world.run_while(circuits::ServiceHost::PATIENCE, known), "{:?}", world.status());
    let address = circuits::service_address().to_string();
    let open = |world: &mut circuits::World, client, port, send| {
        let plan = Plan { port, client, send, read_per_step: usize::MAX };
        world.entry.unshaped.open_name(plan, &address).expect("a queue pair")
    };
    let stalled = [1, 1, 1, 1, 2, 2, 2, 2].map(|client| open(&mut world, client, port::STALLED, MEGABYTE * 100));
    let within = |world: &circuits::World| {
        let status = world.service().node.status();
        assert!(status.node.memory.total() <= MEMORY_MAX_LEAST, "{:?}", status.node.memory);
        status.node
    };
    let cut = |world: &circuits::World| within(world).counters["flows_cut_for_memory"];
    assert!(world.run_while(3 * SOON, |world| cut(world) >= 2), "{:?} {:?}", within(&world), world.tunnels());
    let modest = open(&mut world, 3, port::ECHO, MEGABYTE);
    let done = world.run_while(3 * SOON, |world| within(world).memory.unread > 0 && world.received(modest) == MEGABYTE);
    assert!(done, "{:?} {:?}", world.entry.unshaped.outcome(modest), world.tunnels());
    let reset: Vec<ResetReason> = stalled.iter().filter_map(|flow| was_reset(&world, *flow)).collect();
    assert!(!reset.is_empty() && reset.len() < stalled.len(), "{reset:?}");
    assert!(reset.iter().all(|reason| *reason == ResetReason::NoMemory), "{reset:?}");
    for flow in stalled {
        world.entry.unshaped.abort(flow);
    }
    let idle = |world: &circuits::World| within(world).memory.total() < 3 * IDLE_TUNNEL;
    assert!(world.run_while(SOON, idle), "{:?}", within(&world));
}
