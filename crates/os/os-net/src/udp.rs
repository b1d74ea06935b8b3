//! UDP in batches: segmentation offload (GSO, GRO), congestion marks, no fragmentation, large buffers.
//!
//! A thin shell around `quinn-udp`. The socket is non-blocking and can be shared by threads. It has no peer and is
//! never aimed anywhere by itself: each send names its destination.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::{SocketType, sockopt};
use thiserror::Error;

/// Bytes of kernel buffer asked for in each direction. Without `CAP_NET_ADMIN` the kernel caps it at
/// `net.core.rmem_max` and `wmem_max`.
pub const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Most packets in one system call. The kernel's limit is 64 KiB, 45 packets of the largest size.
pub const SEND_PACKETS_MAX: usize = 32;

/// Most packets that the kernel puts into one received message (`UDP_GRO_CNT_MAX`).
const RECEIVE_SEGMENTS_MAX: usize = 64;

/// Most messages that one call of [`UdpSocket::recv_batch`] takes.
const RECEIVE_MESSAGES_MAX: usize = 16;

/// Most packets that one call of [`UdpSocket::recv_batch`] hands over. What is left waits in the kernel's buffer.
pub const RECEIVE_PACKETS_MAX: usize = RECEIVE_MESSAGES_MAX * RECEIVE_SEGMENTS_MAX;

/// Bytes of one received message: the largest UDP payload there is, so that nothing is ever cut off.
const RECEIVE_MESSAGE_BYTES: usize = 1 << 16;

/// Buffers for [`UdpSocket::recv_batch`], about 1 MiB of which only what traffic fills becomes resident.
#[derive(Debug)]
pub struct RecvBuffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; RECEIVE_MESSAGES_MAX],
}

impl RecvBuffers {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self {
            bytes: vec![0; RECEIVE_MESSAGES_MAX * RECEIVE_MESSAGE_BYTES],
            metas: [RecvMeta::default(); RECEIVE_MESSAGES_MAX],
        }
    }
}

impl Default for RecvBuffers {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a packet came from, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The far end.
    pub from: SocketAddr,
    /// The address of this machine that it was sent to, if the socket is bound to all of them.
    pub to: Option<IpAddr>,
    /// The mark "congestion experienced".
    pub ce: bool,
}

/// How much of a batch went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Packets that the kernel took, counted from the front.
    pub packets: usize,
    /// The kernel's buffer is full; the rest of the batch was not sent. Wait until the socket is writable.
    pub blocked: bool,
}

/// Why a batch was not sent. Packets of the batch before the refused one may be on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The path's first hop has a smaller MTU, and fragmentation is forbidden.
    #[error("path too narrow for packets of {packet_bytes} bytes")]
    TooNarrow {
        /// UDP payload bytes of one packet.
        packet_bytes: usize,
    },
    /// The system has no route, no address of the destination's family, or a firewall rule forbids it.
    #[error("no way to the destination: {0}")]
    Unreachable(Errno),
    /// Any other answer of the system.
    #[error("sending failed: {0}")]
    System(Errno),
}

/// A UDP socket that sends and receives in batches.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    bound_to_all: bool,
}

