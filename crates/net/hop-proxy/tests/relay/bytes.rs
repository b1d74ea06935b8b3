//! What arrives is what was sent.

use std::net::Ipv4Addr;
use std::time::Duration;

use hop_proxy::Common;
use os_net::datagram::{DatagramOptions, DatagramSocket, Departing, Ended, Inbox, Train};

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, keyed_common, own_host};

/// Sizes that matter: none, one byte, what knocks have, QUIC's least and largest, Ethernet's largest, jumbo, the largest.
const SIZES: [usize; 12] = [0, 1, 52, 64, 256, 1200, 1452, 1453, 1472, 9000, 65_000, 65_507];

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|place| u8::try_from((place * 7 + size) % 251).unwrap_or(0)).collect()
}

fn all_sizes_pass(common: Common) -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let _server = Running::server(host, "20000-20015", echo.address, common.clone())?;
    let client = Running::client(&[format!("{host}:20000-20015")], every("50ms..80ms"), common)?;
    let program = Program::new(client.address())?;
    assert!(program.ask_bytes(b"first", PATIENCE)?);
    for size in SIZES {
        assert!(program.ask_bytes(&pattern(size), PATIENCE)?, "{size} bytes");
    }
    Ok(())
}

#[test]
fn defect_datagrams_of_the_size_of_an_mtu_are_cut() -> Outcome {
    all_sizes_pass(common())?;
    all_sizes_pass(Common { offload: false, ..common() })
}

#[test]
fn datagrams_of_every_size_pass_with_a_key() -> Outcome {
    all_sizes_pass(keyed_common())?;
    all_sizes_pass(Common { offload: false, ..keyed_common() })
}

#[test]
fn datagrams_above_the_mtu_pass_where_fragments_are_forbidden_and_the_path_is_wide() -> Outcome {
    all_sizes_pass(Common { forbid_fragments: true, ..common() })
}

#[test]
fn defect_marks_of_congestion_are_erased() -> Outcome {
    for common in [common(), keyed_common()] {
        let host = own_host();
        let target = DatagramSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), DatagramOptions::default())?;
        let _server = Running::server(host, "20000-20007", target.local_addr()?, common.clone())?;
        let client = Running::client(&[format!("{host}:20000-20007")], every("10s"), common)?;
        let program = DatagramSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), DatagramOptions::default())?;
        let mut inbox = Inbox::new();
        for class in [0, 1, 2, 3, 0xb8, 0xbb] {
            let body = [class, 1, 2, 3];
            let train = Train::new(&body, 2, class);
            let sent = program.send(&[Departing { to: Some(client.address()), from: None, train }]);
            assert_eq!(sent.ended, Ended::Done);
            let from = wait(&target, &mut inbox)?;
            let seen: Vec<u8> = inbox.iter().map(|arrived| arrived.train.traffic_class()).collect();
            assert!(seen.iter().all(|seen| *seen == class), "{class}: {seen:?}");
            target.send(&[Departing { to: Some(from), from: None, train }]);
            wait(&program, &mut inbox)?;
            assert_eq!(inbox.train(0).map(|arrived| arrived.train), Some(train));
        }
    }
    Ok(())
}

/// Waits for something to come; who sent it.
fn wait(socket: &DatagramSocket, inbox: &mut Inbox) -> Result<std::net::SocketAddr, String> {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        if socket.receive(inbox).is_ok()
            && let Some(from) = inbox.sender(0)
        {
            return Ok(from);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err("nothing came".into())
}
