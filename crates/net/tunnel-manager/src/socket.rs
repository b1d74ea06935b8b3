//! The socket of a driver: packets in batches, in and out.

use crate::queues::StreamQueues;
use link::{Now, Route};
use os_net::clock;
use os_net::readiness::Registered;
use os_net::udp::{RecvBuffers, SEND_PACKETS_MAX, SendError, UdpSocket};
use shaped_node::DrivenNode;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;
use tracing::debug;

/// Receive calls of one turn.
const RECEIVE_ROUNDS: usize = 4;
/// Batches that leave in one turn.
const SEND_ROUNDS: usize = 8;
/// Batches of a farewell. Whoever was to hear one that is beyond hears silence.
const FAREWELL_BATCHES_MAX: usize = 256;

/// See the module.
pub(crate) struct Socket {
    socket: Registered<UdpSocket>,
    buffers: RecvBuffers,
    packet_bytes: usize,
    /// Where the batch goes that the kernel had no room for. It is in `out`.
    stuck: Option<SocketAddr>,
    out: Vec<u8>,
    has_left: bool,
}

impl Socket {
    pub(crate) fn bind(address: SocketAddr, packet_bytes: usize) -> io::Result<Self> {
        Ok(Self {
            socket: Registered::from_udp(UdpSocket::bind(address)?)?,
            buffers: RecvBuffers::new(),
            packet_bytes,
            stuck: None,
            out: Vec::new(),
            has_left: false,
        })
    }

    /// Until there is something to receive, or room for what found none. Errors are the turn's to find. Cancel-safe.
    pub(crate) async fn ready(&self) {
        let is_stuck = self.stuck.is_some();
        tokio::select! {
            biased;
            _ = self.socket.writable(), if is_stuck => {}
            _ = self.socket.readable() => {}
        }
    }

    /// Takes what came. True if there may be more.
    pub(crate) fn receive(&mut self, node: &mut impl DrivenNode<StreamQueues>) -> io::Result<bool> {
        let time = now();
        let mut packets = 0;
        for round in 0..RECEIVE_ROUNDS {
            let take =
                |from: SocketAddr, ce, packet: &mut [u8]| node.handle_packet(time, Route::from(from), ce, packet);
            match self.socket.recv_batch(&mut self.buffers, take) {
                Ok(count) => packets += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if round + 1 == RECEIVE_ROUNDS {
                node.settle(time);
                return Ok(true);
            }
        }
        if packets > 0 {
            node.settle(time);
        }
        Ok(false)
    }

    /// Sends what found no room before. True if it has some now.
    pub(crate) fn send_stuck(&mut self, node: &mut impl DrivenNode<StreamQueues>) -> bool {
        let Some(to) = self.stuck.take() else { return false };
        self.send_batch(node, to)
    }

    /// Sends what is ready. True if there may be more.
    pub(crate) fn send(&mut self, node: &mut impl DrivenNode<StreamQueues>) -> bool {
        if self.stuck.is_some() {
            return false;
        }
        for _ in 0..SEND_ROUNDS {
            self.out.clear();
            let Some(route) = node.poll_transmit(now(), SEND_PACKETS_MAX, &mut self.out) else { return false };
            if !self.send_batch(node, route.to) {
                return false;
            }
        }
        true
    }

    /// Ends sessions and links, and sends what they have to say about it, one packet for each, as far as the kernel has room: whoever
    /// calls this may be in no runtime any more, and waits for nothing. Said once, whoever calls it again.
    pub(crate) fn say_farewell(&mut self, node: &mut impl DrivenNode<StreamQueues>) {
        if std::mem::replace(&mut self.has_left, true) {
            return;
        }
        node.close(now());
        self.send_at_once(node);
        node.leave();
        self.send_at_once(node);
    }

    fn send_at_once(&mut self, node: &mut impl DrivenNode<StreamQueues>) {
        for _ in 0..FAREWELL_BATCHES_MAX {
            self.out.clear();
            let Some(route) = node.poll_transmit(now(), SEND_PACKETS_MAX, &mut self.out) else { return };
            let sent = self.socket.get_ref().send_batch(route.to, &self.out, self.packet_bytes);
            if sent.is_ok_and(|sent| sent.blocked) {
                return;
            }
        }
    }

    /// Sends what is in `out`. False: there was no room for all of it, and the rest is stuck.
    fn send_batch(&mut self, node: &mut impl DrivenNode<StreamQueues>, to: SocketAddr) -> bool {
        match self.socket.send_batch(to, &self.out, self.packet_bytes) {
            Ok(sent) if sent.blocked => {
                self.out.drain(..sent.packets * self.packet_bytes);
                self.stuck = Some(to);
                return false;
            }
            Ok(_) => {}
            Err(error) => {
                debug!(%error, "a batch was not sent");
                if let SendError::Unreachable(_) = error {
                    let packets = self.out.len() / self.packet_bytes;
                    node.handle_send_refused(now(), Route::from(to), packets as u64);
                }
            }
        }
        true
    }
}

/// Both clocks.
pub(crate) fn now() -> Now {
    Now { instant: Instant::now(), unix_s: clock::unix_time().as_secs() }
}
