//! An entry whose flows go to a service by its address: record, introduction, meetings and a session from end to end, all with the
//! real cores on virtual time.

use model_tests::apps::{MEGABYTE, Plan, port};
use model_tests::circuits::{Health, ServiceHost, Setting, World, node_id, service_address};
use shaped_node::{
    Group, Isolation, Mode, NodeEvent, PoolConfig, SERVICE_IDLE, SOUGHT_OF_CLIENT_MAX, ServiceFailure, ServiceState,
    ServiceWish, TunnelHolder, TunnelStatus,
};
use std::collections::BTreeSet;
use std::time::Duration;
use tunnel_plan::{PathRules, Target};
use wire::flow::ResetReason;

mod deaths;

const SECOND: Duration = Duration::from_secs(1);

fn setting() -> Setting {
    Setting { relays: 14, service: true, ..Setting::default() }
}

/// A world whose entry has a tunnel, and whose service is known.
fn world(setting: Setting) -> World {
    let mut world = World::new(setting);
    let known =
        world.run_while(ServiceHost::PATIENCE, |world| world.status().session_up && world.service().published > 1);
    assert!(known, "{:?} {:?} {:?}", world.status(), world.service().published, world.service().node.status());
    world
}

fn plan(port: u16, send: u64) -> Plan {
    Plan { port, client: 7, send, read_per_step: usize::MAX }
}

fn open(world: &mut World, plan: Plan) -> usize {
    world.entry.unshaped.open_name(plan, &service_address().to_string()).expect("a queue pair")
}

fn of_service(world: &World) -> Vec<TunnelStatus> {
    world.tunnels().into_iter().filter(|tunnel| tunnel.holder == TunnelHolder::Service).collect()
}

fn linked(world: &World) -> usize {
    of_service(world).iter().flat_map(|tunnel| &tunnel.legs).filter(|leg| leg.state == "linked").count()
}

fn failures(world: &World) -> Vec<String> {
    let failures = world.entry.events.iter().filter_map(|(_, event)| match event {
        NodeEvent::ServiceFailed(failure) => Some(failure.to_string()),
        _ => None,
    });
    failures.collect()
}

fn reset(world: &World, flow: usize) -> Option<ResetReason> {
    world.entry.unshaped.outcome(flow).reset
}

#[test]
fn a_megabyte_goes_both_ways_over_two_meetings() {
    for legs in [1, 2] {
        let mut world = world(Setting { legs, ..setting() });
        let echo = open(&mut world, plan(port::ECHO, MEGABYTE));
        let load = open(&mut world, plan(port::MEGABYTE, 0));
        let done = world.run_while(30 * SECOND, |world| {
            [echo, load].iter().all(|flow| world.entry.unshaped.outcome(*flow).received == MEGABYTE)
        });
        assert!(done, "{:?} {:?}", world.tunnels(), failures(&world));
        let [tunnel] = &of_service(&world)[..] else { panic!("one tunnel for one service: {:?}", world.tunnels()) };
        assert!(tunnel.legs.iter().all(|leg| leg.received > 100), "{tunnel:?}");
        assert_eq!(tunnel.legs.len(), usize::from(legs));
        // No relay between them had flows to hand over, and the entry's other tunnel had none.
        assert!((0..world.relays.len()).all(|relay| world.relays[relay].flows() == 0));
        let relays: Vec<String> = (0..world.relays.len()).map(|relay| node_id(relay).to_string()).collect();
        let path = || tunnel.legs.iter().flat_map(|leg| &leg.path);
        assert!(path().all(|relay| relays.contains(relay)) && path().count() == 3 * usize::from(legs), "{tunnel:?}");
        let mut names: Vec<&String> = path().collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 3 * usize::from(legs), "legs have no relay in common");
    }
}

#[test]
fn it_gets_through_loss() {
    let mut world = world(setting());
    let all = world.relays.len();
    for one in 0..all {
        (0..one).for_each(|other| world.set_loss(one, other, 0.01));
    }
    let echo = open(&mut world, plan(port::ECHO, MEGABYTE));
    let done = world.run_while(60 * SECOND, |world| world.entry.unshaped.outcome(echo).received == MEGABYTE);
    assert!(done, "{:?} {:?}", world.tunnels(), failures(&world));
}

