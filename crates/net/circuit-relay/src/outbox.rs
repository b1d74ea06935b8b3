//! Packets that are ready, by where they go, so that those of one way leave in one system call.

use crate::sockets::Sockets;
use link::Route;
use os_net::udp::SendError;
use std::collections::BTreeMap;

/// Ways whose buffers are kept for the next packets; when there are more, all that are empty go.
const WAYS_KEPT: usize = 256;

/// What became of the packets of a flush.
#[derive(Debug, Default)]
pub(crate) struct Flushed {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// Ways that the system does not have, and how many packets were for them.
    pub(crate) refused: Vec<(Route, u64)>,
}

/// Holds at most what came in one turn: while something is left that the kernel has no room for, the loop receives nothing.
#[derive(Debug)]
pub(crate) struct Outbox {
    packet_bytes: usize,
    ways: BTreeMap<Route, Vec<u8>>,
    packets: usize,
    blocked: bool,
}

impl Outbox {
    pub(crate) fn new(packet_bytes: usize) -> Self {
        Self { packet_bytes, ways: BTreeMap::new(), packets: 0, blocked: false }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// True when the kernel had no room.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    #[inline]
    pub(crate) fn push(&mut self, to: Route, packet: &[u8]) {
        self.ways.entry(to).or_default().extend_from_slice(packet);
        self.packets += 1;
    }

    /// Sends what there is, as far as the kernel has room.
    pub(crate) fn flush(&mut self, sockets: &Sockets) -> Flushed {
        let mut flushed = Flushed::default();
        self.blocked = false;
        for (route, bytes) in self.ways.iter_mut().filter(|(_, bytes)| !bytes.is_empty()) {
            let all = bytes.len() / self.packet_bytes;
            let Some(socket) = sockets.of(route) else { continue };
            match socket.send_batch_from(route.from, route.to, bytes, self.packet_bytes) {
                Ok(sent) => {
                    flushed.sent += sent.packets as u64;
                    self.packets -= sent.packets;
                    bytes.drain(..sent.packets * self.packet_bytes);
                    self.blocked |= sent.blocked;
                }
                Err(error) => {
                    if let SendError::Unreachable(_) = error {
                        flushed.refused.push((*route, all as u64));
                    }
                    flushed.failed += all as u64;
                    self.packets -= all;
                    bytes.clear();
                }
            }
        }
        if self.ways.len() > WAYS_KEPT {
            self.ways.retain(|_, bytes| !bytes.is_empty());
        }
        flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_net::udp::{RecvBuffers, UdpSocket};
    use std::net::Ipv4Addr;

    #[test]
    fn packets_of_one_way_keep_their_order_and_all_ways_are_served() -> std::io::Result<()> {
        let local = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into());
        let (sockets, peers) = (Sockets::new(local()?)?, [local()?, local()?]);
        let mut outbox = Outbox::new(100);
        for number in 0..20u8 {
            for peer in &peers {
                outbox.push(peer.local_addr()?.into(), &[number; 100]);
            }
        }
        let flushed = outbox.flush(&sockets);
        assert_eq!((flushed.sent, flushed.failed, outbox.is_empty()), (40, 0, true));
        for peer in &peers {
            let (mut buffers, mut came) = (RecvBuffers::new(), Vec::new());
            while came.len() < 20 {
                match peer.recv_batch(&mut buffers, |_, _, packet| came.push((packet.len(), packet[0]))) {
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(error) => return Err(error),
                }
            }
            assert_eq!(came, (0..20).map(|number| (100, number)).collect::<Vec<_>>());
        }
        Ok(())
    }
}
