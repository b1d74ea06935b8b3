//! Several tunnels of one entry: which are kept ready, who gets which, and how they end.

use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{Setting, World};
use shaped_node::{
    DIRTY_AFTER, Group, Isolation, NodeEvent, POOL_LOOK, PoolConfig, RETIRED_LINGER, TUNNELS_MAX, TunnelHolder,
    TunnelId,
};
use simnet::Path;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn clients(tunnels: u8) -> PoolConfig {
    PoolConfig { tunnels, isolation: Isolation::Clients, ..PoolConfig::default() }
}

fn setting(pool: PoolConfig) -> Setting {
    Setting { hops: 2, pool, ..Setting::default() }
}

/// A world whose tunnels are all up.
fn world(setting: Setting) -> World {
    let kept = usize::from(setting.pool.tunnels);
    let mut world = World::new(setting);
    let up = world
        .run_while(10 * SECOND, |world| count(world, TunnelHolder::Pool) + count(world, TunnelHolder::Group) == kept);
    assert!(up, "{:?} {:?}", world.tunnels(), world.entry.events);
    world
}

/// Tunnels of a kind that are up.
fn count(world: &World, holder: TunnelHolder) -> usize {
    world.tunnels().iter().filter(|tunnel| tunnel.session_up && tunnel.holder == holder).count()
}

fn open(world: &mut World, client: u64, port: u16, send: u64) -> usize {
    let plan = Plan { port, client, send, read_per_step: usize::MAX };
    world.entry.unshaped.open(plan).expect("a queue pair")
}

fn is_reset(world: &World, flow: usize) -> bool {
    world.entry.unshaped.outcome(flow).reset.is_some()
}

fn tunnel_of(world: &World, client: u64) -> Option<TunnelId> {
    world.entry.node.tunnel_of(Group(client))
}

/// Each client takes a tunnel of its own, and the pool is full again a little later.
#[test]
fn clients_have_tunnels_of_their_own() {
    let mut world = world(setting(clients(2)));
    let flows = [1, 2].map(|client| open(&mut world, client, port::ECHO, MEGABYTE));
    let more = open(&mut world, 1, port::MEGABYTE, 0);
    let all = [flows[0], flows[1], more];
    assert!(world.run_while(20 * SECOND, |world| all.iter().all(|flow| world.received(*flow) == MEGABYTE)));
    let (one, other) = (tunnel_of(&world, 1), tunnel_of(&world, 2));
    assert!(one.is_some() && other.is_some() && one != other, "{one:?} {other:?}");
    assert_eq!(count(&world, TunnelHolder::Group), 2, "{:?}", world.tunnels());
    assert!(world.run_while(5 * SECOND, |world| count(world, TunnelHolder::Pool) == 2), "{:?}", world.tunnels());
    for tunnel in world.tunnels() {
        let data: u64 = tunnel.legs.iter().map(|leg| leg.data_cells).sum();
        assert_eq!(data > 500, tunnel.holder == TunnelHolder::Group, "{tunnel:?}");
    }
}

/// What clients ask for makes no tunnel: that happens at looks, whose times have nothing to do with them.
#[test]
fn a_client_that_finds_no_tunnel_ready_waits_for_the_next_look() {
    let mut world = world(setting(clients(1)));
    // A little behind a look.
    let looks = world.elapsed().as_millis() / POOL_LOOK.as_millis() + 1;
    let look = POOL_LOOK * u32::try_from(looks).expect("a few seconds");
    world.run_for(look + Duration::from_millis(20) - world.elapsed());
    let flows = [1, 2, 3].map(|client| open(&mut world, client, port::ECHO, 1000));
    world.run_for(POOL_LOOK - Duration::from_millis(100));
    assert_eq!(world.tunnels().len(), 1, "{:?}", world.tunnels());
    assert_eq!(flows.map(|flow| world.received(flow)), [1000, 0, 0], "who came first has it");
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.tunnels().len(), 2, "one at the look: as many as are kept");
    assert!(world.run_while(2 * POOL_LOOK, |world| flows.iter().all(|flow| world.received(*flow) == 1000)));
    assert!(!flows.iter().any(|flow| is_reset(&world, *flow)));
}

#[test]
fn a_tunnel_that_is_retired_finishes_its_flows_and_takes_no_new_ones() {
    let mut world = world(setting(clients(1)));
    let old = open(&mut world, 1, port::ENDLESS, 0);
    world.run_for(5 * SECOND);
    let first = tunnel_of(&world, 1).expect("its own");
    world.entry.node.retire_tunnel(first.number);
    let new = open(&mut world, 1, port::ECHO, MEGABYTE);
    assert!(world.run_while(10 * SECOND, |world| world.received(new) == MEGABYTE));
    assert_ne!(tunnel_of(&world, 1), Some(first));
    let before = world.received(old);
    world.run_for(RETIRED_LINGER * 2);
    assert!(world.received(old) > before + 100_000, "it goes on");
    assert_eq!(world.entry.node.tunnel_holder(first), Some(TunnelHolder::Nobody));
    world.entry.unshaped.abort(old);
    assert!(world.run_while(RETIRED_LINGER * 2, |world| world.entry.node.tunnel_holder(first).is_none()));
    let losses = world.entry.events.iter().filter(|(_, event)| matches!(event, NodeEvent::TunnelLost(_)));
    assert_eq!(losses.count(), 0, "nothing was lost");
}

