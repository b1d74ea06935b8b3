//! Who has no key: many senders at once, and a scan of ports.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::network::Namespace;

/// The addresses that a flood comes from; the sender's host needs `route add local 10.99.0.0/16 dev lo`, and whoever
/// is to answer a route to it.
pub const FLOOD_PREFIX: &str = "10.99.0.0/16";
/// Addresses of a flood, each with so many ports.
const ADDRESSES: u16 = 100;
const PORTS_EACH: u16 = 100;
/// Senders of a flood.
pub const SENDERS: usize = ADDRESSES as usize * PORTS_EACH as usize;
/// How long a closed port may take to say so.
const CLOSED_WITHIN: Duration = Duration::from_millis(400);
/// Between two ports of a scan.
const SCAN_GAP: Duration = Duration::from_micros(1500);

/// One datagram from each of ten thousand senders to the targets in turn; `payload` makes that of a sender's number.
///
/// # Errors
/// If an address cannot be bound, or a datagram not sent.
pub fn flood(
    from: &Namespace,
    targets: &[SocketAddr],
    payload: impl Fn(usize) -> Vec<u8> + Sync,
) -> anyhow::Result<()> {
    from.within(|| {
        for address in 0..ADDRESSES {
            for port in 0..PORTS_EACH {
                let [high, low] = address.to_be_bytes();
                let socket = UdpSocket::bind((IpAddr::from([10, 99, high, low + 1]), 10_000 + port))?;
                let number = usize::from(address) * usize::from(PORTS_EACH) + usize::from(port);
                socket.send_to(&payload(number), targets[number % targets.len()])?;
            }
            // A burst above the receiver's buffer would be lost before anybody could be harmed by it.
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    })
}

/// Those of the ports that are told to be closed.
///
/// # Errors
/// If a socket cannot be made.
pub fn closed(from: &Namespace, host: IpAddr, ports: &[u16]) -> anyhow::Result<Vec<u16>> {
    let sockets = from.within(|| {
        let connect = |port: &u16| -> anyhow::Result<(u16, UdpSocket)> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((host, *port))?;
            socket.set_nonblocking(true)?;
            socket.send(b"anybody there?")?;
            std::thread::sleep(SCAN_GAP);
            Ok((*port, socket))
        };
        ports.iter().map(connect).collect::<anyhow::Result<Vec<_>>>()
    })?;
    std::thread::sleep(CLOSED_WITHIN);
    let is_refused = |socket: &UdpSocket| {
        socket.recv(&mut [0; 64]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    Ok(sockets.iter().filter(|(_, socket)| is_refused(socket)).map(|(port, _)| *port).collect())
}
