//! Control messages: what comes and goes with a datagram beside its bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

/// Room for all control messages of one received datagram: segment size, traffic class in both families, local address
/// in both. 168 bytes are needed on 64-bit systems.
pub(super) type ReceiveRoom = [u64; 24];

/// Room for all control messages of one sent datagram: segment size, traffic class, source address (88 bytes).
pub(super) type SendRoom = [u64; 12];

/// What came with a datagram.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Received {
    /// Bytes of each datagram but the last; zero if it is one datagram.
    pub(super) segment_bytes: usize,
    pub(super) traffic_class: u8,
    pub(super) local: Option<IpAddr>,
}

/// Reads the control messages of a header that `recvmmsg` has filled.
///
/// # Safety
/// `message` was filled by the kernel, its control buffer is alive, aligned as `cmsghdr`, and of the size that was given
/// to the kernel.
pub(super) unsafe fn read(message: &libc::msghdr) -> Received {
    let mut received = Received::default();
    // SAFETY: the caller's promise.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a non-null pointer of these macros is a whole header inside the control buffer, with its data behind.
        let (level, kind, data) = unsafe { ((*header).cmsg_level, (*header).cmsg_type, libc::CMSG_DATA(header)) };
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: this message carries an `int`; it is read without assuming alignment.
                let bytes = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                received.segment_bytes = usize::try_from(bytes).unwrap_or(0);
            }
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                // SAFETY: this message carries one byte.
                received.traffic_class = unsafe { data.read() };
            }
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                // SAFETY: this message carries an `int`; it is read without assuming alignment.
                let class = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                received.traffic_class = u8::try_from(class).unwrap_or(0);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: this message carries an `in_pktinfo`; it is read without assuming alignment.
                let about = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                received.local = Some(Ipv4Addr::from(about.ipi_addr.s_addr.to_ne_bytes()).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: this message carries an `in6_pktinfo`; it is read without assuming alignment.
                let about = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                received.local = Some(Ipv6Addr::from(about.ipi6_addr.s6_addr).into());
            }
            _ => {}
        }
        // SAFETY: the header belongs to this message.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    received
}

/// Writes control messages one after the other into a room.
pub(super) struct Writer<'a> {
    room: &'a mut SendRoom,
    used: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(room: &'a mut SendRoom) -> Self {
        Self { room, used: 0 }
    }

    /// Bytes of each datagram of a train.
    pub(super) fn segment(&mut self, bytes: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, bytes);
    }

    /// Traffic class; `v4` tells the family that the packet will have.
    pub(super) fn traffic_class(&mut self, class: u8, v4: bool) {
        let (level, kind) = if v4 { (libc::IPPROTO_IP, libc::IP_TOS) } else { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) };
        self.push(level, kind, libc::c_int::from(class));
    }

    /// The local address to send from.
    pub(super) fn source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(host) => {
                let address = libc::in_addr { s_addr: u32::from_ne_bytes(host.octets()) };
                let about =
                    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } };
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, about);
            }
            IpAddr::V6(host) => {
                let about = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: host.octets() }, ipi6_ifindex: 0 };
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, about);
            }
        }
    }

    /// Bytes in use.
    pub(super) fn finish(self) -> usize {
        self.used
    }

    fn push<T>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        // SAFETY: a computation on a number.
        let (space, length) = unsafe {
            (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32) as usize)
        };
        assert!(self.used + space <= size_of::<SendRoom>(), "the room is as large as all messages together");
        // SAFETY: `used` is within the room (just checked), and a multiple of the header's alignment, because every
        // `CMSG_SPACE` is one and the room begins at one of `u64`.
        let header = unsafe { self.room.as_mut_ptr().cast::<u8>().add(self.used) }.cast::<libc::cmsghdr>();
        // SAFETY: header and data lie within the room (checked above); the room is initialised; the value is written
        // without assuming its alignment.
        unsafe {
            (*header).cmsg_len = length;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        self.used += space;
    }
}

/// Asks the kernel to hand datagrams over together (GRO).
pub(super) fn ask_for_trains(socket: &OwnedFd) -> io::Result<()> {
    set_integer(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Asks the kernel which local address each datagram was sent to.
pub(super) fn ask_for_local_address(socket: &OwnedFd, v6: bool) -> io::Result<()> {
    if v6 {
        set_integer(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    } else {
        set_integer(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    }
}

/// Sets what happens to datagrams above the path's MTU, for one family.
pub(super) fn set_fragments(socket: &OwnedFd, level: libc::c_int, forbid: bool) -> io::Result<()> {
    if level == libc::IPPROTO_IP {
        let how = if forbid { libc::IP_PMTUDISC_PROBE } else { libc::IP_PMTUDISC_WANT };
        return set_integer(socket, level, libc::IP_MTU_DISCOVER, how);
    }
    let how = if forbid { libc::IPV6_PMTUDISC_PROBE } else { libc::IPV6_PMTUDISC_WANT };
    set_integer(socket, level, libc::IPV6_MTU_DISCOVER, how)?;
    set_integer(socket, level, libc::IPV6_DONTFRAG, i32::from(forbid))
}

fn set_integer(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and the option is read from a live integer whose size
    // is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
