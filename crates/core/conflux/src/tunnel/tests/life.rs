//! Legs come and go, cells are lost, and what is promised about it.

use super::super::*;
use super::ends::*;
use crate::message::{ATTEMPTS_MAX, Message};
use crate::{Asked, First, JoinPoint, JoinPointConfig};
use wire::leg::LegKind;

#[test]
fn legs_are_linked_and_both_ends_know_the_round_trip() {
    let pair = Pair::linked(2);
    for end in [&pair.client, &pair.exit] {
        assert_eq!(end.tunnel.linked(), 2);
        assert!(end.tunnel.is_settled());
        let states: Vec<_> = end.tunnel.legs().map(|leg| leg.state).collect();
        assert_eq!(states, [LegState::Linked, LegState::Linked]);
    }
    assert!(pair.client.tunnel.legs().all(|leg| leg.rtt == Some(20 * MS)));
    assert!(pair.exit.tunnel.legs().all(|leg| leg.rtt == Some(20 * MS)));
    assert_eq!(pair.join_point.len(), 1);
}

#[test]
fn a_lost_link_is_said_again_and_a_leg_that_is_not_answered_is_given_up() {
    let mut now = crate::origin();
    let mut client = client(now);
    client.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("it fits");
    let mut said = 0;
    while client.released().is_empty() {
        said += client.own_cells(now).len();
        now = client.tunnel.poll_timeout().expect("something is due until then");
        client.tunnel.handle_timeout(now);
    }
    assert_eq!(said, usize::from(ATTEMPTS_MAX));
    assert_eq!(client.events(), [TunnelEvent::LegEnded(id(0), LegEnd::LinkTimedOut)]);
    assert!(!client.tunnel.is_over(), "another leg may come");
}

#[test]
fn a_lost_answer_is_given_again_to_each_attempt_once() {
    let mut now = crate::origin();
    let mut join_point = JoinPoint::default();
    let mut client = client(now);
    client.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("it fits");
    let first_link = client.own_cells(now).remove(0);
    let First::New(_, accepted) = first(&mut join_point, now, &first_link) else { panic!("a LINK makes a tunnel") };
    let mut exit = End::new(Tunnel::exit(now, TunnelConfig::default(), accepted, [2; 32]));
    let lost = exit.own_cells(now);
    assert_eq!(lost.len(), 1);
    now += 500 * MS;
    let again = client.own_cells(now).remove(0);
    exit.take(now, &again);
    let answer = exit.own_cells(now).remove(0);
    client.take(now + 30 * MS, &answer);
    assert_eq!(client.tunnel.leg(id(0)).and_then(|leg| leg.rtt), Some(30 * MS), "of the attempt that was answered");
    // The first answer comes after all, and is acknowledged as well; a second time it closes the leg.
    client.take(now + 40 * MS, &lost[0]);
    let acks: Vec<_> = client.own_cells(now + 40 * MS).iter().filter_map(Cell::message).collect();
    assert!(matches!(acks[..], [Message::LinkedAck { .. }, Message::LinkedAck { .. }]), "{acks:?}");
    client.take(now + 50 * MS, &lost[0]);
    assert_eq!(client.released(), [LegEnd::Fault(Fault::LinkedTwice)]);
}

#[test]
fn a_leg_joins_a_live_tunnel_and_one_leaves_without_losing_what_is_on_its_way() {
    let Pair { mut now, mut join_point, mut client, mut exit } = Pair::linked(1);
    client.tunnel.add_leg(now, built(7, &[11, 21, 30])).expect("it fits");
    let link = client.own_cells(now).remove(0);
    assert!(matches!(link.message(), Some(Message::Link { joins: true, .. })));
    let First::Joins(_, accepted) = first(&mut join_point, now, &link) else { panic!("the tunnel is there") };
    exit.tunnel.accept(now, accepted).expect("it fits");
    let linked = exit.own_cells(now).remove(0);
    client.take(now + 10 * MS, &linked);
    for cell in client.own_cells(now + 10 * MS) {
        exit.take(now + 20 * MS, &cell);
    }
    now += 20 * MS;
    assert_eq!((client.tunnel.linked(), exit.tunnel.linked()), (2, 2));

    let on_its_way = exit.data_cell(now, id(0), b"before");
    client.tunnel.remove_leg(now, id(0));
    assert!(client.tunnel.data_header(now, id(0), 99, 1).is_none(), "no data on it any more");
    let unlink = client.own_cells(now).remove(0);
    exit.take(now, &unlink);
    assert!(exit.tunnel.data_header(now, id(0), 99, 1).is_none());
    client.take(now, &on_its_way);
    assert_eq!(client.packets(now), [b"before"]);
    for cell in exit.own_cells(now) {
        client.take(now, &cell);
    }
    now += 600 * MS;
    client.tunnel.handle_timeout(now);
    assert_eq!(client.released(), [LegEnd::Removed]);
    exit.tunnel.handle_circuit_gone(now, id(0));
    assert_eq!(exit.released(), [LegEnd::CircuitGone]);
    assert_eq!((client.tunnel.linked(), exit.tunnel.linked()), (1, 1));
}

