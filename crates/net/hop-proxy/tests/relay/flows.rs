//! Flows: whose they are, how long they live, how many there are.

use std::error::Error;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use hop_proxy::Common;

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, keyed_common, own_host};

/// How often a test of times is tried: where the machine stands still for as long as a flow may be idle, flows end rightly.
const TRIES: usize = 10;

/// Does something again and again for so long, with pauses. False: two of them began so far apart that a flow might have been idle
/// for its whole time, which shows nothing.
fn without_a_stall(
    lasting: Duration,
    pause: Duration,
    idle: Duration,
    mut step: impl FnMut() -> Outcome,
) -> Result<bool, Box<dyn Error>> {
    let (begin, mut last) = (Instant::now(), Instant::now());
    while begin.elapsed() < lasting {
        let stepped = step();
        if last.elapsed() >= idle / 2 {
            return Ok(false);
        }
        stepped?;
        last = Instant::now();
        std::thread::sleep(pause);
    }
    Ok(last.elapsed() < idle / 2)
}

/// Tries a test of times until no stall of the machine disturbs it.
fn undisturbed(mut attempt: impl FnMut() -> Result<bool, Box<dyn Error>>) -> Outcome {
    for _ in 0..TRIES {
        if attempt()? {
            return Ok(());
        }
    }
    Err("the machine stood still in each attempt".into())
}

#[test]
fn defect_a_flow_in_use_ends_at_its_timeout() -> Outcome {
    [common(), keyed_common()].into_iter().try_for_each(|common| undisturbed(|| a_flow_in_use(&common)))
}

/// False: the machine stood still, so that nothing is shown.
fn a_flow_in_use(common: &Common) -> Result<bool, Box<dyn Error>> {
    let idle = Duration::from_millis(1_000);
    let common = Common { idle_timeout: idle, ..common.clone() };
    let (echo, host) = (Echo::start()?, own_host());
    let server = Running::server(host, "20000-20007", echo.address, common.clone())?;
    let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common)?;
    let mut program = Program::new(client.address())?;
    let asks = || if program.ask(PATIENCE)? { Ok(()) } else { Err("an answer is lost".into()) };
    if !without_a_stall(Duration::from_millis(1_500), Duration::from_millis(50), idle, asks)? {
        return Ok(false);
    }
    assert_eq!(echo.seen().len(), 1, "every packet begins the time anew");
    // And a silent one ends.
    client.wait_for(|counters| counters.flows == 0 && counters.expired == 1);
    server.wait_for(|counters| counters.flows == 0 && counters.expired == 1);
    assert!(program.ask(PATIENCE)?, "it may come back");
    Ok(true)
}

#[test]
fn answers_alone_keep_a_flow() -> Outcome {
    undisturbed(|| {
        let idle = Duration::from_millis(1_000);
        let common = Common { idle_timeout: idle, ..common() };
        let (target, host) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, own_host());
        let _server = Running::server(host, "20000-20007", target.local_addr()?, common.clone())?;
        let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common)?;
        let program = Program::new(client.address())?;
        program.socket.send(b"subscribe")?;
        let (_, from) = target.recv_from(&mut [0; 64])?;
        program.socket.set_read_timeout(Some(PATIENCE))?;
        let mut number = 0;
        without_a_stall(Duration::from_millis(1_400), Duration::from_millis(70), idle, || {
            number += 1;
            target.send_to(&[number], from)?;
            let mut buffer = [0; 64];
            let came = program.socket.recv(&mut buffer)?;
            if (came, buffer[0]) == (1, number) { Ok(()) } else { Err("another answer came".into()) }
        })
    })
}

#[test]
fn defect_a_second_client_loses_answers_after_an_expiry() -> Outcome {
    [common(), keyed_common()].into_iter().try_for_each(|common| undisturbed(|| a_second_client(&common)))
}

/// False: the machine stood still, so that nothing is shown.
fn a_second_client(common: &Common) -> Result<bool, Box<dyn Error>> {
    let idle = Duration::from_millis(600);
    let common = Common { idle_timeout: idle, ..common.clone() };
    let (echo, host) = (Echo::start()?, own_host());
    let _server = Running::server(host, "20000-20007", echo.address, common.clone())?;
    let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common)?;
    let mut first = Program::new(client.address())?;
    let mut second = Program::new(client.address())?;
    assert!(first.ask(PATIENCE)? && second.ask(PATIENCE)?);
    // The first one falls silent and expires; the second one must not notice.
    let asks = || if second.ask(PATIENCE)? { Ok(()) } else { Err("the second client lost an answer".into()) };
    if !without_a_stall(Duration::from_millis(1_500), Duration::from_millis(20), idle, asks)? {
        return Ok(false);
    }
    assert_eq!(client.wait_for(|counters| counters.expired > 0).expired, 1);
    assert!(first.ask(PATIENCE)? && second.ask(PATIENCE)?);
    Ok(true)
}

#[test]
fn twenty_clients_each_get_their_own_answers() -> Outcome {
    for common in [common(), keyed_common()] {
        let (echo, host) = (Echo::start()?, own_host());
        let _server = Running::server(host, "20000-20063", echo.address, common.clone())?;
        let client = Running::client(&[format!("{host}:20000-20063")], every("30ms..90ms"), common)?;
        let mut programs: Vec<Program> = (0..20).map(|_| Program::new(client.address())).collect::<Result<_, _>>()?;
        for round in 0..10u8 {
            for (number, program) in programs.iter_mut().enumerate() {
                program.socket.send(&[round, u8::try_from(number)?])?;
            }
            for (number, program) in programs.iter_mut().enumerate() {
                program.socket.set_read_timeout(Some(PATIENCE))?;
                let mut buffer = [0; 64];
                assert_eq!(program.socket.recv(&mut buffer)?, 2);
                assert_eq!(buffer[..2], [round, u8::try_from(number)?]);
            }
        }
        assert_eq!(echo.seen().len(), 20, "a socket each");
    }
    Ok(())
}

#[test]
fn the_idle_make_room_when_there_are_too_many() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let few = Common { flows_max: 8, ..common() };
    let server = Running::server(host, "20000-20007", echo.address, few)?;
    let busy = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    busy.set_read_timeout(Some(PATIENCE))?;
    // Kept open, for the system may give the port of one that is closed to the next one.
    let mut others = Vec::new();
    for _ in 0..40 {
        busy.send_to(b"busy", (host, 20_001))?;
        busy.recv(&mut [0; 9])?;
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        other.send_to(b"once", (host, 20_000))?;
        others.push(other);
    }
    let counters = server.wait_for(|counters| counters.opened == 41);
    assert_eq!((counters.flows, counters.evicted), (8, 33));
    let busy = busy.local_addr()?;
    assert_eq!(echo.seen().iter().filter(|seen| **seen == busy).count(), 0, "the target sees the server only");
    Ok(())
}