/// Kills the relay at which the first leg to the service ends.
fn kill_meeting(world: &mut World) -> (usize, String) {
    let met = of_service(world)[0].legs[0].path[2].clone();
    let relay = (0..world.relays.len()).find(|relay| node_id(*relay).to_string() == met).expect("a relay");
    world.relays[relay].health = Health::Dead;
    (relay, met)
}

/// Two legs to the service, none of them over this relay.
fn met_without(world: &World, relay: &String) -> bool {
    linked(world) == 2 && of_service(world)[0].legs.iter().all(|leg| !leg.path.contains(relay))
}

/// One rendezvous point dies while megabytes are under way: they come over the other one, and another is made; and so again and again,
/// after a wait that grows.
#[test]
fn a_rendezvous_point_that_is_killed_stops_no_transfer_and_is_replaced() {
    let mut world = world(setting());
    let flow = open(&mut world, plan(port::ECHO, 6 * MEGABYTE));
    let part = world.run_while(30 * SECOND, |world| {
        world.entry.unshaped.outcome(flow).received > 2 * MEGABYTE && linked(world) == 2
    });
    assert!(part, "{:?} {:?}", world.tunnels(), failures(&world));
    let (mut dead, mut met) = kill_meeting(&mut world);
    let done = world.run_while(120 * SECOND, |world| world.entry.unshaped.outcome(flow).ended);
    assert!(done, "{:?}", world.entry.unshaped.outcome(flow));
    assert_eq!((world.entry.unshaped.outcome(flow).received, reset(&world, flow)), (6 * MEGABYTE, None));
    let mut waits = Vec::new();
    for _ in 0..4 {
        let begun = world.elapsed();
        let again = world.run_while(120 * SECOND, |world| met_without(world, &met));
        assert!(again, "{waits:?} {:?}", world.tunnels());
        waits.push(world.elapsed() - begun);
        world.relays[dead].health = Health::Well;
        (dead, met) = kill_meeting(&mut world);
    }
    let longest = waits.iter().max().expect("four");
    assert!(waits[0] < 10 * SECOND && *longest > 15 * SECOND, "{waits:?}");
    assert_eq!(of_service(&world)[0].made, 1, "it is the same tunnel");
}

#[test]
fn an_introduction_point_that_is_dead_is_passed_by() {
    for seed in 1..=5 {
        let mut world = world(Setting { seed, ..setting() });
        let points: Vec<usize> =
            (0..world.relays.len()).filter(|relay| world.relays[*relay].node.meetings().1 > 0).collect();
        assert!(points.len() >= 3, "seed {seed}: {points:?}");
        // The entry's own guards may be among them; the others of its path are its choice.
        let spared = world.status().legs.iter().flat_map(|leg| leg.path.clone()).collect::<Vec<_>>();
        let point = points.into_iter().find(|point| !spared.contains(&node_id(*point).to_string()));
        point.into_iter().for_each(|point| world.relays[point].health = Health::Dead);
        let (flow, begun) = (open(&mut world, plan(port::MEGABYTE, 0)), world.elapsed());
        let done = world.run_while(20 * SECOND, |world| world.entry.unshaped.outcome(flow).received == MEGABYTE);
        println!("seed {seed}: {point:?} {:?}", world.elapsed() - begun);
        assert!(done, "seed {seed}: {:?} {:?}", world.tunnels(), failures(&world));
    }
}

#[test]
fn clients_that_are_kept_apart_have_tunnels_of_their_own() {
    let pool = PoolConfig { tunnels: 1, isolation: Isolation::Clients, ..PoolConfig::default() };
    let mut world = world(Setting { pool, ..setting() });
    let flows: Vec<usize> = (0..3).map(|client| open(&mut world, Plan { client, ..plan(port::MEGABYTE, 0) })).collect();
    let done = world.run_while(60 * SECOND, |world| {
        flows.iter().all(|flow| world.entry.unshaped.outcome(*flow).received == MEGABYTE)
    });
    assert!(done, "{:?} {:?}", world.tunnels(), failures(&world));
    assert_eq!(of_service(&world).len(), 3);
}