#[test]
fn a_circuit_that_does_not_fit_comes_back_unchanged() {
    let now = crate::origin();
    let mut client = client(now);
    client.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("the first fits");
    let refused = |client: &mut End, path: &[u8]| {
        let (leg, error) = client.tunnel.add_leg(now, built(9, path)).expect_err("it does not fit");
        assert_eq!(leg.into_circuit().0, 9);
        error
    };
    assert_eq!(refused(&mut client, &[4, 3]), AddLegError::OtherLength);
    assert_eq!(refused(&mut client, &[4, 5, 6]), AddLegError::OtherExit);
    assert_eq!(refused(&mut client, &[1, 5, 3]), AddLegError::SharedGuard);
    assert_eq!(
        refused(&mut client, &[2, 5, 3]),
        AddLegError::SharedGuard,
        "a guard of one leg is a middle of the other"
    );
    assert_eq!(refused(&mut client, &[4, 1, 3]), AddLegError::SharedGuard);
    assert_eq!(refused(&mut client, &[4, 2, 3]), AddLegError::SharedMiddle);
    client.tunnel.close(now);
    assert_eq!(refused(&mut client, &[4, 5, 3]), AddLegError::Over);
    let mut relaxed = TunnelConfig { sharing: Sharing::MiddlesToo, legs_max: 2, ..TunnelConfig::default() };
    let mut small = End::new(Tunnel::client(now, relaxed, nonce(), [1; 32]));
    small.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("the first fits");
    small.tunnel.add_leg(now, built(1, &[4, 2, 3])).expect("a middle may be shared");
    assert_eq!(refused(&mut small, &[5, 2, 3]), AddLegError::TooMany);
    let mut smaller = End::new(Tunnel::client(now, relaxed, nonce(), [1; 32]));
    smaller.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("the first fits");
    assert_eq!(refused(&mut smaller, &[1, 4, 3]), AddLegError::SharedGuard);
    smaller.tunnel.add_leg(now, built(1, &[2, 1, 3])).expect("each is the guard of one and the middle of the other");
    // Two lines to one exit, without relays.
    relaxed.sharing = Sharing::ExitOnly;
    let mut direct = End::new(Tunnel::client(now, relaxed, nonce(), [1; 32]));
    direct.tunnel.add_leg(now, built(0, &[3])).expect("the first fits");
    assert_eq!(refused(&mut direct, &[3]), AddLegError::SharedWay, "without a word both take the same way");
    direct.tunnel.add_leg(now, built(1, &[3]).over(1)).expect("the exit is all they share");
}

/// Two ends of a tunnel with slots, and what the exit says to a further LINK.
fn shaped_pair(now: Instant, shares: u8) -> (JoinPoint, End, End) {
    let config = TunnelConfig { pace: Pace::Slots, ..TunnelConfig::default() };
    let mut client = End::new(Tunnel::client(now, config, nonce(), [1; 32]));
    let mut join_point = JoinPoint::default();
    let asked = Asked::new(1, 20, 0, shares).expect("the first share");
    client.tunnel.add_leg_asking(now, built(0, &[10, 20, 30]), asked).expect("it fits");
    let link = client.own_cells(now).remove(0);
    let First::New(_, accepted) = first(&mut join_point, now, &link) else { panic!("a LINK makes a tunnel") };
    assert_eq!(accepted.asked(), asked);
    let exit = End::new(Tunnel::exit(now, config, accepted, [2; 32]));
    (join_point, client, exit)
}

