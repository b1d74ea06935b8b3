//! Ports for nodes that a test starts a little later.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux hands out by itself, so that nobody gets one by chance before the node has it, and above those over
/// which the tests of `hop` hop.
const FIRST: u16 = 30_000;
const COUNT: u16 = 2_700;

/// A port that nobody has on any address, neither of UDP nor of TCP, and that was not given to another test.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id() % u32::from(COUNT);
    for _ in 0..COUNT {
        let number = u32::from(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + ((begin + number) % u32::from(COUNT)) as u16;
        let any = (Ipv4Addr::UNSPECIFIED, port);
        if UdpSocket::bind(any).is_ok() && TcpListener::bind(any).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// Such a port of loopback.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}
