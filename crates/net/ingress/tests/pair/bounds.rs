//! Queue pairs are reused, waited for and refused; who says nothing is not waited for.

use super::harness::{Pair, Setup, echo_server, ping, socks_address};
use ingress::Limits;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

#[test]
fn four_queue_pairs_serve_fifty_flows() {
    let echo = echo_server();
    // However slow the machine is, the fiftieth waits for its turn.
    let limits = Limits { flow_wait_ms: 120_000, ..Limits::default() };
    let pair = Pair::start(Setup { max_flows: 4, limits, ..Setup::default() });
    std::thread::scope(|scope| {
        for number in 0..50u64 {
            let pair = &pair;
            scope.spawn(move || {
                let mut stream = pair.socks(echo);
                let bytes = super::harness::pattern(number, 300_000);
                let mut writer = stream.try_clone().expect("a descriptor");
                let sent = bytes.clone();
                scope.spawn(move || {
                    writer.write_all(&sent).expect("room in the end");
                    writer.shutdown(Shutdown::Write).expect("a connection");
                });
                let mut back = Vec::new();
                stream.read_to_end(&mut back).expect("bytes to the end");
                assert!(back == bytes, "flow {number} received other bytes");
            });
        }
    });
    pair.entry.wait_status("all closed", |body| body["flows_open"] == 0 && body["ended"]["finished"] == 50);
}

#[test]
fn flows_that_are_reset_give_back_their_queue_pairs_without_stale_bytes() {
    let echo = echo_server();
    let pair = Pair::start(Setup { max_flows: 4, ..Setup::default() });
    for number in 0..40u64 {
        let mut stream = pair.socks(echo);
        // Bytes in flight in both directions when the connection is reset.
        stream.write_all(&super::harness::pattern(number, 40_000)).expect("room for a little");
        stream.read_exact(&mut [0; 10]).expect("the first of them");
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("a socket");
        drop(stream);
        ping(&mut pair.socks(echo), &number.to_be_bytes());
    }
    pair.entry.wait_status("all closed", |body| body["flows_open"] == 0);
    pair.exit.wait_status("all closed", |body| body["flows_open"] == 0);
}

#[test]
fn the_fifth_flow_waits_and_is_then_refused() {
    let echo = echo_server();
    let limits = Limits { flow_wait_ms: 400, ..Limits::default() };
    let pair = Pair::start(Setup { max_flows: 4, limits, ..Setup::default() });
    let mut flows: Vec<_> = (0..4).map(|_| pair.socks(echo)).collect();
    let asked = Instant::now();
    assert_eq!(pair.socks_code(&socks_address(echo)), 1, "general failure");
    assert!(asked.elapsed() >= Duration::from_millis(400), "it did not wait");
    let mut http = pair.connect();
    write!(http, "CONNECT {echo} HTTP/1.1\r\n\r\n").expect("a request");
    let mut answer = String::new();
    http.read_to_string(&mut answer).expect("an answer to its end");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too many flows"), "{answer}");
    flows.iter_mut().for_each(|stream| ping(stream, b"not disturbed"));
    pair.entry.wait_status("two refused", |body| body["ended"]["too_many_flows"] == 2 && body["waiting"] == 0);
}

#[test]
fn the_fifth_flow_is_served_when_another_ends() {
    let echo = echo_server();
    let pair = Pair::start(Setup { max_flows: 4, ..Setup::default() });
    let mut flows: Vec<_> = (0..4).map(|_| pair.socks(echo)).collect();
    std::thread::scope(|scope| {
        let fifth = scope.spawn(|| ping(&mut pair.socks(echo), b"my turn"));
        pair.entry.wait_status("one waits", |body| body["waiting"] == 1);
        drop(flows.pop());
        fifth.join().expect("it was served");
    });
    flows.iter_mut().for_each(|stream| ping(stream, b"not disturbed"));
}

#[test]
fn a_client_has_its_bound() {
    let echo = echo_server();
    let limits = Limits { flow_wait_ms: 200, flows_per_client: Some(2), ..Limits::default() };
    let pair = Pair::start(Setup { limits, ..Setup::default() });
    let _flows = [pair.socks(echo), pair.socks(echo)];
    assert_eq!(pair.socks_code(&socks_address(echo)), 1, "the third waits in vain");
}

#[test]
fn who_says_its_request_too_slowly_is_closed() {
    let limits = Limits { request_timeout_ms: 300, ..Limits::default() };
    let pair = Pair::start(Setup { limits, ..Setup::default() });
    let mut silent = pair.connect();
    let mut slow = pair.connect();
    let mut reader = slow.try_clone().expect("a descriptor");
    let dripping = std::thread::spawn(move || {
        // A byte at a time, until it is closed.
        for byte in b"CONNECT ".iter().chain(std::iter::repeat(&b'a')) {
            std::thread::sleep(Duration::from_millis(20));
            if slow.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    assert_eq!(silent.read(&mut [0; 1]).ok(), Some(0));
    let _ = reader.read_to_end(&mut Vec::new());
    dripping.join().expect("writing fails once it is closed");
    pair.entry.wait_status("both counted", |body| body["ended"]["request_timed_out"] == 2 && body["half_open"] == 0);
}

#[test]
fn thousands_of_silent_connections_stay_bounded() {
    let echo = echo_server();
    let limits = Limits { half_open_max: 64, request_timeout_ms: 60_000, ..Limits::default() };
    let pair = Pair::start(Setup { limits, ..Setup::default() });
    let mut bystander = pair.socks(echo);
    let silent: Vec<_> = (0..1500).map(|_| pair.connect()).collect();
    ping(&mut bystander, b"still here");
    ping(&mut pair.socks(echo), b"and a newcomer too");
    pair.entry.wait_status("the rest was closed", |body| {
        let open = body["half_open"].as_u64().unwrap_or(u64::MAX);
        open <= 64 && body["half_open_evicted"].as_u64() >= Some(1500 - 64)
    });
    drop(silent);
    pair.entry.wait_status("none left", |body| body["half_open"] == 0);
}