#[test]
fn all_legs_ask_for_one_schedule_and_each_for_another_share() {
    let now = crate::origin();
    let (_, mut client, _) = shaped_pair(now, 2);
    let mut refused = |asked: Asked| {
        let (leg, error) = client.tunnel.add_leg_asking(now, built(9, &[11, 21, 30]), asked).expect_err("no leg");
        assert_eq!(leg.into_circuit().0, 9);
        error
    };
    assert_eq!(refused(Asked::OFF), AddLegError::OtherSchedule);
    for (mode, class, shares) in [(2, 20, 2), (1, 21, 2), (1, 20, 3)] {
        assert_eq!(refused(Asked::new(mode, class, 1, shares).expect("a share")), AddLegError::OtherSchedule);
    }
    assert_eq!(refused(Asked::new(1, 20, 0, 2).expect("a share")), AddLegError::ShareTaken);
    let second = Asked::new(1, 20, 1, 2).expect("a share");
    let leg = client.tunnel.add_leg_asking(now, built(1, &[11, 21, 30]), second).expect("it fits");
    assert_eq!(client.tunnel.leg_of_share(1), Some(leg));
    assert_eq!(client.tunnel.leg_of_share(2), None);
}

#[test]
fn a_new_leg_takes_the_share_of_one_that_its_client_has_lost() {
    let now = crate::origin();
    let (mut join_point, mut client, mut exit) = shaped_pair(now, 2);
    exit.own_cells(now);
    // The guard is gone. The client knows, the exit does not.
    client.tunnel.handle_circuit_gone(now, id(0));
    let again = Asked::new(1, 20, 0, 2).expect("the same share");
    let leg = client.tunnel.add_leg_asking(now, built(1, &[11, 21, 30]), again).expect("the share is free");
    let link = client.own_cells(now).remove(0);
    let First::Joins(_, accepted) = first(&mut join_point, now, &link) else { panic!("the tunnel is there") };
    assert_eq!(exit.tunnel.accept(now, accepted), Ok(leg));
    assert_eq!(exit.released(), [LegEnd::RemovedByPeer], "one leg for a share");
    assert_eq!(exit.tunnel.leg_of_share(0), Some(leg));
    // A leg that is removed in order keeps its slots until another one takes the share, so that it can say so.
    exit.tunnel.remove_leg(now, leg);
    assert_eq!(exit.tunnel.leg_of_share(0), Some(leg));
}

#[test]
fn a_leg_with_another_schedule_is_the_clients_fault() {
    let now = crate::origin();
    let (mut join_point, mut client, mut exit) = shaped_pair(now, 2);
    for asked in [Asked::OFF, Asked::new(1, 20, 1, 3).expect("a share"), Asked::new(3, 20, 1, 2).expect("a share")] {
        let attempt = crate::Attempt::new(0).expect("the first");
        let link = Message::Link { attempt, joins: true, leg: id(5), ux: DesiredUx::NoOpinion, asked, nonce: nonce() };
        let cell = client.message_cell(id(5), &link);
        let First::Joins(_, accepted) = first(&mut join_point, now, &cell) else { panic!("the tunnel is there") };
        assert_eq!(exit.tunnel.accept(now, accepted), Err((5, NotAccepted::Fault(Fault::OtherSchedule))));
    }
    assert_eq!(exit.tunnel.linked(), 1, "the tunnel goes on");
}

/// A recovery leg must not revive a dead set (TROVE-2026-026).
#[test]
fn no_leg_revives_a_tunnel() {
    let Pair { now, mut join_point, mut client, mut exit } = Pair::linked(1);
    client.tunnel.add_leg(now, built(1, &[11, 21, 30])).expect("it fits");
    let link = client.own_cells(now).remove(0);
    let First::Joins(tunnel, accepted) = first(&mut join_point, now, &link) else { panic!("the tunnel is there") };
    exit.tunnel.close(now);
    let (_, refused) = exit.tunnel.accept(now, accepted).expect_err("it is over");
    assert!(matches!(refused, NotAccepted::Refused(Refusal::Closing, Message::Refused { .. })));
    join_point.forget(tunnel);
    assert!(join_point.is_empty());
    assert!(matches!(first(&mut join_point, now, &link), First::Refused(_, Refusal::Closing, _)), "it is remembered");
    // After a restart nothing is remembered; the leg says that it joins.
    let mut restarted = JoinPoint::default();
    let First::Refused(_, Refusal::UnknownTunnel, answer) = first(&mut restarted, now, &link) else {
        panic!("a joining leg makes no tunnel")
    };
    let cell = exit.message_cell(id(1), &answer);
    client.take(now, &cell);
    assert!(client.tunnel.is_over());
    assert!(client.events().contains(&TunnelEvent::Ended(TunnelEnd::Gone)));
    assert_eq!(client.released().len(), 2, "every leg comes back");
}

