//! How two ends find each other and exchange segments (docs/spec/swap.md).
//!
//! Each end that wants a ring opens a *door*: a datagram socket at an abstract address that is made from the inode of its own
//! connection socket. It finds the inode of the other end by `sock_diag`, and so the other's door; if there is one, it sends
//! its segment there, sealed and read-only. Whoever has sent and received is linked. Nothing ever waits, nothing goes through
//! the connection itself, and an end that does not know of this never opens a door.
//!
//! These are the steps. The preloaded library takes them in calls of its program; for a process that may open no sockets its
//! supervisor takes them, by an [`Introduction`].

use crate::buffers::part;
use crate::link::{CAPACITY, SEGMENT_BYTES, Word};
use crate::{real, sock_diag};
use libc::{c_int, c_void};
use shm_ring::{OwnSegment, SegmentError};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Calls that move data before the first attempt: short connections pay nothing.
pub const FIRST_ATTEMPT: u32 = 8;
/// Calls after which a connection whose other end has no door stays plain.
pub const LAST_ATTEMPT: u32 = 8192;
/// Datagrams that are looked at in one attempt. Strangers can send some; more than that wait for the next attempt.
const OFFERS_MAX: u32 = 4;

const MAGIC: u64 = u64::from_le_bytes(*b"HWSWAP02");

/// The call at which the next attempt is made, after one at call number `calls`.
pub fn next_attempt(calls: u32) -> u32 {
    calls.saturating_add((calls / 2).max(FIRST_ATTEMPT))
}

/// What an offer says, with the segment beside it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Offer {
    magic: u64,
    from_inode: u64,
    to_inode: u64,
    capacity: u64,
}

/// The inodes of a connection's two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes {
    /// This end's.
    pub own: u64,
    /// The other end's.
    pub other: u64,
}

/// The inodes of a connected unix socket and of its other end. `None`: unknown, or not accepted yet.
pub fn inodes(fd: c_int) -> Option<Inodes> {
    // SAFETY: a structure of numbers, which the call fills.
    let own = unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut about) == 0 { about.st_ino } else { 0 }
    };
    Some(Inodes { own, other: sock_diag::other_inode(own)? })
}

/// A socket that can become a door. `None`: the process has no more descriptors, or may not make sockets.
pub fn unbound_door() -> Option<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: numbers; a descriptor that it gives is ours.
    unsafe {
        let fd = real::socket(libc::AF_UNIX, kind, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Makes a socket the door of the end with this inode. `false`: somebody has it already.
pub fn open_door(door: c_int, inode: u64) -> bool {
    let (address, length) = door_address(inode);
    let on: c_int = 1;
    let on_at = std::ptr::from_ref(&on).cast::<c_void>();
    // SAFETY: numbers and an address that live here.
    unsafe {
        real::setsockopt(door, libc::SOL_SOCKET, libc::SO_PASSCRED, on_at, size_of::<c_int>() as u32) == 0
            && libc::bind(door, std::ptr::from_ref(&address).cast(), length) == 0
    }
}

/// Connects our door to that of the other end. `false`: it has none. Connected, ours takes datagrams from that door only.
pub fn find_door(door: c_int, other_inode: u64) -> bool {
    let (address, length) = door_address(other_inode);
    // SAFETY: the address lives here.
    unsafe { real::connect(door, std::ptr::from_ref(&address).cast(), length) == 0 }
}

/// `\0hushwire-swap/1/` and the inode in hexadecimal digits.
fn door_address(inode: u64) -> (libc::sockaddr_un, libc::socklen_t) {
    const PREFIX: &[u8] = b"\0hushwire-swap/1/";
    // SAFETY: zeros are a valid address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let digits = (0..16).map(|place| b"0123456789abcdef"[(inode >> (60 - 4 * place)) as usize & 15]);
    let mut length = 0;
    for (to, byte) in address.sun_path.iter_mut().zip(PREFIX.iter().copied().chain(digits)) {
        *to = byte as libc::c_char;
        length += 1;
    }
    (address, (std::mem::offset_of!(libc::sockaddr_un, sun_path) + length) as libc::socklen_t)
}

/// A new segment of ours, and the descriptor for the other side. Whoever sleeps before there is a link does not say so: the
/// first news ring in any case.
pub fn new_segment() -> Result<(OwnSegment, OwnedFd), SegmentError> {
    let (own, fd) = OwnSegment::create(c"hushwire-swap", SEGMENT_BYTES)?;
    own.word(0).store(MAGIC, Ordering::Release);
    own.word(Word::Sleep as usize).store(1, Ordering::Release);
    Ok((own, fd))
}

/// Room for one descriptor and the sender's credentials, aligned as control messages are.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Sends our segment to the other end's door, to which ours is connected.
pub fn send_offer(door: c_int, inodes: Inodes, segment: BorrowedFd<'_>) -> bool {
    let offer = Offer { magic: MAGIC, from_inode: inodes.own, to_inode: inodes.other, capacity: CAPACITY };
    let mut bytes = part(std::ptr::from_ref(&offer).cast(), size_of::<Offer>());
    let mut control = Control([0; 128]);
    // SAFETY: all parts of the message live until it is sent; the control buffer has room for one descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut bytes;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<c_int>() as u32) as usize;
        let head = libc::CMSG_FIRSTHDR(&message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as usize;
        libc::CMSG_DATA(head).cast::<c_int>().write_unaligned(segment.as_raw_fd());
        real::sendmsg(door, &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) == size_of::<Offer>() as isize
    }
}

/// Takes the other end's offer, if it has come and is what it should be: the descriptor of its segment. `may_offer`: whether
/// a user may have sent it, as the kernel names him.
pub fn take_offer(door: c_int, inodes: Inodes, may_offer: impl Fn(libc::uid_t) -> bool) -> Option<OwnedFd> {
    for _ in 0..OFFERS_MAX {
        let (offer, user, segment) = receive_offer(door)?;
        let expected = Offer { magic: MAGIC, from_inode: inodes.other, to_inode: inodes.own, capacity: CAPACITY };
        if offer == Some(expected)
            && user.is_some_and(&may_offer)
            && let Some(segment) = segment
        {
            return Some(segment);
        }
    }
    None
}

type Received = (Option<Offer>, Option<libc::uid_t>, Option<OwnedFd>);

/// One datagram, whatever it is. `None`: none waits.
fn receive_offer(door: c_int) -> Option<Received> {
    let mut offer = Offer { magic: 0, from_inode: 0, to_inode: 0, capacity: 0 };
    let mut room = part(std::ptr::from_mut(&mut offer).cast_const().cast(), size_of::<Offer>());
    let mut control = Control([0; 128]);
    let (mut user, mut segment) = (None, None);
    // SAFETY: all parts of the message live until the end; headers are walked as libc provides; what they carry is read
    // unaligned, and descriptors that arrive are ours to own.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut room;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>();
        let count = real::recvmsg(door, &mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC);
        if count < 0 {
            return None;
        }
        let mut head = libc::CMSG_FIRSTHDR(&message);
        while !head.is_null() {
            let length = (*head).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            match ((*head).cmsg_level, (*head).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                    user = Some(libc::CMSG_DATA(head).cast::<libc::ucred>().read_unaligned().uid);
                }
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for place in 0..length / size_of::<c_int>() {
                        let fd = libc::CMSG_DATA(head).cast::<c_int>().add(place).read_unaligned();
                        let fd = OwnedFd::from_raw_fd(fd);
                        segment = Some(fd);
                    }
                }
                _ => {}
            }
            head = libc::CMSG_NXTHDR(&message, head);
        }
        let whole = count == size_of::<Offer>() as isize && message.msg_flags & libc::MSG_TRUNC == 0;
        Some((whole.then_some(offer), user, segment))
    }
}