#[test]
fn an_idle_tunnel_ends_and_the_next_flow_makes_another() {
    let mut world = world(setting());
    for _ in 0..2 {
        let flow = open(&mut world, plan(port::MEGABYTE, 0));
        let done = world.run_while(30 * SECOND, |world| world.entry.unshaped.outcome(flow).released);
        assert!(done, "{:?} {:?}", world.tunnels(), failures(&world));
        assert_eq!(of_service(&world).len(), 1);
        world.run_for(SERVICE_IDLE - 20 * SECOND);
        assert_eq!(of_service(&world).len(), 1, "not yet");
        assert!(world.run_while(60 * SECOND, |world| world.tunnels().len() == 1), "{:?}", world.tunnels());
        assert!(world.run_while(60 * SECOND, |world| world.service().node.status().services[0].tunnels == 0));
    }
}

#[test]
fn what_is_not_there_is_told_in_time_and_in_words() {
    let mut world = world(setting());
    let unknown = onion_service::ServiceAddress(identity::ServiceSecret::from_seed([1; 32]).public_key()).to_string();
    let nobody = world.entry.unshaped.open_name(plan(port::ECHO, 1), &unknown).expect("a queue pair");
    let mistake = world.entry.unshaped.open_name(plan(port::ECHO, 1), "abc.hush").expect("a queue pair");
    let port = open(&mut world, plan(port::REFUSED, 1));
    let told =
        world.run_while(30 * SECOND, |world| [nobody, mistake, port].iter().all(|flow| reset(world, *flow).is_some()));
    assert!(told, "{:?}", failures(&world));
    assert_eq!(
        [nobody, mistake, port].map(|flow| reset(&world, flow)),
        [ResetReason::NoService, ResetReason::NameUnknown, ResetReason::Refused].map(Some)
    );
    assert!(failures(&world)[0].contains("no such service"), "{:?}", failures(&world));
    // A service that is gone, whose record is still there.
    world.service.as_mut().expect("it is there").is_dead = true;
    assert!(world.run_while(400 * SECOND, |world| of_service(world).is_empty()), "{:?}", world.tunnels());
    let gone = open(&mut world, plan(port::ECHO, 1));
    assert!(world.run_while(70 * SECOND, |world| reset(world, gone).is_some()), "{:?}", failures(&world));
    assert_eq!(reset(&world, gone), Some(ResetReason::ServiceSilent));
}

/// Half of the services that can be sought are one client's at most; what it does not use makes room for what it asks for.
#[test]
fn one_client_leaves_room_for_others() {
    let mut world = world(setting());
    let visit = open(&mut world, plan(port::MEGABYTE, 0));
    let done = world.run_while(30 * SECOND, |world| world.entry.unshaped.outcome(visit).received == MEGABYTE);
    assert!(done, "{:?} {:?}", world.tunnels(), failures(&world));
    // The pool has looked at it since: nobody uses it.
    world.run_for(5 * SECOND);
    let seek = |world: &mut World, client: u64, number: usize| {
        let secret = identity::ServiceSecret::from_seed([number as u8 + 1; 32]);
        let name = onion_service::ServiceAddress(secret.public_key()).to_string();
        let plan = Plan { client, ..plan(port::ECHO, 1) };
        world.entry.unshaped.open_name(plan, &name).expect("a queue pair")
    };
    let of_one: Vec<usize> = (0..SOUGHT_OF_CLIENT_MAX + 1).map(|number| seek(&mut world, 7, number)).collect();
    let of_other = seek(&mut world, 8, 100);
    world.run_for(SECOND / 40);
    let told = |world: &World, flow| reset(world, flow);
    let refused = of_one.iter().filter(|flow| told(&world, **flow) == Some(ResetReason::TooManyFlows)).count();
    assert_eq!((refused, told(&world, of_other)), (1, None), "{:?}", world.tunnels());
    assert_eq!(of_service(&world).len(), SOUGHT_OF_CLIENT_MAX + 1, "the one that had no flow has made room");
    let all = [&of_one[..], &[of_other]].concat();
    assert!(world.run_while(60 * SECOND, |world| all.iter().all(|flow| told(world, *flow).is_some())));
    assert_eq!(told(&world, of_other), Some(ResetReason::NoService));
}

