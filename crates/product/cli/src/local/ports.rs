//! Ports of loopback for nodes that are started a moment later.

use crate::failure::{Code, Failure};
use crate::settings;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

/// Below the ports that Linux hands out by itself: until its node has it, no program gets one of these by chance.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_700;
const TRIES: usize = 100;

/// A TCP port that was free a moment ago. Should somebody take it before the node does, the node says so.
pub(crate) fn free_tcp() -> Result<u16, Failure> {
    free("TCP", |address| TcpListener::bind(address).map(drop))
}

/// The same for UDP.
pub(crate) fn free_udp() -> Result<u16, Failure> {
    free("UDP", |address| UdpSocket::bind(address).map(drop))
}

fn free(kind: &str, bind: impl Fn(SocketAddr) -> io::Result<()>) -> Result<u16, Failure> {
    let mut refused = None;
    for _ in 0..TRIES {
        let port = FIRST + u16::from_be_bytes(settings::random()?) % COUNT;
        match bind((Ipv4Addr::LOCALHOST, port).into()) {
            Ok(()) => return Ok(port),
            Err(error) => refused = Some(error),
        }
    }
    let why = refused.map(|error| format!(": {error}")).unwrap_or_default();
    Err(Failure::new(Code::System, format!("no {kind} port of 127.0.0.1 can be opened{why}")))
}
