//! What an end says that it does.

use std::time::{Duration, Instant};

use hop_proxy::Status;

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, hops, keyed_common, own_host};

/// What both ends say between two hops: the client's words were the same before a question and after it, so the server's
/// are of the same addresses.
fn between_hops(
    client: &Running,
    server: &Running,
    program: &mut Program,
) -> Result<(Status, Status), Box<dyn std::error::Error>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let before = client.status()?;
        if !program.ask(PATIENCE)? {
            break;
        }
        let (of_server, after) = (server.status()?, client.status()?);
        let places =
            |status: &Status| status.flows.iter().map(|flow| (flow.hops, flow.local, flow.remote)).collect::<Vec<_>>();
        if places(&before) == places(&after) {
            return Ok((after, of_server));
        }
    }
    Err("no question and its answer stood between two hops".into())
}

#[test]
fn both_ends_tell_the_pair_its_age_its_bytes_and_how_the_flow_came_there() -> Outcome {
    for common in [common(), keyed_common()] {
        let (echo, host, begin) = (Echo::start()?, own_host(), Instant::now());
        let server = Running::server(host, "20000-20063", echo.address, common.clone())?;
        let client = Running::client(&[format!("{host}:20000-20063")], every("600ms"), common)?;
        let mut program = Program::new(client.address())?;
        while hops(&client.counters()) < 2 {
            assert!(program.ask(PATIENCE)?);
        }
        let (of_client, of_server) = between_hops(&client, &server, &mut program)?;
        let ([near], [far]) = (&of_client.flows[..], &of_server.flows[..]) else {
            return Err(format!("one flow: {of_client:?} {of_server:?}").into());
        };
        assert_eq!(near.of, Some(program.socket.local_addr()?));
        assert_eq!((near.remote, far.remote), (far.local, Some(echo.address)));
        assert_eq!(near.local.map(|local| local.port()), far.of.map(|of| of.port()));
        assert!(near.hops >= 2 && near.causes.len() >= 2 && near.age <= begin.elapsed(), "{near:?}");
        assert!(near.bytes > 0 && far.bytes >= near.bytes, "{near:?} {far:?}");
        assert_eq!(of_client.listening, client.addresses);
        assert!(near.remote.is_some_and(|remote| of_server.listening.contains(&remote)));
    }
    Ok(())
}

#[test]
fn an_end_that_has_ended_says_nothing() -> Outcome {
    let host = own_host();
    let target = std::net::UdpSocket::bind((host, 0))?.local_addr()?;
    let server = Running::server(host, "20000", target, common())?;
    let handle = server.handle();
    assert!(handle.status(PATIENCE).is_some());
    drop(server);
    assert!(handle.status(Duration::from_millis(50)).is_none());
    Ok(())
}