/// An entry and a service of which one has a schedule and the other has none: the application is told at once, and `status` says it.
#[test]
fn a_service_in_another_mode_is_refused_at_once_and_in_words() {
    let modes = [
        (
            Mode::Off,
            Mode::Constant,
            ResetReason::ServiceIsShaped,
            "the service is in mode `constant` and this entry in mode `off`",
        ),
        (
            Mode::Constant,
            Mode::Off,
            ResetReason::ServiceIsOff,
            "the service is in mode `off` and this entry in mode `constant`",
        ),
    ];
    for (mode, service, reason, words) in modes {
        let mut world =
            world(Setting { mode, service_mode: Some(service), relays: 14, service: true, ..Setting::constant() });
        let (asked, flow) = (world.elapsed(), open(&mut world, plan(port::ECHO, 1)));
        let told = world.run_while(60 * SECOND, |world| reset(world, flow).is_some());
        assert!(told, "{mode:?}: {:?}", world.tunnels());
        assert_eq!(reset(&world, flow), Some(reason));
        let took = world.elapsed() - asked;
        assert!(took < 5 * SECOND, "{mode:?}: as soon as it was met, not after {took:?}");
        assert_eq!(failures(&world).len(), 1, "{:?}", failures(&world));
        assert!(failures(&world)[0].starts_with(words), "{:?}", failures(&world));
        let circuits = world.entry.node.status().circuits.expect("over circuits");
        assert_eq!(circuits.service_refusal.as_ref(), failures(&world).first());
        assert!(world.run_while(5 * SECOND, |world| world.tunnels().len() == 1), "{:?}", world.tunnels());
        assert!(world.run_while(60 * SECOND, |world| world.service().node.status().joined == 0), "{mode:?}");
    }
}

/// A service that has as many clients as it takes: the next one is told so at once, and those who are there stay.
#[test]
fn a_service_that_is_full_says_so() {
    let pool = PoolConfig { tunnels: 1, isolation: Isolation::Clients, ..PoolConfig::default() };
    let mut world = world(Setting { pool, service_tunnels: 1, ..setting() });
    let first = open(&mut world, plan(port::ENDLESS, 0));
    let is_there = |world: &World| world.entry.unshaped.outcome(first).received > 0;
    assert!(world.run_while(30 * SECOND, is_there), "{:?} {:?}", world.tunnels(), failures(&world));
    let (asked, second) = (world.elapsed(), open(&mut world, Plan { client: 8, ..plan(port::ECHO, 1) }));
    assert!(world.run_while(60 * SECOND, |world| reset(world, second).is_some()), "{:?}", world.tunnels());
    assert_eq!(reset(&world, second), Some(ResetReason::ServiceSilent));
    let took = world.elapsed() - asked;
    assert!(took < 5 * SECOND, "as soon as it was met, not after {took:?}");
    assert!(failures(&world)[0].starts_with("the service is full"), "{:?}", failures(&world));
    assert_eq!((failures(&world).len(), reset(&world, first)), (1, None));
}

/// A program hears as well why it does not get the tunnel that it wished for.
#[test]
fn a_program_hears_that_a_service_is_in_another_mode() {
    let mut world =
        world(Setting { service_mode: Some(Mode::Constant), class: Setting::constant().class, ..setting() });
    let rules = PathRules::new(3, 1).expect("a tunnel").to(Target::Directory);
    let wish = ServiceWish { group: Group(5), access: None, directory: (Group(6), rules) };
    let now = world.now();
    let number = world.entry.node.seek_service(now, service_address(), wish).expect("it is sought");
    let state = |world: &World| world.entry.node.service_state(number);
    assert!(world.run_while(60 * SECOND, |world| state(world) != ServiceState::Sought), "{:?}", world.tunnels());
    assert_eq!(state(&world), ServiceState::Over(Some(ServiceFailure::Mode { entry: Mode::Off })));
}

