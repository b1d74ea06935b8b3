//! What the system and the network do to sockets, and that the ends go on.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use hop_proxy::Common;

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, keyed_common};
use crate::namespace::{Elsewhere, inside, inside_with_descriptors, run};

const SERVER: &str = "127.0.0.1:20000-20007";

fn pair(common: Common, timers: &str) -> Result<(Echo, Running, Running, Program), Box<dyn std::error::Error>> {
    let echo = Echo::start()?;
    let server = Running::server(Ipv4Addr::LOCALHOST.into(), "20000-20007", echo.address, common.clone())?;
    let client = Running::client(&[SERVER.to_owned()], every(timers), common)?;
    let mut program = Program::new(client.address())?;
    program.ask_until_answered()?;
    Ok((echo, server, client, program))
}

/// A server and its target in another namespace, at the end of a link.
fn far_pair(
    elsewhere: &Elsewhere,
    common: Common,
) -> Result<(Echo, Running, Running, Program), Box<dyn std::error::Error>> {
    let echo = elsewhere.within(|| Ok(Echo::start()?))?;
    let target = echo.address;
    let theirs = common.clone();
    let server = elsewhere.within(move || Running::server("10.9.0.2".parse()?, "20000-20007", target, theirs))?;
    let client = Running::client(&["10.9.0.2:20000-20007".into()], every("10s"), common)?;
    let mut program = Program::new(client.address())?;
    program.ask_until_answered()?;
    Ok((echo, server, client, program))
}

#[test]
fn defect_the_first_blocked_write_ends_the_process() -> Outcome {
    inside("faults::defect_the_first_blocked_write_ends_the_process", || {
        run("ip link set lo up")?;
        let elsewhere = Elsewhere::new()?;
        let (_echo, server, client, mut program) = far_pair(&elsewhere, common())?;
        // A line whose queue is longer than a socket's buffer: writes block.
        run("tc qdisc add dev here root tbf rate 20mbit burst 64kb limit 200mb")?;
        let begin = Instant::now();
        let mut seen = client.counters();
        while begin.elapsed() < PATIENCE && (seen.up.blocked == 0 || seen.up.dropped == 0) {
            for _ in 0..256 {
                let _ = program.socket.send(&[1; 1200]);
            }
            seen = client.counters();
        }
        assert!(seen.up.blocked > 0 && seen.up.dropped > 0, "nothing was blocked: {seen}");
        assert!(client.is_alive() && server.is_alive());
        // What waits leaves as the line takes it, without anything new.
        client.wait_for(|counters| counters.up.sent_datagrams > seen.up.sent_datagrams);
        run("tc qdisc del dev here root")?;
        program.ask_until_answered()?;
        Ok(())
    })
}

#[test]
fn defect_a_firewall_that_refuses_ends_the_process() -> Outcome {
    inside("faults::defect_a_firewall_that_refuses_ends_the_process", || {
        run("ip link set lo up")?;
        for common in [common(), keyed_common()] {
            let (_echo, server, client, mut program) = pair(common, "10s")?;
            run("nft add table ip f && nft 'add chain ip f out { type filter hook output priority 0; }'")?;
            run("nft add rule ip f out udp dport 20000-20007 drop")?;
            for _ in 0..20 {
                assert!(!program.ask(Duration::from_millis(5))?);
            }
            let seen = client.wait_for(|counters| counters.up.errors.contains_key(&1));
            assert!(client.is_alive() && server.is_alive(), "{seen}");
            run("nft delete table ip f")?;
            program.ask_until_answered()?;
        }
        Ok(())
    })
}

#[test]
fn defect_a_link_that_goes_down_ends_the_process() -> Outcome {
    inside("faults::defect_a_link_that_goes_down_ends_the_process", || {
        run("ip link set lo up")?;
        let elsewhere = Elsewhere::new()?;
        for common in [common(), keyed_common()] {
            let (_echo, server, client, mut program) = far_pair(&elsewhere, common)?;
            run("ip link set here down")?;
            for _ in 0..20 {
                assert!(!program.ask(Duration::from_millis(5))?);
            }
            let seen = client.wait_for(|counters| counters.up.errors.contains_key(&101));
            assert!(client.is_alive() && server.is_alive(), "{seen}");
            run("ip link set here up")?;
            program.ask_until_answered()?;
        }
        Ok(())
    })
}

#[test]
fn a_client_whose_address_changes_goes_on_by_itself() -> Outcome {
    inside("faults::a_client_whose_address_changes_goes_on_by_itself", || {
        run("ip link set lo up")?;
        let elsewhere = Elsewhere::new()?;
        for (common, address) in [(common(), "10.9.0.3"), (keyed_common(), "10.9.0.4")] {
            let keyed = common.key.is_some();
            let (echo, server, client, mut program) = far_pair(&elsewhere, common)?;
            run(&format!("ip addr flush dev here && ip addr add {address}/24 dev here"))?;
            program.ask_until_answered()?;
            assert!(client.is_alive() && server.is_alive());
            // With a key it is the same flow as before; without one the server sees somebody else.
            assert_eq!(echo.seen().len(), if keyed { 1 } else { 2 });
        }
        Ok(())
    })
}