impl UdpSocket {
    /// Binds a socket. Port 0 lets the kernel choose.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::configured(std::net::UdpSocket::bind(address)?)
    }

    /// The same for packets of one network interface alone, whatever routes there are over others.
    pub fn bind_to_interface(address: SocketAddr, interface: &str) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        crate::interface::bind(&socket, interface)?;
        Self::configured(socket)
    }

    /// Takes over a bound socket, usually one that another process opened. Fails on anything but a UDP socket.
    pub fn from_owned_fd(descriptor: OwnedFd) -> io::Result<Self> {
        if sockopt::socket_type(&descriptor)? != SocketType::DGRAM {
            return Err(Errno::PROTOTYPE.into());
        }
        Self::configured(std::net::UdpSocket::from(descriptor))
    }

    fn configured(socket: std::net::UdpSocket) -> io::Result<Self> {
        // Beyond the system's cap with the capability, up to the cap without; smaller buffers only lose more.
        if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
            sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES)?;
        }
        let local = socket.local_addr()?;
        let bound_to_all = local.ip().is_unspecified();
        if local.is_ipv6() && bound_to_all {
            // To answer from addresses that are only routed here. A kernel without it answers from those that it has.
            let _ = sockopt::set_ipv6_freebind(&socket, true);
        }
        // Also makes it non-blocking, asks for congestion marks and GRO, and forbids fragmentation.
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket, state, bound_to_all })
    }

    /// Address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Bytes of kernel buffer in force for receiving and sending (the kernel counts double what was asked for).
    pub fn buffer_bytes(&self) -> io::Result<(usize, usize)> {
        Ok((sockopt::socket_recv_buffer_size(&self.socket)?, sockopt::socket_send_buffer_size(&self.socket)?))
    }

    /// Whether the system could not forbid fragmentation.
    pub fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Most packets of `packet_bytes` that one system call can carry now: 1 where the system or the network card
    /// cannot segment, found out at the first failure.
    pub fn segments_per_call(&self, packet_bytes: usize) -> usize {
        let by_bytes = (u16::MAX as usize - 28) / packet_bytes.max(1);
        self.state.max_gso_segments().min(SEND_PACKETS_MAX).min(by_bytes).max(1)
    }

    /// Takes what waits, at most [`RECEIVE_PACKETS_MAX`] packets, and calls `each(from, ce, packet)` for every one;
    /// `ce` is the mark "congestion experienced". Packets have any length that a stranger chooses, none included.
    ///
    /// Returns the number of packets, or `WouldBlock` if nothing waits. Another error concerns the socket as a
    /// whole; there are none that a single peer causes.
    pub fn recv_batch(
        &self,
        buffers: &mut RecvBuffers,
        mut each: impl FnMut(SocketAddr, bool, &mut [u8]),
    ) -> io::Result<usize> {
        self.recv_arrivals(buffers, |arrival, packet| each(arrival.from, arrival.ce, packet))
    }

    /// [`UdpSocket::recv_batch`] that says where packets came to as well.
    ///
    /// # Errors
    /// As there.
    pub fn recv_arrivals(
        &self,
        buffers: &mut RecvBuffers,
        mut each: impl FnMut(Arrival, &mut [u8]),
    ) -> io::Result<usize> {
        let mut chunks = buffers.bytes.chunks_mut(RECEIVE_MESSAGE_BYTES);
        let mut slices: [IoSliceMut<'_>; RECEIVE_MESSAGES_MAX] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let messages = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut buffers.metas)?;
        let mut packets = 0;
        for (slice, meta) in slices.iter_mut().zip(&buffers.metas).take(messages) {
            let to = meta.dst_ip.filter(|_| self.bound_to_all);
            let arrival = Arrival { from: meta.addr, to, ce: meta.ecn == Some(EcnCodepoint::Ce) };
            let filled = slice.get_mut(..meta.len).unwrap_or_default();
            if filled.is_empty() {
                each(arrival, filled);
                packets += 1;
                continue;
            }
            for packet in filled.chunks_mut(meta.stride.max(1)) {
                each(arrival, packet);
                packets += 1;
            }
        }
        Ok(packets)
    }

    /// Sends packets of `packet_bytes` each that lie back to back in `packets`, in as few system calls as possible.
    ///
    /// Where segmentation fails on the way (a network card that cannot, EIO or EINVAL), the rest goes one by one and
    /// so does everything later. `packets` must be a multiple of `packet_bytes` long; a shorter rest is sent as it is.
    pub fn send_batch(&self, destination: SocketAddr, packets: &[u8], packet_bytes: usize) -> Result<Sent, SendError> {
        self.send_batch_from(None, destination, packets, packet_bytes)
    }

    /// [`UdpSocket::send_batch`] from one of this machine's addresses, of a socket that is bound to all of them: one that it
    /// has, or an IPv6 address that is routed here.
    ///
    /// # Errors
    /// As there. An address that is not this machine's any more is [`SendError::Unreachable`].
    pub fn send_batch_from(
        &self,
        source: Option<IpAddr>,
        destination: SocketAddr,
        packets: &[u8],
        packet_bytes: usize,
    ) -> Result<Sent, SendError> {
        debug_assert!(packet_bytes > 0 && packets.len().is_multiple_of(packet_bytes), "packets of one size");
        let packet_bytes = packet_bytes.max(1);
        let mut sent = 0;
        let mut rest = packets;
        while !rest.is_empty() {
            let limit = self.segments_per_call(packet_bytes);
            let take = rest.len().min(limit * packet_bytes);
            let (now, later) = rest.split_at(take);
            let transmit = Transmit {
                destination,
                ecn: None,
                contents: now,
                segment_size: (now.len() > packet_bytes).then_some(packet_bytes),
                src_ip: source,
            };
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Ok(()) => {
                    sent += take.div_ceil(packet_bytes);
                    rest = later;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Sent { packets: sent, blocked: true });
                }
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    // quinn-udp lowered its limit to 1 and the same packets are tried again one by one. A single
                    // packet has no segments, so a second failure is the packet's own and ends the loop.
                    let segmentation = transmit.segment_size.is_some() && matches!(errno, Errno::IO | Errno::INVAL);
                    if !segmentation || self.segments_per_call(packet_bytes) > 1 {
                        return Err(classify(errno, packet_bytes, source.is_some()));
                    }
                }
            }
        }
        Ok(Sent { packets: sent, blocked: false })
    }
}

