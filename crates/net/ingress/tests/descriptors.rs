//! A process without a free descriptor pauses, says so in its figures, and goes on when there is one. In a test
//! binary of its own: the limit holds for the whole process.

#[path = "pair/harness.rs"]
#[allow(dead_code, reason = "the harness serves two test binaries")]
mod harness;
#[path = "pair/tunnel.rs"]
mod tunnel;

use harness::{Pair, Setup, echo_server, ping, socks_address, socks_reply};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs::File;
use std::io::{Read, Write};

#[test]
fn accepting_pauses_without_descriptors_and_goes_on_with_them() {
    let limit = Rlimit { current: Some(200), maximum: Some(200) };
    setrlimit(Resource::Nofile, limit).expect("a lower limit is allowed");
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let mut bystander = pair.socks(echo);
    // Its echo means that everybody on its way has the descriptors that it takes.
    ping(&mut bystander, b"connected");
    let null = File::open("/dev/null").expect("a descriptor");
    let mut filling = Vec::new();
    while let Ok(another) = null.try_clone() {
        filling.push(another);
        assert!(filling.len() < 300, "the limit does not hold");
    }
    // One descriptor for this end of the connection, none for the other.
    drop(filling.pop());
    let mut stream = pair.connect();
    pair.entry.wait_status("a pause", |body| body["accept_pauses"].as_u64() >= Some(2));
    ping(&mut bystander, b"not disturbed");
    drop(filling);
    stream.write_all(&[5, 1, 0]).expect("a greeting");
    stream.read_exact(&mut [0; 2]).expect("it was accepted after all");
    let mut request = vec![5, 1, 0];
    request.extend(socks_address(echo));
    stream.write_all(&request).expect("a request");
    assert_eq!(socks_reply(&mut stream).0, 0);
    ping(&mut stream, b"served");
}