#[test]
fn defect_strangers_use_up_the_descriptors() -> Outcome {
    inside_with_descriptors("faults::defect_strangers_use_up_the_descriptors", 256, || {
        run("ip link set lo up")?;
        let (_echo, server, client, mut program) = pair(common(), "10s")?;
        for stranger in 0..10_000u16 {
            let [high, low] = stranger.to_be_bytes();
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 9, high, low), 0))?;
            socket.send_to(&[1], (Ipv4Addr::LOCALHOST, 20_000 + stranger % 8))?;
            if stranger % 200 == 0 {
                program.ask_until_answered()?;
            }
        }
        let counters = server.wait_for(|counters| counters.opened > 8_000);
        assert!(counters.flows < 256 && counters.evicted > 7_500, "{counters}");
        assert!(server.is_alive() && client.is_alive());
        // What still waits in the sockets may cost a question or two their way.
        program.ask_until_answered()?;
        Ok(())
    })
}

#[test]
fn a_target_that_is_away_comes_back() -> Outcome {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let target = port.local_addr()?;
    drop(port);
    let host = crate::harness::own_host();
    let server = Running::server(host, "20000-20007", target, common())?;
    let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common())?;
    let mut program = Program::new(client.address())?;
    for _ in 0..5 {
        assert!(!program.ask(Duration::from_millis(20))?);
    }
    let refused = rustix::io::Errno::CONNREFUSED.raw_os_error();
    server
        .wait_for(|counters| counters.down.errors.contains_key(&refused) || counters.up.errors.contains_key(&refused));
    let _echo = Echo::on(UdpSocket::bind(target)?)?;
    program.ask_until_answered()?;
    Ok(())
}

#[test]
fn a_server_without_a_key_that_restarts_is_simply_there_again() -> Outcome {
    let (echo, host) = (Echo::start()?, crate::harness::own_host());
    let server = Running::server(host, "20000-20003", echo.address, common())?;
    let client = Running::client(&[format!("{host}:20000-20003")], every("10s"), common())?;
    let mut program = Program::new(client.address())?;
    assert!(program.ask(PATIENCE)?);
    drop(server);
    assert!(!program.ask(Duration::from_millis(50))?);
    let _server = Running::server(host, "20000-20003", echo.address, common())?;
    program.ask_until_answered()?;
    Ok(())
}

#[test]
fn an_address_that_cannot_be_reached_is_passed_over() -> Outcome {
    inside("faults::an_address_that_cannot_be_reached_is_passed_over", || {
        run("ip link set lo up")?;
        for common in [common(), keyed_common()] {
            let echo = Echo::start()?;
            let here = Ipv4Addr::LOCALHOST.into();
            let _server = Running::server(here, "20000-20007", echo.address, common.clone())?;
            // No route leads to the first address.
            let client = Running::client(&["[2001:db8::1],127.0.0.1:20000-20007".into()], every("60s"), common)?;
            // Of several programs some begin with the address that cannot be reached.
            for _ in 0..3 {
                Program::new(client.address())?.ask_until_answered()?;
            }
        }
        Ok(())
    })
}

/// How many ports of the range answer a datagram with "nobody is here".
fn closed_ports_that_show() -> Result<usize, Box<dyn std::error::Error>> {
    let mut shown = 0;
    for port in 20_000..20_060u16 {
        let scanner = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        scanner.connect((Ipv4Addr::LOCALHOST, port))?;
        scanner.send(&[0; 100])?;
        scanner.set_read_timeout(Some(Duration::from_millis(1)))?;
        match scanner.recv(&mut [0; 300]) {
            Ok(_) => return Err(format!("port {port} answers").into()),
            Err(error) => shown += usize::from(error.kind() == std::io::ErrorKind::ConnectionRefused),
        }
    }
    Ok(shown)
}

#[test]
fn a_scan_finds_nothing_where_the_rules_of_the_plan_stand_and_the_silent_ports_where_they_do_not() -> Outcome {
    let name = "faults::a_scan_finds_nothing_where_the_rules_of_the_plan_stand_and_the_silent_ports_where_they_do_not";
    inside(name, || {
        run("ip link set lo up")?;
        let echo = Echo::start()?;
        let server = Running::server(Ipv4Addr::LOCALHOST.into(), "20000-20059", echo.address, keyed_common())?;
        let shown = closed_ports_that_show()?;
        // At most eight ports are open, and the window may change meanwhile.
        assert!((60 - 12..60).contains(&shown) && !server.addresses.is_empty(), "{shown}");
        run("nft add table inet hushwire")?;
        run("nft 'add chain inet hushwire out { type filter hook output priority 0; }'")?;
        run("nft add rule inet hushwire out icmp type destination-unreachable icmp code port-unreachable drop")?;
        assert_eq!(closed_ports_that_show()?, 0);
        Ok(())
    })
}