/// The service lets in who has a key that it knows, and tells others so.
#[test]
fn a_key_that_the_service_knows_opens_it() {
    for has_key in [true, false] {
        let access = has_key.then_some([9; 32]);
        let mut world = world(Setting { access, authorised: true, ..setting() });
        let flow = open(&mut world, plan(port::MEGABYTE, 0));
        let done = world.run_while(30 * SECOND, |world| {
            reset(world, flow).is_some() || world.entry.unshaped.outcome(flow).received == MEGABYTE
        });
        assert!(done, "{:?} {:?}", world.tunnels(), failures(&world));
        assert_eq!(reset(&world, flow), (!has_key).then_some(ResetReason::NotAuthorised));
    }
}

/// All legs are lost at once: flows are told, and the next flow finds the service anew.
#[test]
fn a_tunnel_that_is_lost_is_made_anew_for_the_next_flow() {
    let mut world = world(setting());
    let flow = open(&mut world, plan(port::ENDLESS, 0));
    assert!(world.run_while(30 * SECOND, |world| linked(world) == 2), "{:?} {:?}", world.tunnels(), failures(&world));
    let met: Vec<String> = of_service(&world)[0].legs.iter().map(|leg| leg.path[2].clone()).collect();
    for relay in 0..world.relays.len() {
        if met.contains(&node_id(relay).to_string()) {
            world.relays[relay].health = Health::Dead;
        }
    }
    // Whoever only receives hears of it when the session ends; legs that are made anew before carry it on.
    let is_anew =
        |world: &World| linked(world) == 2 && !of_service(world)[0].legs.iter().any(|leg| met.contains(&leg.path[2]));
    let over = world.run_while(120 * SECOND, |world| reset(world, flow).is_some() || is_anew(world));
    assert!(over, "{:?}", world.tunnels());
    let again = open(&mut world, plan(port::MEGABYTE, 0));
    let done = world.run_while(60 * SECOND, |world| world.entry.unshaped.outcome(again).received == MEGABYTE);
    assert!(done, "{:?} {:?}", world.tunnels(), failures(&world));
}

/// What leaves the entry: when, over which guard, how long.
fn departures(world: &World) -> Vec<(Duration, std::net::SocketAddr, usize)> {
    world.sent_by(world.entry.address)
}

/// In a shaped mode a service is reached in slots that exist anyway: the entry's line shows the same packets at the same times
/// whether somebody asks for it or not.
#[test]
fn under_a_schedule_the_line_shows_no_service() {
    let end = 60 * SECOND;
    let run = |asks: bool| {
        let mut world = world(Setting { relays: 14, service: true, ..Setting::constant() });
        let mut received = 0;
        if asks {
            let flow = open(&mut world, plan(port::MEGABYTE, 0));
            let met = world.run_while(25 * SECOND, |world| world.entry.unshaped.outcome(flow).received > 0);
            assert!(met, "{:?} {:?}", world.tunnels(), failures(&world));
            world.run_for(end.saturating_sub(world.elapsed()));
            received = world.entry.unshaped.outcome(flow).received;
        } else {
            world.run_for(end.saturating_sub(world.elapsed()));
        }
        (departures(&world), received)
    };
    let ((idle, _), (asked, received)) = (run(false), run(true));
    assert!(received > MEGABYTE / 20, "{received}");
    assert_eq!(idle.len(), asked.len());
    let first = idle.iter().zip(&asked).position(|(one, other)| one != other);
    assert_eq!(first.map(|at| (idle[at], asked[at])), None);
}

/// The relays at which the legs to the service meet its own.
fn meeting_places(world: &World) -> BTreeSet<usize> {
    let legs = of_service(world).into_iter().flat_map(|tunnel| tunnel.legs);
    legs.filter_map(|leg| world.number_of(leg.path.get(2)?)).collect()
}