/// Whether an offer may come from `user`. It must be who made the other end of the connection: who connected or listened
/// (`peer`), or who accepted it, which a server does that has given up its first rights.
pub fn may_offer(user: libc::uid_t, peer: Option<libc::uid_t>, other_inode: u64) -> bool {
    Some(user) == peer || Some(user) == sock_diag::user(other_inode)
}

/// Who connected or listened at the other end of a connection.
pub fn peer_user(fd: i32) -> Option<libc::uid_t> {
    // SAFETY: a structure of numbers, which the call fills.
    unsafe {
        let mut peer: libc::ucred = std::mem::zeroed();
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let asked = libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::from_mut(&mut peer).cast(),
            &mut length,
        );
        (asked == 0).then_some(peer.uid)
    }
}

/// An exchange of segments on behalf of a process that may open no sockets.
#[derive(Debug)]
pub struct Introduction {
    door: OwnedFd,
    inodes: Inodes,
    peer: Option<libc::uid_t>,
}

/// Why nobody was introduced. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absent;

impl Introduction {
    /// Sends `segment` to the other end of `connection`, if that has a door. What it needs of the connection it learns now:
    /// a connection ends when its holders close it, and this is none.
    pub fn begin(connection: BorrowedFd<'_>, segment: BorrowedFd<'_>) -> Result<Self, Absent> {
        let inodes = inodes(connection.as_raw_fd()).ok_or(Absent)?;
        let door = unbound_door().ok_or(Absent)?;
        let fd = door.as_raw_fd();
        // The door before the look for the other: of two who come at once, one finds the other's.
        if !open_door(fd, inodes.own) || !find_door(fd, inodes.other) || !send_offer(fd, inodes, segment) {
            return Err(Absent);
        }
        Ok(Self { door, inodes, peer: peer_user(connection.as_raw_fd()) })
    }

    /// The other side's segment, unchecked, if its offer has come. To be asked when the door is readable, and once before.
    pub fn take(&self) -> Option<OwnedFd> {
        take_offer(self.door.as_raw_fd(), self.inodes, |user| may_offer(user, self.peer, self.inodes.other))
    }
}

impl AsFd for Introduction {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }
}
