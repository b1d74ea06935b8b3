//! A UDP socket that says when the kernel received each datagram. A reader that wakes up late still learns the true
//! time, which is what a recording of somebody else's schedule needs.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::addr_of_mut;
use std::time::Duration;

use crate::clock::{monotonic_ns, unix_time};
use crate::udp::SOCKET_BUFFER_BYTES;

/// Room for the one control message that is asked for, aligned as the kernel's headers are.
const CONTROL_WORDS: usize = 16;
/// Readings of the two clocks until one is not torn apart by a context switch.
const CLOCK_READINGS_MAX: u32 = 16;
/// Two readings of the monotonic clock this close together frame an undisturbed reading of the other.
const CLOCK_FRAME_NS: u64 = 300;

/// One received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Bytes written to the buffer; a longer datagram is cut to the buffer's length.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// When the kernel received it, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_monotonic_ns: u64,
}

/// A bound socket that does not block. The kernel stamps datagrams with the time of day; the socket turns that into
/// monotonic time by an offset that it reads again at most once a second.
#[derive(Debug)]
pub struct StampedSocket {
    socket: UdpSocket,
    /// Time of day minus monotonic time, in nanoseconds, and when it was read.
    offset_ns: i128,
    offset_read_at: u64,
}

impl StampedSocket {
    /// Binds and asks for time stamps.
    ///
    /// # Errors
    /// What the kernel says to the address or to the options.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // Smaller buffers than asked for are no error: the kernel has its own limit.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES);
        ask_for_stamps(&socket)?;
        Ok(Self { socket, offset_ns: read_offset(), offset_read_at: monotonic_ns() })
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Receives one datagram, or fails with `WouldBlock`.
    ///
    /// # Errors
    /// What the kernel says, such as `ConnectionRefused` after a datagram to a closed port.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let (length, from, stamp) = receive_message(&self.socket, buffer)?;
        let now = monotonic_ns();
        if now.saturating_sub(self.offset_read_at) > 1_000_000_000 {
            self.offset_ns = read_offset();
            self.offset_read_at = now;
        }
        let at = stamp.map_or(i128::from(now), |stamp| stamp.as_nanos() as i128 - self.offset_ns);
        Ok(Arrival { length, from, at_monotonic_ns: u64::try_from(at).unwrap_or(now) })
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// What the kernel says, `WouldBlock` when its buffer is full.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(bytes, to)
    }
}

impl AsFd for StampedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Time of day minus monotonic time, from a reading between two close readings of the other clock.
fn read_offset() -> i128 {
    let mut best = (u64::MAX, 0);
    for _ in 0..CLOCK_READINGS_MAX {
        let before = monotonic_ns();
        let day = unix_time().as_nanos() as i128;
        let after = monotonic_ns();
        let frame = after.saturating_sub(before);
        if frame < best.0 {
            best = (frame, day - i128::from(before + frame / 2));
        }
        if frame <= CLOCK_FRAME_NS {
            break;
        }
    }
    best.1
}

fn ask_for_stamps(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the length of the call, and the option is read from a live integer whose size
    // is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One `recvmsg`: length, sender, and the time of day at which the kernel received it.
fn receive_message(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<Duration>)> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control = [0u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeroes is a valid `msghdr` without name, parts and control.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = addr_of_mut!(part);
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
    // SAFETY: name, part, buffer and control outlive the call, and their true sizes are given.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), addr_of_mut!(message), 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: it was zeroed, which is a valid address storage, and the kernel wrote at most its size into it.
    let name = unsafe { name.assume_init() };
    let from = socket_address(&name).ok_or(io::ErrorKind::InvalidData)?;
    Ok((length, from, stamp(&message)))
}

/// The time stamp among the control messages.
fn stamp(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the header was filled by `recvmsg` and its control buffer is alive and aligned as a header.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the pointer is not null, so it points at a header within the control buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: a message of this kind carries a `timespec`; it is read without assuming alignment.
            let time: libc::timespec = unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
            return Some(Duration::new(seconds, nanoseconds));
        }
        // SAFETY: both point at the message that the kernel filled.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn socket_address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds this smaller structure.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds this smaller structure.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(address, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::thread;

    use super::*;

    /// The kernel switches stamps on behind the call that asks for them, and until then stamps when it is read: on a busy
    /// machine the first datagrams may still be of that time.
    const TRIES_MAX: u32 = 20;

    /// Whether the stamp of a datagram is the time of its arrival.
    fn exchange(host: IpAddr) -> bool {
        let mut receiver = StampedSocket::bind(SocketAddr::new(host, 0)).expect("loopback has free ports");
        let sender = UdpSocket::bind(SocketAddr::new(host, 0)).expect("loopback has free ports");
        let to = receiver.local_addr().expect("the socket is bound");
        let mut buffer = [0; 64];
        assert_eq!(receiver.receive(&mut buffer).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        let before = monotonic_ns();
        sender.send_to(b"hello", to).expect("loopback takes datagrams");
        let after = monotonic_ns();
        // The kernel's time counts, however late it is read.
        thread::sleep(Duration::from_millis(20));
        let arrival = receiver.receive(&mut buffer).expect("the datagram is there");
        assert_eq!(&buffer[..arrival.length], b"hello");
        assert_eq!(arrival.from, sender.local_addr().expect("the socket is bound"));
        let slack = 2_000_000;
        arrival.at_monotonic_ns + slack >= before && arrival.at_monotonic_ns <= after + slack
    }

    #[test]
    fn datagrams_come_with_their_time_of_arrival() {
        for host in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            assert!((0..TRIES_MAX).any(|_| exchange(host)), "{host}: no datagram has the time of its arrival");
        }
    }
}
