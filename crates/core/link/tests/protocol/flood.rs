//! Many at the door.

use crate::net::{config, peer, start};
use identity::LinkSecret;
use link::{Accept, DropReason, Endpoint, EndpointConfig, LinkId, Now, Received};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use wire::cell::{CellHead, CircuitId, Command};

/// A door for anybody.
fn relay(links_per_source: u32) -> (Endpoint, EndpointConfig) {
    let mut config = config(2);
    config.accept = Accept::Anyone;
    config.links_per_source = links_per_source;
    config.max_links = 20_000;
    (Endpoint::new(config.clone(), [2; 32]), config)
}

/// A client of its own key, and where it calls from.
struct Client {
    endpoint: Endpoint,
    link: LinkId,
    from: SocketAddr,
}

fn client(number: u32, now: Now, relay: &EndpointConfig) -> Client {
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    let mut settings = config(1);
    settings.link_secret = LinkSecret::from_bytes(secret);
    let mut endpoint = Endpoint::new(settings, secret);
    let [_, a, b, c] = number.to_be_bytes();
    let from = SocketAddr::from(([10, a, b, c], 1000));
    let link = endpoint.dial(now, &peer(relay), SocketAddr::from(([192, 0, 2, 2], 1000)), [0; 7]).expect("room");
    Client { endpoint, link, from }
}

impl Client {
    fn message_1(&mut self, now: Now) -> Vec<u8> {
        let mut out = Vec::new();
        self.endpoint.poll_own_packet(now, self.link, &mut out).expect("message 1 is due");
        out
    }
}

/// Takes the relay's answers: how many, all to the client.
fn answers(relay: &mut Endpoint, now: Now, client: &mut Client) -> usize {
    let mut count = 0;
    loop {
        let mut out = Vec::new();
        let Some(to) = relay.poll_door_packet(now, &mut out) else { return count };
        assert_eq!(to, client.from.into());
        client.endpoint.handle_packet(now, SocketAddr::from(([192, 0, 2, 2], 1000)), false, &mut out);
        count += 1;
    }
}

#[test]
fn above_five_hundred_a_second_a_cookie_is_asked_for_and_honoured() {
    let now = start();
    let (mut relay, settings) = relay(16);
    let mut asked = 0;
    for number in 0..560 {
        let mut client = client(number, now, &settings);
        let received = relay.handle_packet(now, client.from, false, &mut client.message_1(now));
        assert_eq!(answers(&mut relay, now, &mut client), 1, "one packet in, one packet out");
        if received == Received::Handled {
            assert!(client.endpoint.is_up(client.link));
            assert!(number < 500);
            continue;
        }
        assert_eq!(received, Received::Dropped(DropReason::CookieNeeded));
        asked += 1;
        // The cookie counts from its own address alone.
        let again = client.message_1(now);
        let elsewhere = SocketAddr::new(client.from.ip(), 1001);
        let stolen = relay.handle_packet(now, elsewhere, false, &mut again.clone());
        assert_eq!(stolen, Received::Dropped(DropReason::CookieNeeded));
        relay.poll_door_packet(now, &mut Vec::new()).expect("another cookie");
        assert_eq!(relay.handle_packet(now, client.from, false, &mut again.clone()), Received::Handled);
        assert_eq!(answers(&mut relay, now, &mut client), 1);
        assert!(client.endpoint.is_up(client.link));
    }
    assert_eq!(asked, 60);
    assert_eq!(relay.counters().cookies_asked, 120);
    // A second later nobody is asked.
    let later = Now { instant: now.instant + Duration::from_secs(1), ..now };
    let mut client = client(9999, later, &settings);
    assert_eq!(relay.handle_packet(later, client.from, false, &mut client.message_1(later)), Received::Handled);
}

