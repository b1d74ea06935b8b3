//! What went wrong reaches the application, in its own protocol.

use super::harness::{Pair, Setup, connect, echo_server, listen, ping, socks_address, socks_name, socks_reply};
use ingress::Login;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

fn closed_port() -> SocketAddr {
    let (listener, address) = listen();
    drop(listener);
    address
}

/// A port whose queue of connections is full, so that a further one is never answered; with the connections that fill it.
fn silent_port() -> (SocketAddr, impl Sized) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a loopback port");
        socket.listen(1).expect("a listener")
    });
    let address = listener.local_addr().expect("its address");
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        filling.push(stream);
        assert!(filling.len() < 100, "the queue of connections never fills");
    }
    (address, (runtime, listener, filling))
}

#[test]
fn reasons_become_socks_reply_codes() {
    let mut setup = Setup { connect_timeout_ms: 1000, ..Setup::default() };
    setup.policy.push("allow 224.0.0.0/4".to_owned());
    setup.policy.insert(0, "deny *.evil.test".to_owned());
    let pair = Pair::start(setup);
    let (silent, _filling) = silent_port();
    assert_eq!(pair.socks_code(&socks_address(closed_port())), 5, "refused");
    assert_eq!(pair.socks_code(&socks_address(SocketAddr::from(([224, 0, 0, 1], 9)))), 4, "unreachable");
    assert_eq!(pair.socks_code(&socks_address(SocketAddr::from(([10, 0, 0, 1], 9)))), 2, "denied address");
    assert_eq!(pair.socks_code(&socks_name("a.evil.test", 9)), 2, "denied name");
    assert_eq!(pair.socks_code(&socks_name("no..name", 9)), 4, "name unknown");
    assert_eq!(pair.socks_code(&socks_address(silent)), 6, "timed out");
    pair.exit.wait_status("each reason counted", |body| {
        let ended = &body["ended"];
        ended["refused"] == 1 && ended["unreachable"] == 1 && ended["denied"] == 2 && ended["timed_out"] == 1
    });
    pair.entry.wait_status("no flow left", |body| body["flows_open"] == 0);
}

fn http_answer(pair: &Pair, request: &str) -> String {
    let mut stream = pair.connect();
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer to its end");
    answer
}

#[test]
fn reasons_become_http_statuses() {
    let pair = Pair::start(Setup::default());
    let refused = http_answer(&pair, &format!("CONNECT {} HTTP/1.1\r\n\r\nand early bytes", closed_port()));
    assert!(refused.starts_with("HTTP/1.1 502 ") && refused.contains("connection_refused"), "{refused}");
    let denied = http_answer(&pair, "CONNECT 10.0.0.1:80 HTTP/1.1\r\n\r\n");
    assert!(denied.starts_with("HTTP/1.1 403 "), "{denied}");
    let get = http_answer(&pair, "GET http://example.org/ HTTP/1.1\r\n\r\n");
    assert!(get.starts_with("HTTP/1.1 405 "), "{get}");
}

#[test]
fn a_forward_that_fails_is_reset() {
    let pair = Pair::start(Setup { forward: Some(closed_port()), ..Setup::default() });
    let mut stream = connect(pair.forward.expect("a forward"));
    let ended = stream.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let mut bystander = pair.socks(echo);
    let answer = |bytes: &[u8]| {
        let mut stream = pair.connect();
        stream.write_all(bytes).expect("room");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        answer
    };
    assert_eq!(answer(&[0x16, 3, 1, 2, 0]), b"");
    assert_eq!(answer(&[4, 1, 0, 80, 1, 2, 3, 4, 0]), [0, 91, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&[5, 1, 9]), [5, 0xff]);
    assert_eq!(answer(&[5, 1, 0, 5, 2, 0, 1, 1, 2, 3, 4, 0, 80]), [5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&[5, 1, 0, 5, 1, 0, 9]), [5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(answer(&[5, 1, 0, 5, 1, 0, 3, 1, b' ', 0, 80]), [5, 0, 5, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert!(answer(&[b'A'; 9000]).starts_with(b"HTTP/1.1 400 "));
    let long = format!("CONNECT {}:1 HTTP/1.1\r\n\r\n", "n".repeat(300));
    assert!(answer(long.as_bytes()).starts_with(b"HTTP/1.1 400 "));
    ping(&mut bystander, b"still here");
    pair.entry.wait_status("each refusal counted", |body| {
        let ended = &body["ended"];
        let names = ["unknown_protocol", "wrong_version", "no_login", "command_not_served"];
        names.iter().all(|name| ended[name] == 1) && ended["not_a_destination"] == 3 && body["flows_open"] == 1
    });
}

#[test]
fn a_required_login_is_asked_for() {
    let echo = echo_server();
    let logins = vec![Login { user: "ann".to_owned(), password: "one".to_owned() }];
    let pair = Pair::start(Setup { logins, login_required: true, ..Setup::default() });
    let mut stream = pair.connect();
    stream.write_all(&[5, 1, 0]).expect("a greeting");
    let mut refused = Vec::new();
    stream.read_to_end(&mut refused).expect("an end");
    assert_eq!(refused, [5, 0xff]);
    let mut stream = pair.connect();
    stream.write_all(b"\x05\x01\x02\x01\x03ann\x03one").expect("a greeting and a login");
    let mut accepted = [0; 4];
    stream.read_exact(&mut accepted).expect("method and status");
    assert_eq!(accepted, [5, 2, 1, 0]);
    let mut request = vec![5, 1, 0];
    request.extend(socks_address(echo));
    stream.write_all(&request).expect("a request");
    assert_eq!(socks_reply(&mut stream).0, 0);
    ping(&mut stream, b"in");
    let wrong = http_answer(&pair, "CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic YW5uOnR3bw==\r\n\r\n");
    assert!(wrong.starts_with("HTTP/1.1 407 "), "{wrong}");
}