#[test]
fn a_storm_of_links_is_dropped_and_tunnels_are_bounded() {
    let now = crate::origin();
    let config = JoinPointConfig { tunnels_max: 5, links_per_second: 20 };
    let mut join_point = JoinPoint::new(config);
    let mut outcomes = [0; 3];
    for number in 0..50 {
        let nonce = Nonce::new([number; 32]);
        let mut client = End::new(Tunnel::client(now, TunnelConfig::default(), nonce, [1; 32]));
        client.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("it fits");
        let link = client.own_cells(now).remove(0);
        match first(&mut join_point, now, &link) {
            First::New(..) => outcomes[0] += 1,
            First::Refused(_, Refusal::Full, _) => outcomes[1] += 1,
            First::Nothing(_) => outcomes[2] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((outcomes, join_point.dropped_links(), join_point.len()), ([5, 15, 30], 30, 5));
}

#[test]
fn ended_tunnels_are_remembered_in_a_bound() {
    let now = crate::origin();
    let mut join_point = JoinPoint::new(JoinPointConfig { links_per_second: u32::MAX, ..JoinPointConfig::default() });
    let mut ids = Vec::new();
    for number in 0..=ENDED {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        let mut client = End::new(Tunnel::client(now, TunnelConfig::default(), Nonce::new(nonce), [1; 32]));
        client.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("it fits");
        let First::New(tunnel, _) = first(&mut join_point, now, &client.own_cells(now).remove(0)) else {
            panic!("there is room")
        };
        join_point.forget(tunnel);
        ids.push(tunnel);
    }
    ids.dedup();
    assert_eq!((ids.len() as u64, join_point.len()), (ENDED + 1, 0), "no id twice, nothing left");
}
const ENDED: u64 = crate::ENDED_MAX as u64;

#[test]
fn a_leg_that_another_circuit_is_closes_the_new_one() {
    let Pair { now, mut join_point, mut exit, .. } = Pair::linked(1);
    let mut twin = client(now);
    twin.tunnel.add_leg(now, built(1, &[11, 21, 30])).expect("it fits");
    let First::Joins(_, accepted) = first(&mut join_point, now, &twin.own_cells(now).remove(0)) else {
        panic!("the tunnel is there")
    };
    let (_, refused) = exit.tunnel.accept(now, accepted).expect_err("the leg is there");
    assert_eq!(refused, NotAccepted::Fault(Fault::LegTaken));
    assert_eq!(exit.tunnel.linked(), 1, "the leg that was there stays");
}

/// BEGIN before LINK (TROVE-2026-025): a circuit that has carried data is never linked.
#[test]
fn a_used_circuit_is_not_linked() {
    let now = crate::origin();
    let mut pair = Pair::linked(1);
    let data = pair.client.data_cell(now, id(0), b"packet");
    let mut join_point = JoinPoint::default();
    assert!(matches!(first(&mut join_point, now, &data), First::InUse(_)));
    let mut client = client(now);
    client.tunnel.add_leg(now, built(0, &[1, 2, 3])).expect("it fits");
    let link = client.own_cells(now).remove(0);
    assert_eq!(crate::check_used(&link.header()), Err(Fault::LinkOnUsed));
    assert_eq!(crate::check_used(&data.header()), Ok(()));
    let fresh = crate::leg::Fresh::new(0);
    let unasked = join_point.handle_first(now, fresh, false, 0, &link.inner);
    assert!(matches!(unasked, First::Fault(_, Fault::NotNegotiated)));
    pair.exit.tunnel.handle_extended(now, id(0));
    assert_eq!(pair.exit.released(), [LegEnd::Fault(Fault::GoesOn)]);
}

#[test]
fn a_silent_leg_is_written_off_tried_and_taken_back() {
    let Pair { mut now, mut client, mut exit, .. } = Pair::linked(2);
    let lost: Vec<_> = (0..5).map(|_| client.data_cell(now, id(0), b"lost")).collect();
    let arrives = client.data_cell(now, id(1), b"arrives");
    exit.take(now, &arrives);
    now += 15 * MS;
    for cell in exit.own_cells(now) {
        client.take(now, &cell);
    }
    let due = client.tunnel.poll_timeout().expect("feedback is missing");
    now += 190 * MS;
    assert!(due <= now);
    client.tunnel.handle_timeout(now);
    assert_eq!(client.events(), [TunnelEvent::LegSilent(id(0))]);
    let leg = client.tunnel.leg(id(0)).expect("it stays");
    assert_eq!((leg.outbound.in_flight, leg.outbound.written_off, leg.state), (0, 5, LegState::Silent));
    assert_eq!(client.tunnel.slot_use(now, id(0)), SlotUse::Cover);
    assert_eq!(client.tunnel.slot_use(now, id(1)), SlotUse::Data);
    for _ in 0..100 {
        assert_eq!(client.tunnel.poll_data(now, 10), Some(id(1)), "data goes on the other");
    }
    let tries = client.own_cells(now);
    assert_eq!(tries.len(), 1, "one cell a back-off");
    assert_eq!((tries[0].leg, tries[0].header().kind), (id(0), LegKind::Cover));
    // The try arrives; the exit's next cells tell of each leg in turn.
    exit.take(now, &tries[0]);
    for _ in 0..2 {
        let cell = exit.data_cell(now, id(1), b"answer");
        client.take(now, &cell);
    }
    assert_eq!(client.events(), [TunnelEvent::LegBack(id(0))]);
    drop(lost);
}

#[test]
fn the_only_leg_is_tried_with_data_so_that_a_lost_last_flight_recovers() {
    let Pair { mut now, mut client, .. } = Pair::linked(1);
    client.data_cell(now, id(0), b"the last flight");
    let mut tries = Vec::new();
    for _ in 0..6_000 {
        now += MS;
        client.tunnel.handle_timeout(now);
        if client.tunnel.linked() == 1
            && client.tunnel.leg(id(0)).is_some_and(|leg| leg.state == LegState::Silent)
            && client.tunnel.poll_data(now, 1).is_some()
        {
            client.data_cell(now, id(0), b"again");
            tries.push(now);
        }
    }
    let waits: Vec<_> = tries.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(waits, [200, 400, 800, 1600, 2400], "more rarely each time, and never given up");
}

#[test]
fn a_tunnel_without_legs_lives_as_long_as_the_session_and_a_leg_saves_it() {
    let Pair { mut now, mut client, .. } = Pair::linked(1);
    client.tunnel.handle_circuit_gone(now, id(0));
    client.events();
    now += Duration::from_secs(29);
    client.tunnel.handle_timeout(now);
    assert!(!client.tunnel.is_over());
    client.tunnel.add_leg(now, built(1, &[11, 21, 30])).expect("it fits");
    now += Duration::from_secs(2);
    client.tunnel.handle_timeout(now);
    assert!(client.tunnel.is_over(), "a leg that is not linked saves nothing");
    assert_eq!(client.events().last(), Some(&TunnelEvent::Ended(TunnelEnd::Orphaned)));
    assert_eq!(client.tunnel.poll_timeout(), None);
}

#[test]
fn debug_output_of_ends_and_cells_has_no_nonce() {
    let Pair { now, mut join_point, mut client, exit } = Pair::linked(1);
    client.tunnel.add_leg(now, built(1, &[11, 21, 30])).expect("it fits");
    let link = client.own_cells(now).remove(0);
    let texts = [
        format!("{:?} {:#?}", client.tunnel, exit.tunnel),
        format!("{:?} {:?}", link.message(), join_point),
        format!("{:?}", first(&mut join_point, now, &link)),
    ];
    for text in texts {
        assert!(!text.contains("90, 90") && !text.contains("5a5a") && !text.contains("90,\n"), "{text}");
    }
}

/// A run with slots: 600 of each of two legs towards the exit, a third of the first leg's cells lost, and as many back. Returns
/// what an observer of each leg sees, and how many packets came.
fn slotted(has_packet: impl Fn(u32) -> bool) -> (Vec<(u32, u8, usize)>, usize) {
    const REGION: usize = 1241;
    let Pair { mut now, mut client, mut exit, .. } = Pair::linked(2);
    let (mut seen, mut came) = (Vec::new(), 0);
    for slot in 0..600 {
        now += 5 * MS;
        for leg in [0, 1] {
            client.tunnel.handle_timeout(now);
            let use_of = client.tunnel.slot_use(now, id(leg));
            let cell = match use_of {
                SlotUse::Data if has_packet(slot * 2 + u32::from(leg)) => client.data_cell(now, id(leg), b"packet"),
                SlotUse::Data | SlotUse::Message | SlotUse::Cover => client.own_cell(now, id(leg)),
            };
            assert!(cell.inner.len() <= REGION, "the filler makes every cell one size");
            seen.push((slot, leg, REGION));
            if leg == 1 || slot % 3 > 0 {
                exit.take(now, &cell);
                came += exit.packets(now).len();
            }
            let back = exit.own_cell(now, id(leg));
            client.take(now, &back);
        }
    }
    (seen, came)
}

/// Shaped modes: what leaves on a leg is the same whatever waits in the session, on that leg or another, and all that waits is
/// carried by all legs.
#[test]
fn slots_are_used_alike_whatever_waits() {
    let (idle, none) = slotted(|_| false);
    let (busy, all) = slotted(|_| true);
    let (some, part) = slotted(|place| place % 7 < 2);
    assert!(idle == busy && idle == some);
    assert_eq!((none, all), (0, 1_000));
    assert!((100..600).contains(&part), "{part}");
}

#[test]
fn feedback_is_about_each_leg_in_turn() {
    let mut pair = Pair::linked(3);
    let about: Vec<u8> = (0..6).map(|_| pair.client.own_cell(pair.now, id(0)).header().feedback_leg).collect();
    let mut sorted = about.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 0, 1, 1, 2, 2], "{about:?}");
}

