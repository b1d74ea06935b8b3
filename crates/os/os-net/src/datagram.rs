//! Datagrams for somebody else: what a relay receives it sends on as it was, in few system calls.
//!
//! Unlike [`crate::udp`], which sends packets of one size without any mark, this keeps what came with a datagram: its
//! exact length up to the largest there is, the whole traffic class (ECN and DSCP), and the address that it was sent to.
//! Datagrams of one sender that the kernel handed over together (GRO) stay together as a [`Train`], and trains to one
//! destination leave as one segmented send (GSO), whatever they came in as. Where segmentation fails they go one by one.

mod address;
mod control;
mod inbox;
mod outbox;

pub use inbox::{Arrived, INBOX_TRAINS_MAX, Inbox};
pub use outbox::{Departing, Ended, Sent};

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Bytes of kernel buffer asked for in each direction. Memory is taken only for what waits.
pub const DATAGRAM_BUFFER_BYTES: usize = 4 << 20;

/// Datagrams of one sender, back to back: all `segment_bytes` long but the last, which may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Train<'a> {
    bytes: &'a [u8],
    segment_bytes: usize,
    traffic_class: u8,
}

impl<'a> Train<'a> {
    /// A train. `segment_bytes` of zero means that `bytes` is one datagram; it may be empty.
    pub fn new(bytes: &'a [u8], segment_bytes: usize, traffic_class: u8) -> Self {
        let segment_bytes = if segment_bytes == 0 { bytes.len() } else { segment_bytes.min(bytes.len()) };
        Self { bytes, segment_bytes: segment_bytes.max(1), traffic_class }
    }

    /// All datagrams, one after the other.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of every datagram but the last; at least 1.
    pub fn segment_bytes(&self) -> usize {
        self.segment_bytes
    }

    /// The byte of the IP header with DSCP (6 bits) and ECN (2 bits).
    pub fn traffic_class(&self) -> u8 {
        self.traffic_class
    }

    /// Number of datagrams, at least 1: an empty one is one.
    pub fn datagrams(&self) -> usize {
        self.bytes.len().div_ceil(self.segment_bytes).max(1)
    }

    /// The datagrams one by one.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let empty = self.bytes.is_empty().then_some(self.bytes);
        empty.into_iter().chain(self.bytes.chunks(self.segment_bytes))
    }

    /// The train without its first `datagrams` ones; `None` if nothing is left.
    pub fn without_first(&self, datagrams: usize) -> Option<Self> {
        if datagrams == 0 {
            return Some(*self);
        }
        let rest = self.bytes.get(datagrams * self.segment_bytes..)?;
        (!rest.is_empty()).then(|| Self::new(rest, self.segment_bytes, self.traffic_class))
    }
}

/// How a [`DatagramSocket`] is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramOptions {
    /// Whether to receive and send several datagrams as one (GRO, GSO).
    pub offload: bool,
    /// Whether to learn which local address a datagram was sent to, and to answer from addresses that are only routed
    /// here (`IPV6_FREEBIND`). For sockets bound to all addresses.
    pub local_addresses: bool,
    /// Whether datagrams above the path's MTU are refused instead of cut into fragments by the kernel.
    pub forbid_fragments: bool,
}

impl Default for DatagramOptions {
    fn default() -> Self {
        Self { offload: true, local_addresses: false, forbid_fragments: false }
    }
}

/// A non-blocking UDP socket that keeps what comes with a datagram. For one thread.
#[derive(Debug)]
pub struct DatagramSocket {
    descriptor: OwnedFd,
    v4: bool,
    /// Off where a network card cannot segment, found out at the first failure.
    segmentation: Cell<bool>,
}

impl DatagramSocket {
    /// Binds a socket. Port 0 lets the kernel choose; the unspecified IPv6 address takes IPv4 too.
    ///
    /// # Errors
    /// What the kernel says to the address (`AddrInUse`, `AddrNotAvailable`), or to one descriptor more (`EMFILE`).
    pub fn bind(address: SocketAddr, options: DatagramOptions) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&descriptor, !address.ip().is_unspecified())?;
        }
        let socket = Self { descriptor, v4: address.is_ipv4(), segmentation: Cell::new(options.offload) };
        socket.set_options(address, options)?;
        rustix::net::bind(&socket.descriptor, &address)?;
        Ok(socket)
    }

    fn set_options(&self, address: SocketAddr, options: DatagramOptions) -> io::Result<()> {
        let socket = &self.descriptor;
        // Beyond the system's cap with the capability, up to the cap without; smaller buffers only lose more.
        if sockopt::set_socket_recv_buffer_size_force(socket, DATAGRAM_BUFFER_BYTES).is_err() {
            sockopt::set_socket_recv_buffer_size(socket, DATAGRAM_BUFFER_BYTES)?;
        }
        if sockopt::set_socket_send_buffer_size_force(socket, DATAGRAM_BUFFER_BYTES).is_err() {
            sockopt::set_socket_send_buffer_size(socket, DATAGRAM_BUFFER_BYTES)?;
        }
        // An IPv6 socket that takes IPv4 has the options of both.
        sockopt::set_ip_recvtos(socket, true)?;
        control::set_fragments(socket, libc::IPPROTO_IP, options.forbid_fragments)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_recvtclass(socket, true)?;
            control::set_fragments(socket, libc::IPPROTO_IPV6, options.forbid_fragments)?;
        }
        if options.local_addresses {
            control::ask_for_local_address(socket, address.is_ipv6())?;
            if address.is_ipv6() {
                sockopt::set_ipv6_freebind(socket, true)?;
            }
        }
        if options.offload {
            // A kernel without it hands over one by one.
            let _ = control::ask_for_trains(socket);
        }
        Ok(())
    }

    /// Aims the socket: only this peer is heard, and trains without a destination go to it.
    ///
    /// # Errors
    /// What the kernel says, such as `NetworkUnreachable`.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        Ok(rustix::net::connect(&self.descriptor, &peer)?)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = rustix::net::getsockname(&self.descriptor)?;
        SocketAddr::try_from(address).map_err(|_| Errno::AFNOSUPPORT.into())
    }

    /// Bytes of kernel buffer in force for receiving and sending (the kernel counts double what was asked for).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn buffer_bytes(&self) -> io::Result<(usize, usize)> {
        let socket = &self.descriptor;
        Ok((sockopt::socket_recv_buffer_size(socket)?, sockopt::socket_send_buffer_size(socket)?))
    }

    /// Receives what waits into `inbox`, at most [`INBOX_TRAINS_MAX`] trains, and returns their number; they replace
    /// what was there.
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits; `ConnectionRefused` and the like when the kernel reports what became of an earlier
    /// send of a connected socket. The socket is as good as before.
    pub fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        inbox.fill(self.descriptor.as_raw_fd())
    }

    /// Sends trains in order, until one is refused or the kernel's buffer is full.
    pub fn send(&self, trains: &[Departing<'_>]) -> Sent {
        let (socket, v4, segmentation) = (self.descriptor.as_raw_fd(), self.v4, &self.segmentation);
        outbox::Outlet { socket, v4, segmentation }.send(trains)
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests;