#[test]
fn at_most_two_thousand_handshakes_a_second_are_worked_on() {
    let now = start();
    let (mut relay, settings) = relay(16);
    let (mut up, mut overload) = (0, 0);
    for number in 0..2100 {
        let mut client = client(number, now, &settings);
        let mut received = relay.handle_packet(now, client.from, false, &mut client.message_1(now));
        answers(&mut relay, now, &mut client);
        if received == Received::Dropped(DropReason::CookieNeeded) {
            received = relay.handle_packet(now, client.from, false, &mut client.message_1(now));
            answers(&mut relay, now, &mut client);
        }
        match received {
            Received::Handled => up += 1,
            Received::Dropped(DropReason::Overload) => overload += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((up, overload), (2000, 100));
}

#[test]
fn ten_thousand_half_open_handshakes_stay_bounded() {
    let mut now = start();
    let (mut relay, settings) = relay(16);
    // 400 a second from everywhere, none of which is ever finished.
    for number in 0..10_000 {
        now.instant += Duration::from_micros(2500);
        let mut client = client(number, now, &settings);
        let received = relay.handle_packet(now, client.from, false, &mut client.message_1(now));
        assert_eq!(received, Received::Handled);
        assert_eq!(answers(&mut relay, now, &mut client), 1);
        while relay.poll_event().is_some() {}
        if relay.poll_timeout().is_some_and(|at| at <= now.instant) {
            relay.handle_timeout(now);
        }
        let (indices, _, half_open) = relay.table_sizes();
        assert!(half_open <= 1024 && relay.link_count() <= 1024 && indices <= 1024);
    }
    assert_eq!(relay.counters().answered, 10_000);
    // All is forgotten ten seconds later, and the door still opens.
    now.instant += Duration::from_secs(10);
    relay.handle_timeout(now);
    assert_eq!((relay.link_count(), relay.table_sizes().0), (0, 0));
    let mut client = client(20_000, now, &settings);
    assert_eq!(relay.handle_packet(now, client.from, false, &mut client.message_1(now)), Received::Handled);
    assert_eq!(answers(&mut relay, now, &mut client), 1);
    assert!(client.endpoint.is_up(client.link));
}

#[test]
fn answers_that_nobody_fetches_are_bounded() {
    let now = start();
    let (mut relay, settings) = relay(16);
    let mut ends = Vec::new();
    for number in 0..300 {
        let mut client = client(number, now, &settings);
        ends.push(relay.handle_packet(now, client.from, false, &mut client.message_1(now)));
    }
    let taken = ends.iter().filter(|end| **end == Received::Handled).count();
    assert_eq!(taken, 256);
    assert_eq!(relay.counters().overload, 44);
    let late = Now { instant: now.instant + Duration::from_secs(6), ..now };
    assert_eq!(relay.poll_door_packet(late, &mut Vec::new()), None, "answers grow old");
}

#[test]
fn links_per_source_are_bounded() {
    let now = start();
    let (mut relay, settings) = relay(3);
    for number in 0..6 {
        let mut client = client(number, now, &settings);
        client.from = SocketAddr::from(([10, 0, 0, 1], 1000 + number as u16));
        let received = relay.handle_packet(now, client.from, false, &mut client.message_1(now));
        let expected = if number < 3 { Received::Handled } else { Received::Dropped(DropReason::TooManyFromSource) };
        assert_eq!(received, expected);
    }
    assert_eq!(relay.link_count(), 3);
}

#[test]
fn established_links_are_not_pushed_out() {
    let now = start();
    let (_, mut settings) = relay(16);
    settings.max_links = 3;
    let mut relay = Endpoint::new(settings.clone(), [2; 32]);
    let mut clients: Vec<_> = (0..5).map(|number| client(number, now, &settings)).collect();
    for client in &mut clients[..3] {
        relay.handle_packet(now, client.from, false, &mut client.message_1(now));
        answers(&mut relay, now, client);
    }
    // Two of the three half-open links are used; the fourth client takes the third's place, the fifth the fourth's.
    for client in &mut clients[..2] {
        let head = wire::cell::CellHead { circuit: wire::cell::CircuitId::LINK, command: wire::cell::Command::Cover };
        let mut out = Vec::new();
        client.endpoint.seal_cell(now, client.link, head, |_| {}, &mut out).expect("a link that is up");
        assert!(matches!(relay.handle_packet(now, client.from, false, &mut out), Received::Cell { .. }));
    }
    for client in &mut clients[3..] {
        assert_eq!(relay.handle_packet(now, client.from, false, &mut client.message_1(now)), Received::Handled);
        assert_eq!(relay.link_count(), 3);
        answers(&mut relay, now, client);
    }
    let up = relay.links().filter(|link| relay.is_up(*link)).count();
    assert_eq!(up, 2);
}

#[test]
fn a_full_replay_filter_asks_everybody_for_a_cookie() {
    let now = start();
    let (mut relay, settings) = relay(16);
    let day = (now.unix_s / 86_400) as u32;
    let stored = (0..65_536u32).map(|number| {
        let mut key = [1; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        (key, day)
    });
    relay.remember_ephemerals(stored);
    let mut client = client(1, now, &settings);
    let received = relay.handle_packet(now, client.from, false, &mut client.message_1(now));
    assert_eq!(received, Received::Dropped(DropReason::CookieNeeded));
    answers(&mut relay, now, &mut client);
    assert_eq!(relay.handle_packet(now, client.from, false, &mut client.message_1(now)), Received::Handled);
    answers(&mut relay, now, &mut client);
    assert!(client.endpoint.is_up(client.link));
    assert_eq!(relay.table_sizes().1, 65_536, "and remembers no more than it may");
}

/// However many strangers come and stay, those who are known get in and dials have room.
#[test]
fn strangers_leave_room_for_who_is_known() {
    let now = start();
    let known = client(900, now, &config(2));
    let mut settings = config(2);
    settings.max_links = 12;
    settings.accept = Accept::KnownAndStrangers {
        known: BTreeMap::from([(known.endpoint.config().link_secret.link_key(), known.endpoint.config().node_id)]),
        strangers_max: 10,
    };
    let mut relay = Endpoint::new(settings.clone(), [2; 32]);
    let come = |relay: &mut Endpoint, number: u32, stays: bool| {
        let mut client = client(number, now, &settings);
        let received = relay.handle_packet(now, client.from, false, &mut client.message_1(now));
        answers(relay, now, &mut client);
        if stays && received == Received::Handled {
            let head = CellHead { circuit: CircuitId::LINK, command: Command::Cover };
            let mut packet = Vec::new();
            client.endpoint.seal_cell(now, client.link, head, |_| {}, &mut packet).expect("it is up here");
            relay.handle_packet(now, client.from, false, &mut packet);
        }
        received
    };
    for number in 0..30 {
        assert_eq!(come(&mut relay, number, false), Received::Handled, "the oldest half-open one goes");
    }
    assert_eq!(relay.link_count(), 10);
    for number in 30..40 {
        assert_eq!(come(&mut relay, number, true), Received::Handled);
    }
    assert_eq!(come(&mut relay, 40, true), Received::Dropped(DropReason::TooManyLinks), "all of them stayed");
    assert_eq!(come(&mut relay, 900, true), Received::Handled);
    let up = relay.links().collect::<Vec<_>>().into_iter().filter(|link| relay.is_up(*link)).count();
    assert_eq!((relay.link_count(), up), (11, 11));
    let elsewhere = SocketAddr::from(([192, 0, 2, 77], 1000));
    assert!(relay.dial(now, &peer(&config(3)), elsewhere, [0; 7]).is_ok());
    // A stranger that goes makes room for another one.
    let first = relay.links().next().expect("a link");
    relay.close(first);
    assert_eq!(come(&mut relay, 41, true), Received::Handled);
}
