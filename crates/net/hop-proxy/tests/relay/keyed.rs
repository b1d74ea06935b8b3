//! With a key: silent to all who have none, and hops that wait for their answer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hop_proxy::Common;
use identity::HopKey;

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, every, hops, keyed_common, own_host};

/// Hops so often; nothing is lost, and the target sees one peer.
fn hop_and_lose_nothing(count: u64) -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let server = Running::server(host, "20000-50000", echo.address, keyed_common())?;
    assert!(server.addresses.len() <= 8, "few ports are open: {:?}", server.addresses);
    let client = Running::client(&[format!("{host}:20000-50000")], every("10ms..20ms"), keyed_common())?;
    let mut program = Program::new(client.address())?;
    while hops(&client.counters()) < count {
        assert!(program.ask(PATIENCE)?, "an answer is lost");
    }
    assert_eq!(echo.seen().len(), 1, "the target sees one peer through all hops");
    let server = server.wait_for(|counters| counters.knocks > count);
    assert_eq!((server.flows, server.no_socket, server.strangers), (1, 0, 0));
    Ok(())
}

#[test]
fn hops_lose_nothing_and_the_target_sees_one_peer() -> Outcome {
    hop_and_lose_nothing(6)
}

#[test]
#[ignore = "a flow hops at most some times a second, so a minute: `cargo xtask long hop`"]
fn a_hundred_hops_lose_nothing_and_the_target_sees_one_peer() -> Outcome {
    hop_and_lose_nothing(100)
}

#[test]
fn ten_thousand_strangers_open_nothing_and_hear_nothing() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let server = Running::server(host, "20000-20003", echo.address, keyed_common())?;
    let client = Running::client(&[format!("{host}:20000-20003")], every("10s"), keyed_common())?;
    let mut program = Program::new(client.address())?;
    assert!(program.ask(PATIENCE)?);
    let mut seed = 1u64;
    let mut heard = Vec::new();
    for stranger in 0..10_000u16 {
        let [high, low] = stranger.to_be_bytes();
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 200, high, low), 0))?;
        socket.set_nonblocking(true)?;
        let mut datagram = vec![0; usize::from(stranger % 300)];
        for byte in &mut datagram {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (seed >> 56) as u8;
        }
        socket.send_to(&datagram, server.addresses[usize::from(stranger) % server.addresses.len()])?;
        // The last ones are kept open, so that a late answer would be seen.
        if stranger >= 9_800 {
            heard.push(socket);
        }
        if stranger % 500 == 0 {
            assert!(program.ask(PATIENCE)?, "the service is unharmed");
        }
    }
    let counters = server.wait_for(|counters| counters.strangers >= 9_000);
    assert_eq!((counters.flows, counters.opened), (1, 1));
    assert!(heard.iter().all(|socket| socket.recv(&mut [0; 300]).is_err()), "not a byte");
    assert!(program.ask(PATIENCE)?);
    Ok(())
}

#[test]
fn another_key_is_a_strangers() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let server = Running::server(host, "20000", echo.address, keyed_common())?;
    let other = Common { key: Some(HopKey::from_bytes([7; 32])), ..keyed_common() };
    let client = Running::client(&[format!("{host}:20000")], every("10s"), other)?;
    let mut program = Program::new(client.address())?;
    assert!(!program.ask(Duration::from_millis(900))?);
    let counters = server.wait_for(|counters| counters.strangers > 0);
    assert_eq!((counters.flows, counters.knocks), (0, 0));
    assert!(client.counters().knocks > 0);
    Ok(())
}

#[test]
fn a_server_that_starts_later_is_found_and_one_that_restarts_is_found_again() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let client = Running::client(&[format!("{host}:20000-20003")], every("10s"), keyed_common())?;
    let mut program = Program::new(client.address())?;
    assert!(!program.ask(Duration::from_millis(300))?);
    let server = Running::server(host, "20000-20003", echo.address, keyed_common())?;
    program.ask_until_answered()?;
    drop(server);
    assert!(!program.ask(Duration::from_millis(300))?);
    let _server = Running::server(host, "20000-20003", echo.address, keyed_common())?;
    program.ask_until_answered()?;
    Ok(())
}

#[test]
#[ignore = "waits until a server is given up: `cargo xtask long hop`"]
fn the_first_server_that_answers_is_used() -> Outcome {
    let (echo, dead, host) = (Echo::start()?, own_host(), own_host());
    let _server = Running::server(host, "20000-20003", echo.address, keyed_common())?;
    let servers = [format!("{dead}:20000-20003"), format!("{host}:20000-20003")];
    let client = Running::client(&servers, every("10s"), keyed_common())?;
    let mut program = Program::new(client.address())?;
    program.ask_until_answered()?;
    assert!(client.counters().knocks > 1);
    // The next program goes there at once.
    let mut next = Program::new(client.address())?;
    assert!(next.ask(Duration::from_secs(5))?);
    Ok(())
}

#[test]
#[ignore = "sends slowly for 12 s: `cargo xtask long hop`"]
fn a_program_that_only_sends_stays_with_its_server() -> Outcome {
    let (target, host, other) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, own_host(), own_host());
    let first = Running::server(host, "20000-20003", target.local_addr()?, keyed_common())?;
    let second = Running::server(other, "20000-20003", target.local_addr()?, keyed_common())?;
    let servers = [format!("{host}:20000-20003"), format!("{other}:20000-20003")];
    let client = Running::client(&servers, every("20s..40s"), keyed_common())?;
    let program = Program::new(client.address())?;
    for _ in 0..12 {
        program.socket.send(b"one way")?;
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!((first.counters().opened, second.counters().opened), (1, 0));
    Ok(())
}

#[test]
fn the_server_answers_on_the_family_and_address_that_was_asked() -> Outcome {
    let echo = Echo::start()?;
    // All addresses of both families on one socket, so the ports are nobody else's.
    let first = 23_000 + 4 * (std::process::id() % 1_000);
    let ports = format!("{first}-{}", first + 3);
    let _server = Running::server("::".parse()?, &ports, echo.address, keyed_common())?;
    for addresses in ["127.0.0.9", "[::1]", "[::1],127.0.0.8", "localhost"] {
        let server = format!("{addresses}:{ports}");
        let client = Running::client(std::slice::from_ref(&server), every("30ms..60ms"), keyed_common())?;
        let mut program = Program::new(client.address())?;
        while hops(&client.counters()) < 2 {
            assert!(program.ask(PATIENCE)?, "{server}");
        }
    }
    Ok(())
}

#[test]
fn pairs_that_did_not_knock_are_not_forwarded() -> Outcome {
    let (target, host) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, own_host());
    target.set_read_timeout(Some(Duration::from_millis(300)))?;
    let server = Running::server(host, "20000", target.local_addr()?, keyed_common())?;
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for _ in 0..50 {
        stranger.send_to(&[0; 1200], SocketAddr::new(host, 20_000))?;
    }
    assert!(target.recv(&mut [0; 9]).is_err(), "nothing reaches the target");
    assert_eq!(server.wait_for(|counters| counters.strangers == 50).flows, 0);
    Ok(())
}