/// However often legs were lost before: a tunnel that has none left does not wait until it is over.
#[test]
fn a_tunnel_that_loses_all_legs_again_and_again_goes_on() {
    let mut world = world(setting());
    let flow = open(&mut world, plan(port::ENDLESS, 0));
    let mut waits = Vec::new();
    for _ in 0..4 {
        let met = world.run_while(60 * SECOND, |world| linked(world) == 2 && of_service(world)[0].session_up);
        assert!(met, "{waits:?} {:?} {:?}", reset(&world, flow), world.tunnels());
        let (places, begun) = (meeting_places(&world), world.elapsed());
        places.iter().for_each(|relay| world.relays[*relay].health = Health::Dead);
        let is_anew = |world: &World| linked(world) > 0 && meeting_places(world).is_disjoint(&places);
        // Sixteen seconds and more would be the fourth wait of a tunnel that has a leg.
        assert!(world.run_while(18 * SECOND, is_anew), "{waits:?} {:?} {:?}", reset(&world, flow), world.tunnels());
        waits.push(world.elapsed() - begun);
        places.iter().for_each(|relay| world.relays[*relay].health = Health::Well);
    }
    assert_eq!((reset(&world, flow), of_service(&world)[0].made), (None, 1), "{waits:?}");
}

/// The service has come, and before there is a session the relay dies where both met: the client begins anew, and no flow hears of it.
#[test]
fn a_meeting_that_dies_before_there_is_a_session_costs_no_flow() {
    let mut world = world(Setting { legs: 1, ..setting() });
    let flow = open(&mut world, plan(port::MEGABYTE, 0));
    let is_linking =
        |world: &World| of_service(world).iter().any(|tunnel| !tunnel.session_up && tunnel.legs[0].state == "linking");
    assert!(world.run_while(30 * SECOND, is_linking), "{:?}", world.tunnels());
    for relay in meeting_places(&world) {
        world.relays[relay].health = Health::Dead;
    }
    let done = world.run_while(60 * SECOND, |world| world.entry.unshaped.outcome(flow).received == MEGABYTE);
    assert!(done, "{:?} {:?} {:?}", reset(&world, flow), world.tunnels(), failures(&world));
}

/// One relay moves: it comes up elsewhere, and three seconds later an edition says so. Points and legs that led over it are made anew within
/// seconds, all others stay, and the flow goes on.
#[test]
fn a_relay_that_moves_costs_what_leads_over_it_and_for_seconds() {
    for is_point in [false, true] {
        let mut world = world(setting());
        let flow = open(&mut world, Plan { read_per_step: 20, ..plan(port::ENDLESS, 0) });
        let is_whole = |world: &World| linked(world) == 2 && world.service().node.status().services[0].points == 3;
        assert!(world.run_while(40 * SECOND, is_whole), "{:?} {:?}", world.tunnels(), failures(&world));
        let waits_at = |world: &World, relay: usize| world.relays[relay].node.meetings().1 > 0;
        let places = meeting_places(&world);
        let point = (0..world.relays.len()).find(|relay| waits_at(&world, *relay) && !places.contains(relay));
        let moved = if is_point { point } else { places.first().copied() }.expect("a relay that is in use");
        let lost = |world: &World| world.service().node.status().node.counters["points_lost"];
        let before = lost(&world);
        world.moved.push(moved);
        world.restart_elsewhere(moved);
        world.run_for(3 * SECOND);
        world.exchange(&[]);
        let begun = world.elapsed();
        let mut least = 2;
        let again = world.run_while(10 * SECOND, |world| {
            least = least.min(linked(world));
            world.elapsed() > begun + 3 * SECOND && is_whole(world)
        });
        assert!(again, "{is_point} {moved} {:?} {:?}", world.tunnels(), world.service().node.status());
        assert!(least >= 1 && lost(&world) - before <= 1, "{is_point} {least} {}", lost(&world) - before);
        world.run_for(20 * SECOND);
        assert!(is_whole(&world) && reset(&world, flow).is_none(), "{:?}", world.tunnels());
        assert_eq!(of_service(&world)[0].made, 1, "it is the same tunnel");
    }
}

