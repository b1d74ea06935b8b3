//! SOCKS5 UDP ASSOCIATE through both processes.

use super::harness::{PATIENCE, Pair, Setup, socks_address, socks_name, socks_reply};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket
}

/// A UDP server that sends every datagram back.
fn echo_server() -> SocketAddr {
    echo_server_at(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn echo_server_at(address: IpAddr) -> SocketAddr {
    let server = UdpSocket::bind((address, 0)).expect("a loopback port");
    let address = server.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            server.send_to(&buffer[..length], from).expect("loopback");
        }
    });
    address
}

/// An association: its TCP connection and its relay address.
fn associate(pair: &Pair) -> (TcpStream, SocketAddr) {
    let mut control = pair.connect();
    control.write_all(&[5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0]).expect("a request");
    control.read_exact(&mut [0; 2]).expect("a method");
    let (code, relay) = socks_reply(&mut control);
    assert_eq!(code, 0);
    (control, relay)
}

fn datagram(address: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[0, 0, 0], address, payload].concat()
}

#[test]
fn datagrams_of_all_sizes_come_back_with_their_source() {
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let (_control, relay) = associate(&pair);
    let socket = socket();
    let mut buffer = vec![0; 65536];
    for length in (1..=8000).step_by(97).chain([0, 8000]) {
        let payload = super::harness::pattern(length as u64, length);
        let sent = datagram(&socks_address(echo), &payload);
        socket.send_to(&sent, relay).expect("loopback");
        let (received, from) = socket.recv_from(&mut buffer).expect("an answer");
        assert_eq!(from, relay);
        assert!(buffer[..received] == sent, "another datagram of {length} bytes came back");
    }
}

#[test]
fn the_first_datagram_of_each_family_arrives() {
    let echo = echo_server_at(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let pair = Pair::start(Setup::default());
    let (_control, relay) = associate(&pair);
    let socket = socket();
    // The exit opens its socket for this family for it.
    socket.send_to(&datagram(&socks_address(echo), b"first"), relay).expect("loopback");
    let mut buffer = [0; 100];
    let (received, _) = socket.recv_from(&mut buffer).expect("an answer");
    assert!(buffer[..received].ends_with(b"first"));
}

#[test]
fn names_are_resolved_at_the_exit_and_the_policy_holds() {
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let (_control, relay) = associate(&pair);
    let socket = socket();
    socket
        .send_to(&datagram(&socks_address(SocketAddr::from(([10, 0, 0, 1], 9))), b"denied"), relay)
        .expect("loopback");
    socket.send_to(&[0, 0, 1, 1, 127, 0, 0, 1, 0, 9, b'f'], relay).expect("loopback");
    socket.send_to(b"nonsense", relay).expect("loopback");
    let mut buffer = vec![0; 100];
    for word in [b"one".as_slice(), b"two"] {
        socket.send_to(&datagram(&socks_name("localhost", echo.port()), word), relay).expect("loopback");
        let (received, _) = socket.recv_from(&mut buffer).expect("an answer");
        assert!(buffer[..received].ends_with(word));
    }
    pair.entry.wait_status("the two that make no sense", |body| body["datagrams_dropped"] == 2);
    pair.exit.wait_status("the denied one", |body| body["datagrams_dropped"] == 1);
}

#[test]
fn only_its_own_socket_is_heard_and_it_ends_with_its_connection() {
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let (control, relay) = associate(&pair);
    let (own, other) = (socket(), socket());
    let mut buffer = [0; 100];
    own.send_to(&datagram(&socks_address(echo), b"mine"), relay).expect("loopback");
    own.recv_from(&mut buffer).expect("an answer");
    other.send_to(&datagram(&socks_address(echo), b"not mine"), relay).expect("loopback");
    own.send_to(&datagram(&socks_address(echo), b"mine again"), relay).expect("loopback");
    let (received, _) = own.recv_from(&mut buffer).expect("an answer");
    assert!(buffer[..received].ends_with(b"mine again"));
    drop(control);
    pair.entry.wait_status("the association over", |body| body["flows_open"] == 0 && body["datagrams_dropped"] == 1);
    pair.exit.wait_status("the association over", |body| body["flows_open"] == 0);
}

#[test]
fn nobody_answers_who_was_not_asked() {
    let echo = echo_server();
    let pair = Pair::start(Setup::default());
    let (_control, relay) = associate(&pair);
    let own = socket();
    let mut buffer = [0; 100];
    // Learns from the echo's own view where the exit sends from.
    let witness = socket();
    let to_witness = datagram(&socks_address(witness.local_addr().expect("its address")), b"hello");
    own.send_to(&to_witness, relay).expect("loopback");
    let (_, exit_socket) = witness.recv_from(&mut buffer).expect("the datagram");
    let stranger = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).expect("another loopback address");
    stranger.send_to(b"unasked", exit_socket).expect("loopback");
    pair.exit.wait_status("the stranger dropped", |body| body["datagrams_dropped"] == 1);
    own.send_to(&datagram(&socks_address(echo), b"asked"), relay).expect("loopback");
    let (received, _) = own.recv_from(&mut buffer).expect("an answer");
    assert!(buffer[..received].ends_with(b"asked"));
}

#[test]
fn an_association_that_carries_nothing_ends() {
    let pair = Pair::start(Setup { datagram_idle_ms: 300, ..Setup::default() });
    let (mut control, _) = associate(&pair);
    assert!(matches!(control.read(&mut [0; 1]), Ok(0) | Err(_)), "its connection is closed");
    pair.exit.wait_status("no flow left", |body| body["flows_open"] == 0);
}
