//! Flows: whose they are, how long they live, how many there are.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use hop_proxy::Common;

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, keyed_common, own_host};

#[test]
fn defect_a_flow_in_use_ends_at_its_timeout() -> Outcome {
    for common in [common(), keyed_common()] {
        let common = Common { idle_timeout: Duration::from_millis(1_500), ..common };
        let (echo, host) = (Echo::start()?, own_host());
        let server = Running::server(host, "20000-20007", echo.address, common.clone())?;
        let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common)?;
        let mut program = Program::new(client.address())?;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(2_500) {
            assert!(program.ask(PATIENCE)?);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(echo.seen().len(), 1, "every packet begins the time anew");
        // And a silent one ends.
        client.wait_for(|counters| counters.flows == 0 && counters.expired == 1);
        server.wait_for(|counters| counters.flows == 0 && counters.expired == 1);
        assert!(program.ask(PATIENCE)?, "it may come back");
    }
    Ok(())
}

#[test]
fn answers_alone_keep_a_flow() -> Outcome {
    let common = Common { idle_timeout: Duration::from_millis(1_500), ..common() };
    let (target, host) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, own_host());
    let _server = Running::server(host, "20000-20007", target.local_addr()?, common.clone())?;
    let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common)?;
    let program = Program::new(client.address())?;
    program.socket.send(b"subscribe")?;
    let (_, from) = target.recv_from(&mut [0; 64])?;
    program.socket.set_read_timeout(Some(PATIENCE))?;
    for number in 0..30u8 {
        target.send_to(&[number], from)?;
        let mut buffer = [0; 64];
        assert_eq!((program.socket.recv(&mut buffer)?, buffer[0]), (1, number));
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn defect_a_second_client_loses_answers_after_an_expiry() -> Outcome {
    for common in [common(), keyed_common()] {
        let common = Common { idle_timeout: Duration::from_millis(800), ..common };
        let (echo, host) = (Echo::start()?, own_host());
        let _server = Running::server(host, "20000-20007", echo.address, common.clone())?;
        let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common)?;
        let mut first = Program::new(client.address())?;
        let mut second = Program::new(client.address())?;
        assert!(first.ask(PATIENCE)? && second.ask(PATIENCE)?);
        let begin = Instant::now();
        // The first one falls silent and expires; the second one must not notice.
        while begin.elapsed() < Duration::from_millis(2_500) {
            assert!(second.ask(PATIENCE)?, "the second client lost an answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(client.wait_for(|counters| counters.expired > 0).expired, 1);
        assert!(first.ask(PATIENCE)? && second.ask(PATIENCE)?);
    }
    Ok(())
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
    for _ in 0..40 {
        busy.send_to(b"busy", (host, 20_001))?;
        busy.recv(&mut [0; 9])?;
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.send_to(b"once", (host, 20_000))?;
    }
    let counters = server.wait_for(|counters| counters.opened == 41);
    assert_eq!((counters.flows, counters.evicted), (8, 33));
    let busy = busy.local_addr()?;
    assert_eq!(echo.seen().iter().filter(|seen| **seen == busy).count(), 0, "the target sees the server only");
    Ok(())
}