/// The exit's directory is not there for a moment, as after its relays have moved: it is asked again.
#[test]
fn a_directory_that_is_away_for_a_moment_is_asked_again() {
    let mut world = world(setting());
    world.set_directories_away(true);
    let flow = open(&mut world, plan(port::MEGABYTE, 0));
    world.run_for(3 * SECOND / 2);
    assert_eq!(reset(&world, flow), None);
    world.set_directories_away(false);
    let done = world.run_while(30 * SECOND, |world| world.entry.unshaped.outcome(flow).received == MEGABYTE);
    assert!(done, "{:?} {:?}", reset(&world, flow), failures(&world));
    // One that stays away is no reason to wait for long.
    world.set_directories_away(true);
    let stranger = onion_service::ServiceAddress(identity::ServiceSecret::from_seed([1; 32]).public_key()).to_string();
    let flow = world.entry.unshaped.open_name(plan(port::ECHO, 1), &stranger).expect("a queue pair");
    assert!(world.run_while(15 * SECOND, |world| reset(world, flow).is_some()), "{:?}", world.tunnels());
    assert_eq!(reset(&world, flow), Some(ResetReason::Unreachable));
}

/// A service's guard dies and returns: another one stands in for it, and no longer than has to be.
#[test]
fn a_service_goes_back_to_its_first_guards() {
    let constant = |seed| Setting { relays: 14, service: true, seed, ..Setting::constant() };
    for base in [setting(), constant(1), constant(2)] {
        let mode = base.mode;
        let mut world = world(base);
        let is_whole = |world: &World| world.service().node.status().services[0].points == 3;
        assert!(world.run_while(60 * SECOND, is_whole));
        let first = world.service_guards();
        let guard = *first.first().expect("two guards");
        world.relays[guard].health = Health::Dead;
        let stands_in = |world: &World| !world.service_guards().is_subset(&first) && is_whole(world);
        // Over a link that nothing goes over silence is long.
        assert!(world.run_while(120 * SECOND, stands_in), "{mode:?} {:?}", world.service_guards());
        let lost = world.service().node.status().node.counters["points_lost"];
        world.relays[guard].health = Health::Well;
        let is_back = |world: &World| world.service_guards().is_superset(&first) && is_whole(world);
        assert!(world.run_while(120 * SECOND, is_back), "{mode:?} {:?}", world.service_guards());
        world.run_for(60 * SECOND);
        assert!(is_back(&world), "{mode:?} {:?} {first:?} {:?}", world.service_guards(), world.service().node.status());
        if mode == Mode::Off {
            let after = world.service().node.status().node.counters["points_lost"];
            assert_eq!(after, lost, "points are replaced before they go");
        } else {
            assert_eq!(world.service_guards(), first, "there are no slots for a third one");
        }
        let flow = open(&mut world, plan(port::ECHO, 10_000));
        let done = world.run_while(60 * SECOND, |world| world.entry.unshaped.outcome(flow).received == 10_000);
        assert!(done, "{mode:?} {:?} {:?}", world.tunnels(), failures(&world));
    }
}

/// When somebody began to speak to a relay in this time: what lies further apart than what keeps a link.
fn approaches(world: &World, from: std::net::SocketAddr, relay: usize, since: Duration) -> usize {
    let to = world.relays[relay].address;
    let sent = world.sent_by(from).into_iter().filter(|(at, whom, _)| *whom == to && *at >= since).map(|(at, ..)| at);
    let sent: Vec<Duration> = sent.collect();
    usize::from(!sent.is_empty()) + sent.windows(2).filter(|pair| pair[1] - pair[0] > 20 * SECOND).count()
}

/// A guard that comes first answers and builds nothing. Nobody stays away from it for good, and nobody runs against it all the time.
#[test]
fn a_first_guard_that_builds_nothing_is_tried_more_and_more_rarely() {
    let mut world = world(setting());
    world.run_for(10 * SECOND);
    let service_guard = *world.service_guards().first().expect("two guards");
    let entry_guard = *world.guards().first().expect("two guards");
    for guard in [service_guard, entry_guard] {
        world.relays[guard].health = Health::Dead;
    }
    world.run_for(20 * SECOND);
    let since = world.elapsed();
    for guard in [service_guard, entry_guard] {
        world.mute(guard);
    }
    world.run_for(900 * SECOND);
    let service = world.service().address;
    let (entry, service) = (
        approaches(&world, world.entry.address, entry_guard, since),
        approaches(&world, service, service_guard, since),
    );
    assert!((2..=7).contains(&entry) && (2..=7).contains(&service), "{entry} {service}");
    assert_eq!(world.linked(), 2, "{:?}", world.status());
    assert_eq!(world.service().node.status().services[0].points, 3);
}