fn classify(errno: Errno, packet_bytes: usize, from_one: bool) -> SendError {
    match errno {
        Errno::INVAL if from_one => SendError::Unreachable(errno),
        Errno::MSGSIZE => SendError::TooNarrow { packet_bytes },
        Errno::NETUNREACH
        | Errno::HOSTUNREACH
        | Errno::PERM
        | Errno::ACCESS
        | Errno::AFNOSUPPORT
        | Errno::ADDRNOTAVAIL
        | Errno::NETDOWN => SendError::Unreachable(errno),
        other => SendError::System(other),
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl From<UdpSocket> for OwnedFd {
    fn from(socket: UdpSocket) -> Self {
        socket.socket.into()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::{Duration, Instant};

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;
    const P: usize = 1350;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    /// Receives until `count` packets came, or for ten seconds.
    fn collect(socket: &UdpSocket, count: usize) -> io::Result<Vec<Vec<u8>>> {
        let mut buffers = RecvBuffers::new();
        let mut packets = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while packets.len() < count && Instant::now() < deadline {
            match socket.recv_batch(&mut buffers, |_, _, packet| packets.push(packet.to_vec())) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => return Err(error),
            }
        }
        Ok(packets)
    }

    fn numbered(count: usize) -> Vec<u8> {
        (0..count).flat_map(|number| vec![u8::try_from(number % 251).unwrap_or(0); P]).collect()
    }

    #[test]
    fn a_batch_arrives_packet_by_packet_and_in_order() -> Outcome {
        for address in [loopback(), (Ipv6Addr::LOCALHOST, 0).into()] {
            let (one, other) = (UdpSocket::bind(address)?, UdpSocket::bind(address)?);
            assert!(!one.may_fragment());
            let sent = one.send_batch(other.local_addr()?, &numbered(100), P)?;
            assert_eq!(sent, Sent { packets: 100, blocked: false });
            let packets = collect(&other, 100)?;
            assert_eq!(packets.concat(), numbered(100));
            assert!(packets.iter().all(|packet| packet.len() == P));
        }
        Ok(())
    }

    #[test]
    fn nothing_waiting_is_would_block_and_an_empty_packet_is_a_packet() -> Outcome {
        let (one, other) = (UdpSocket::bind(loopback())?, UdpSocket::bind(loopback())?);
        let nothing = other.recv_batch(&mut RecvBuffers::new(), |_, _, _| {}).map_err(|error| error.kind());
        assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
        one.socket.send_to(&[], other.local_addr()?)?;
        assert_eq!(collect(&other, 1)?, vec![Vec::<u8>::new()]);
        Ok(())
    }

    #[test]
    fn other_sizes_from_strangers_come_with_their_own_length() -> Outcome {
        let (one, other) = (UdpSocket::bind(loopback())?, UdpSocket::bind(loopback())?);
        let sizes = [1, 17, 1349, 1351, 9000, 65_507];
        for size in sizes {
            one.socket.send_to(&vec![7; size], other.local_addr()?)?;
        }
        let lengths: Vec<usize> = collect(&other, sizes.len())?.iter().map(Vec::len).collect();
        assert_eq!(lengths, sizes);
        Ok(())
    }

    #[test]
    fn the_mark_congestion_experienced_is_seen_and_none_is_sent() -> Outcome {
        let (one, other) = (UdpSocket::bind(loopback())?, UdpSocket::bind(loopback())?);
        let mut marks = Vec::new();
        let receive = |marks: &mut Vec<bool>| -> Outcome {
            let before = marks.len();
            while marks.len() == before {
                let _ = other.recv_batch(&mut RecvBuffers::new(), |_, ce, _| marks.push(ce));
            }
            Ok(())
        };
        one.send_batch(other.local_addr()?, &[1; P], P)?;
        receive(&mut marks)?;
        sockopt::set_ip_tos(&one.socket, 3)?;
        one.socket.send_to(&[1; P], other.local_addr()?)?;
        receive(&mut marks)?;
        assert_eq!(marks, [false, true]);
        Ok(())
    }

    #[test]
    fn a_packet_above_the_mtu_is_said_to_be_too_large_for_the_path() -> Outcome {
        let socket = UdpSocket::bind(loopback())?;
        let to = UdpSocket::bind(loopback())?.local_addr()?;
        // No interface carries more than 65,507 bytes of payload in one packet.
        let refused = socket.send_batch(to, &vec![0; 65_508], 65_508);
        assert_eq!(refused, Err(SendError::TooNarrow { packet_bytes: 65_508 }));
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err("path too narrow for packets of 65508 bytes".to_owned())
        );
        Ok(())
    }

    #[test]
    fn a_destination_of_the_other_family_is_unreachable() -> Outcome {
        let socket = UdpSocket::bind(loopback())?;
        let to: SocketAddr = (Ipv6Addr::LOCALHOST, 9).into();
        assert!(matches!(socket.send_batch(to, &[0; P], P), Err(SendError::Unreachable(_))));
        Ok(())
    }

    #[test]
    fn a_socket_of_all_addresses_answers_from_the_one_that_was_asked() -> Outcome {
        for all in [SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), (Ipv6Addr::UNSPECIFIED, 0).into()] {
            let (server, client) = (UdpSocket::bind(all)?, UdpSocket::bind(loopback())?);
            let asked = SocketAddr::from(([127, 0, 0, 77], server.local_addr()?.port()));
            client.send_batch(asked, &[1; P], P)?;
            let mut came = None;
            let deadline = Instant::now() + Duration::from_secs(10);
            while came.is_none() && Instant::now() < deadline {
                let _ = server.recv_arrivals(&mut RecvBuffers::new(), |arrival, _| came = Some(arrival));
            }
            let came = came.ok_or("nothing came")?;
            assert_eq!(came.to.map(|to| to.to_canonical()), Some(asked.ip()));
            server.send_batch_from(came.to, came.from, &[2; P], P)?;
            let mut from = None;
            while from.is_none() && Instant::now() < deadline {
                let _ = client.recv_arrivals(&mut RecvBuffers::new(), |arrival, _| from = Some(arrival));
            }
            // A socket of one address is asked at no other.
            assert_eq!(from, Some(Arrival { from: asked, to: None, ce: false }));
            let foreign = server.send_batch_from(Some([192, 0, 2, 1].into()), came.from, &[2; P], P);
            assert!(matches!(foreign, Err(SendError::Unreachable(_))), "{foreign:?}");
        }
        Ok(())
    }

    #[test]
    fn calls_are_cut_by_packets_and_by_bytes() -> Outcome {
        let socket = UdpSocket::bind(loopback())?;
        assert!(socket.segments_per_call(P) <= SEND_PACKETS_MAX);
        assert!(socket.segments_per_call(9000) <= 7);
        assert_eq!(socket.segments_per_call(65_000), 1);
        Ok(())
    }

    #[test]
    fn only_udp_sockets_are_taken_over() -> Outcome {
        let listener = std::net::TcpListener::bind(loopback())?;
        assert!(UdpSocket::from_owned_fd(listener.into()).is_err());
        let bound = UdpSocket::bind(loopback())?;
        let address = bound.local_addr()?;
        assert_eq!(UdpSocket::from_owned_fd(bound.into())?.local_addr()?, address);
        Ok(())
    }
}
