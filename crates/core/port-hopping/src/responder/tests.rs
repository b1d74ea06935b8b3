use super::*;
use crate::detector::Pace;
use std::net::SocketAddr;

const RTT: Duration = Duration::from_millis(20);

fn pair(local: u16, remote: u16) -> Pair {
    let address = |last: u8, port: u16| SocketAddr::from(([192, 0, 2, last], port));
    Pair { local: address(1, local), remote: address(2, remote) }
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn origin() -> Instant {
    Instant::now()
}

fn secret(seed: u8) -> HopSecret {
    HopSecret::of_link(&[seed; 16])
}

fn responder(ports: &str) -> Responder {
    Responder::new(origin(), secret(1), ports.parse().expect("ports"), RTT, pair(443, 1_000))
}

/// Takes all outputs; where packets go, if that was said.
fn drain(responder: &mut Responder) -> Option<(Pair, u64)> {
    let mut switched = None;
    while let Some(output) = responder.poll_output() {
        if let ResponderOutput::Switch { pair, index } = output {
            switched = Some((pair, index));
        }
        assert!(responder.open_ports().count() <= SOCKETS_MAX);
    }
    switched
}

fn opened(responder: &Responder) -> BTreeSet<u16> {
    responder.open_ports().collect()
}

fn step(ports: &str, index: u64) -> Vec<u16> {
    secret(1).ports(&ports.parse().expect("ports"), index, CANDIDATES)
}

#[test]
fn the_candidates_of_the_next_step_are_open_and_nothing_else() {
    let mut responder = responder("20000-50000");
    assert_eq!(drain(&mut responder), None);
    assert_eq!(opened(&responder), step("20000-50000", 1).into_iter().collect());
}

#[test]
fn a_probe_is_answered_where_it_came_and_moves_nothing() {
    let mut responder = responder("20000-50000");
    let port = step("20000-50000", 1)[2];
    responder.handle_probe(pair(port, 2_000), 1);
    responder.handle_probe(pair(port, 2_000), 1);
    assert_eq!(responder.poll_answer(), Some(ProbeAnswer { pair: pair(port, 2_000), index: 1 }));
    assert_eq!(responder.poll_answer(), None, "a repeated probe is one debt");
    drain(&mut responder);
    assert_eq!((responder.index(), responder.present()), (0, pair(443, 1_000)));
    for (wrong_port, wrong_index) in [(port, 2), (port, 0), (1_999, 1)] {
        responder.handle_probe(pair(wrong_port, 2_000), wrong_index);
        assert_eq!(responder.poll_answer(), None, "{wrong_port} {wrong_index}");
    }
}

#[test]
fn it_follows_the_first_packet_and_hears_the_old_pair_for_a_while() {
    let mut responder = responder("20000-50000");
    let (mut now, mut last) = (origin(), None);
    for index in 1..=5 {
        drain(&mut responder);
        let candidates = step("20000-50000", index);
        responder.handle_packet(now, pair(candidates[1], 3_000), index, true);
        assert_eq!(drain(&mut responder), Some((pair(candidates[1], 3_000), index)));
        let mut expected: BTreeSet<u16> = step("20000-50000", index + 1).into_iter().chain([candidates[1]]).collect();
        expected.extend(last);
        assert_eq!(opened(&responder), expected);
        responder.handle_timeout(now + Duration::from_millis(1_999));
        drain(&mut responder);
        assert_eq!(opened(&responder), expected);
        now += Duration::from_secs(2);
        assert_eq!(responder.poll_timeout(), last.map(|_| now));
        responder.handle_timeout(now);
        drain(&mut responder);
        assert!(last.is_none_or(|last| !opened(&responder).contains(&last)));
        last = Some(candidates[1]);
    }
}

#[test]
fn the_index_never_falls_and_never_skips() {
    let (mut responder, now) = (responder("20000-50000"), origin());
    let first = step("20000-50000", 1)[0];
    responder.handle_packet(now, pair(first, 3_000), 1, true);
    let second = step("20000-50000", 2)[0];
    for (port, index) in [(443, 0), (first, 0), (second, 3), (second, 0), (first, 2)] {
        responder.handle_packet(now, pair(port, 3_001), index, true);
        assert_eq!((responder.index(), responder.present()), (1, pair(first, 3_000)), "{port} {index}");
    }
}

#[test]
fn a_translator_may_change_the_other_end() {
    let (mut responder, now) = (responder("20000-50000"), origin());
    let port = step("20000-50000", 1)[0];
    responder.handle_packet(now, pair(port, 3_000), 1, true);
    drain(&mut responder);
    responder.handle_packet(now, pair(port, 4_000), 1, false);
    assert_eq!(drain(&mut responder), None, "a late packet says nothing");
    responder.handle_packet(now, pair(port, 4_000), 1, true);
    assert_eq!(drain(&mut responder), Some((pair(port, 4_000), 1)));
}

#[test]
fn a_port_in_use_is_tried_again_as_long_as_it_is_wanted() {
    let (mut responder, now) = (responder("20000-50000"), origin());
    let port = step("20000-50000", 1)[0];
    drain(&mut responder);
    responder.handle_open_failed(now, port);
    drain(&mut responder);
    assert!(!opened(&responder).contains(&port));
    assert_eq!(responder.poll_timeout(), Some(now + OPEN_RETRY));
    responder.handle_timeout(now + OPEN_RETRY);
    drain(&mut responder);
    assert!(opened(&responder).contains(&port));
}

#[test]
fn fast_hops_and_a_rekey_stay_within_eight_ports() {
    let (mut responder, now) = (responder("20000-50000"), origin());
    for index in 1..=30 {
        responder.handle_packet(now, pair(step("20000-50000", index)[0], 3_000), index, true);
        drain(&mut responder);
    }
    responder.handle_new_secret(now, secret(2));
    drain(&mut responder);
    let next = step("20000-50000", 31)[0];
    responder.handle_packet(now, pair(next, 3_000), 31, true);
    assert_eq!(drain(&mut responder), Some((pair(next, 3_000), 31)), "the old secret's candidate");
    let fresh = secret(2).ports(&"20000-50000".parse().expect("ports"), 32, CANDIDATES);
    assert!(fresh.iter().all(|port| opened(&responder).contains(port)));
}

#[test]
fn a_door_begins_anew() {
    let (mut responder, now) = (responder("20000-50000"), origin());
    responder.handle_packet(now, pair(step("20000-50000", 1)[0], 3_000), 1, true);
    responder.handle_door_opened(now, secret(3), pair(443, 5_000));
    drain(&mut responder);
    assert_eq!((responder.index(), responder.present()), (0, pair(443, 5_000)));
    assert!(!opened(&responder).contains(&443), "doors are not a link's to open or close");
}

#[test]
fn one_port_is_enough() {
    let (mut responder, now) = (responder("500"), origin());
    for index in 1..5 {
        responder.handle_packet(now, pair(500, u16::try_from(3_000 + index).expect("small")), index, true);
        assert!(drain(&mut responder).is_some());
        assert_eq!(opened(&responder), [500].into());
    }
}

#[test]
fn it_asks_for_hops_rarely() {
    let (mut responder, now) = (responder("500"), origin());
    assert!(responder.ask_hop(now) && !responder.ask_hop(now + Duration::from_secs(4)));
    assert!(responder.ask_hop(now + Duration::from_secs(5)));
}

/// How often it asks within the next two seconds.
fn asks(responder: &mut Responder, now: Instant) -> usize {
    (0..400).filter(|step| responder.poll_ask(now + *step * Duration::from_millis(5))).count()
}

#[test]
fn an_ask_is_repeated_for_a_second_or_until_the_other_end_probes() {
    let (mut responder, now) = (responder("500"), origin());
    assert_eq!((responder.ask_at(), asks(&mut responder, now)), (None, 0));
    assert!(responder.ask_hop(now));
    assert_eq!(responder.ask_at(), Some(now));
    assert_eq!(asks(&mut responder, now), 50);
    assert_eq!(responder.ask_at(), None);
    let later = now + Duration::from_secs(5);
    assert!(responder.ask_hop(later) && responder.poll_ask(later));
    responder.handle_probe(pair(500, 3_000), 1);
    assert_eq!(asks(&mut responder, later), 0, "the other end is about to hop");
}

#[test]
fn a_pair_that_loses_what_it_sends_is_asked_away_once_in_a_while() {
    let (mut responder, start) = (responder("500"), origin());
    let (mut now, mut hops) = (start, 0u16);
    let mut second = |responder: &mut Responder, lost: u64| {
        now += Duration::from_secs(1);
        let delivery = Delivery { span: Duration::from_secs(1), sent: 200, received: 200 - lost, pace: Pace::Schedule };
        responder.handle_delivery(now, delivery);
        let asks = responder.poll_ask(now);
        if asks {
            hops += 1;
            responder.handle_packet(now, pair(500, 3_000 + hops), u64::from(hops), true);
            drain(responder);
        }
        asks
    };
    assert!((0..10).all(|_| !second(&mut responder, 14)));
    assert!(second(&mut responder, 180));
    assert!((0..10).all(|_| !second(&mut responder, 14)));
    // All pairs lose half from here on: after some hops that did not help, there are ever fewer.
    let asked = (0..600).filter(|_| second(&mut responder, 100)).count();
    assert!((1..=8).contains(&asked), "{asked} hops asked for in ten minutes");
}
