//! Without a key: as to and from a plain peer.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, hops, own_host};

#[test]
fn a_hundred_hops_lose_nothing() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let server = Running::server(host, "20000-20255", echo.address, common())?;
    let client = Running::client(&[format!("{host}:20000-20255")], every("10ms..20ms"), common())?;
    let mut program = Program::new(client.address())?;
    let mut asked = 0;
    while hops(&client.counters()) < 100 {
        assert!(program.ask(PATIENCE)?, "an answer is lost");
        asked += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(asked > 100);
    assert_eq!(echo.seen().len(), 1, "the target sees one peer through all hops");
    let (up, down) = (server.counters().up, client.counters().down);
    assert_eq!((up.dropped, up.refused, down.dropped, down.refused), (0, 0, 0, 0));
    Ok(())
}

#[test]
fn a_client_hops_over_a_plain_server_and_takes_answers_from_any_of_its_ports() -> Outcome {
    let host = own_host();
    let ports: Vec<UdpSocket> = (21_000..21_004).map(|port| UdpSocket::bind((host, port))).collect::<Result<_, _>>()?;
    for port in &ports {
        port.set_nonblocking(true)?;
    }
    let client = Running::client(&[format!("{host}:21000-21003")], every("20ms..30ms"), common())?;
    let program = Program::new(client.address())?;
    let mut used = BTreeSet::new();
    let mut sources = BTreeSet::new();
    let mut buffer = [0; 64];
    let deadline = Instant::now() + PATIENCE;
    while used.len() < 4 && Instant::now() < deadline {
        program.socket.send(b"question")?;
        std::thread::sleep(Duration::from_millis(4));
        for (number, port) in ports.iter().enumerate() {
            while let Ok((_, from)) = port.recv_from(&mut buffer) {
                used.insert(number);
                sources.insert(from);
            }
        }
    }
    assert_eq!((used.len(), sources.len()), (4, 1), "all ports, from one socket");
    let source = *sources.iter().next().ok_or("a source")?;
    assert!(source.port() < 21_000, "sources lie below the range: {source}");
    program.socket.set_read_timeout(Some(PATIENCE))?;
    for (number, port) in ports.iter().enumerate() {
        port.send_to(&[u8::try_from(number)?], source)?;
        assert_eq!(program.socket.recv(&mut buffer)?, 1);
        assert_eq!(usize::from(buffer[0]), number);
    }
    Ok(())
}

#[test]
fn packets_that_are_not_from_the_server_are_filtered_out() -> Outcome {
    let (host, other) = (own_host(), own_host());
    let server = UdpSocket::bind((host, 21_000))?;
    let client = Running::client(&[format!("{host}:21000-21003")], every("60s"), common())?;
    let program = Program::new(client.address())?;
    let mut buffer = [0; 64];
    // The walk may begin at any port; all of them are the server's.
    let others: Vec<UdpSocket> =
        (21_001..21_004).map(|port| UdpSocket::bind((host, port))).collect::<Result<_, _>>()?;
    for socket in std::iter::once(&server).chain(&others) {
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    }
    program.socket.send(b"question")?;
    let deadline = Instant::now() + PATIENCE;
    let source: SocketAddr = loop {
        assert!(Instant::now() < deadline, "the question never came");
        let mut sockets = std::iter::once(&server).chain(&others);
        if let Some((_, from)) = sockets.find_map(|socket| socket.recv_from(&mut buffer).ok()) {
            break from;
        }
    };
    UdpSocket::bind((other, 21_000))?.send_to(b"stranger", source)?;
    UdpSocket::bind((host, 21_500))?.send_to(b"outside", source)?;
    server.send_to(b"server", source)?;
    program.socket.set_read_timeout(Some(PATIENCE))?;
    let length = program.socket.recv(&mut buffer)?;
    assert_eq!(&buffer[..length], b"server");
    // The program may have it before it is counted.
    let counters = client.wait_for(|counters| counters.strangers == 2 && counters.down.sent_datagrams > 0);
    assert_eq!(counters.down.sent_datagrams, 1);
    Ok(())
}

#[test]
fn answers_leave_from_the_port_that_the_sender_used_last() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let _server = Running::server(host, "21000-21003", echo.address, common())?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.set_read_timeout(Some(PATIENCE))?;
    for port in [21_000, 21_003, 21_001, 21_001, 21_002] {
        sender.send_to(b"plain", (host, port))?;
        let (_, from) = sender.recv_from(&mut [0; 9])?;
        assert_eq!(from, SocketAddr::new(host, port));
    }
    assert_eq!(echo.seen().len(), 1, "one sender has one socket");
    Ok(())
}

#[test]
fn defect_a_blocked_port_is_an_outage_until_the_next_hop() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let _server = Running::server(host, "22000-22007", echo.address, common())?;
    // One that was told only ports that the server hears: it shows when the machine is too busy for an answer in time.
    let open = Running::client(&[format!("{host}:22000-22007")], every("60s"), common())?;
    let mut control = Program::new(open.address())?;
    // The server hears half of the ports that this one was told.
    let client = Running::client(&[format!("{host}:22000-22015")], every("200ms"), common())?;
    let mut program = Program::new(client.address())?;
    program.ask_until_answered()?;
    control.ask_until_answered()?;
    let deadline = Instant::now() + PATIENCE;
    let (mut lost, mut asked) = (0, 0);
    while client.counters().undone < 4 && Instant::now() < deadline {
        asked += 1;
        let answered = program.ask(Duration::from_millis(5))?;
        lost += u64::from(!answered && control.ask(Duration::from_millis(5))?);
    }
    let counters = client.counters();
    assert!(counters.undone >= 1, "{counters}");
    // A hop lasts for forty questions. The patience with a port of the loopback is some 20 ms, so a blocked one costs a few.
    assert!(lost <= 15 * (counters.undone + 1), "{lost} of {asked}: {counters}");
    Ok(())
}

#[test]
#[ignore = "waits for hops of six seconds: `cargo xtask long hop`"]
fn a_port_that_is_silent_is_left_and_remembered() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    // The server hears one of the two ports that the client was told.
    let _server = Running::server(host, "22000", echo.address, common())?;
    let client = Running::client(&[format!("{host}:22000-22001")], every("6s"), common())?;
    let mut program = Program::new(client.address())?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(40) {
        program.ask(Duration::from_millis(50))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    let undone = client.counters().undone;
    assert!((1..=2).contains(&undone), "noticed once, then avoided: {undone}");
    Ok(())
}