/// Legs end in any order and in any way: each circuit comes back once, and nothing is left (TROVE-2026-010, -016).
#[test]
fn teardown_in_any_order_gives_every_circuit_back_once() {
    for order in 0..4_u32.pow(5) {
        let Pair { mut now, mut join_point, mut client, mut exit } = Pair::linked(3);
        client.tunnel.add_leg(now, built(3, &[13, 23, 30])).expect("it fits");
        let (mut at_client, mut at_exit) = (Vec::new(), Vec::new());
        for step in 0..5 {
            let leg = id((order / 4_u32.pow(step) % 4) as u8);
            now += 30 * MS;
            match (step + order) % 5 {
                0 => client.tunnel.remove_leg(now, leg),
                1 => client.tunnel.handle_circuit_gone(now, leg),
                2 => client.tunnel.handle_cell(now, leg, 1_000, b"not a cell"),
                3 => exit.tunnel.remove_leg(now, leg),
                _ => exit.tunnel.handle_extended(now, leg),
            }
            for cell in client.own_cells(now) {
                exit.take(now, &cell);
            }
            for cell in exit.own_cells(now) {
                client.take(now, &cell);
            }
            at_client.extend(std::iter::from_fn(|| client.tunnel.poll_released()).map(|leg| leg.carrier));
        }
        client.tunnel.close(now);
        exit.tunnel.close(now);
        join_point.forget(crate::TunnelId(1));
        at_client.extend(std::iter::from_fn(|| client.tunnel.poll_released()).map(|leg| leg.carrier));
        at_exit.extend(std::iter::from_fn(|| exit.tunnel.poll_released()).map(|leg| leg.carrier));
        at_client.sort_unstable();
        at_exit.sort_unstable();
        assert_eq!((at_client, at_exit), (vec![0, 1, 2, 3], vec![0, 1, 2]), "order {order}");
        let left = [client.tunnel.legs().count(), exit.tunnel.legs().count(), join_point.len()];
        assert_eq!(left, [0, 0, 0], "order {order}");
        assert_eq!((client.tunnel.poll_timeout(), exit.tunnel.poll_timeout()), (None, None));
    }
}