/// What a client does after a while is not connected with what it did before. A flow that goes on keeps its tunnel.
#[test]
fn tunnels_of_clients_that_do_nothing_are_given_up_after_ten_minutes() {
    let slow = Path::with_delay(Duration::from_millis(5)).with_rate(1_000_000, 64 * 1024);
    let mut world = world(Setting { path: slow, ..setting(clients(2)) });
    let done = open(&mut world, 1, port::ECHO, 1000);
    let going = open(&mut world, 2, port::ECHO, 1000);
    world.run_for(2 * SECOND);
    assert_eq!([world.received(done), world.received(going)], [1000, 1000]);
    let (one, other) = (tunnel_of(&world, 1), tunnel_of(&world, 2));
    world.run_for(DIRTY_AFTER - 10 * SECOND);
    assert_eq!((tunnel_of(&world, 1), tunnel_of(&world, 2)), (one, other));
    // This one is in the middle of something when its time comes.
    let flow = open(&mut world, 2, port::ENDLESS, 0);
    world.run_for(20 * SECOND);
    assert_eq!((tunnel_of(&world, 1), tunnel_of(&world, 2)), (None, other));
    assert!(!is_reset(&world, flow));
}

/// A tunnel that everybody uses is replaced in time by one that is up already.
#[test]
fn a_tunnel_that_is_old_is_replaced_and_its_flows_go_on() {
    let life = 60 * SECOND;
    let mut world = world(setting(PoolConfig { life, ..PoolConfig::default() }));
    let first = open(&mut world, 1, port::ECHO, 1000);
    assert!(world.run_while(SECOND, |world| world.received(first) == 1000));
    let old = world.tunnels()[0].clone();
    world.run_for(30 * SECOND);
    assert_eq!(world.tunnels().len(), 1, "not before its time");
    let flow = open(&mut world, 1, port::ENDLESS, 0);
    world.run_for(40 * SECOND);
    let tunnels = world.tunnels();
    assert_eq!(tunnels.len(), 2, "{tunnels:?}");
    assert_eq!((tunnels[0].number, tunnels[0].holder), (old.number, TunnelHolder::Nobody));
    let (before, next) = (world.received(flow), open(&mut world, 1, port::MEGABYTE, 0));
    assert!(world.run_while(10 * SECOND, |world| world.received(next) == MEGABYTE));
    assert!(world.received(flow) > before && !is_reset(&world, flow));
    assert_eq!(world.tunnels()[1].holder, TunnelHolder::Group);
}

/// Beyond the bound clients wait, and are refused in the end.
#[test]
fn there_are_so_many_tunnels_at_most() {
    let mut world = world(Setting { legs: 1, ..setting(clients(8)) });
    let clients = TUNNELS_MAX as u64 + 3;
    let flows: Vec<usize> = (1..=clients).map(|client| open(&mut world, client, port::ECHO, 100)).collect();
    world.run_for(25 * SECOND);
    let served = flows.iter().filter(|flow| world.received(**flow) == 100).count();
    let refused = flows.iter().filter(|flow| is_reset(&world, **flow)).count();
    assert_eq!((served, refused, world.tunnels().len()), (TUNNELS_MAX, 3, TUNNELS_MAX));
    let told = world.entry.events.iter().filter(|(_, event)| matches!(event, NodeEvent::TunnelsFull)).count();
    assert_eq!(told, 1);
}

/// With another tunnel ready, the loss of the one in use costs new flows nothing.
#[test]
fn who_loses_a_tunnel_takes_the_next_one_that_is_ready() {
    let mut world = world(setting(PoolConfig { tunnels: 2, ..PoolConfig::default() }));
    let lost = open(&mut world, 1, port::ENDLESS, 0);
    world.run_for(2 * SECOND);
    let used = world.tunnels().iter().position(|tunnel| tunnel.holder == TunnelHolder::Group).expect("one in use");
    let exit = world.exit_of(used).expect("a path");
    // The other one may lead to the same exit: then it is lost as well, and made again.
    world.restart(exit);
    assert!(world.run_while(30 * SECOND, |world| is_reset(world, lost)), "{:?}", world.tunnels());
    let next = open(&mut world, 1, port::ECHO, MEGABYTE);
    assert!(world.run_while(10 * SECOND, |world| world.received(next) == MEGABYTE), "{:?}", world.tunnels());
    assert!(world.run_while(20 * SECOND, |world| {
        count(world, TunnelHolder::Pool) == 1 && count(world, TunnelHolder::Group) == 1
    }));
}

/// Tunnels whose data goes over the same links take turns.
#[test]
fn tunnels_share_the_links_to_their_guards() {
    let mut world = world(setting(clients(2)));
    let flows = [1, 2].map(|client| open(&mut world, client, port::ECHO, 100 * MEGABYTE));
    world.run_for(4 * SECOND);
    let [one, other] = flows.map(|flow| world.received(flow));
    assert!(one > MEGABYTE && one < 2 * other && other < 2 * one, "{one} {other}");
}
