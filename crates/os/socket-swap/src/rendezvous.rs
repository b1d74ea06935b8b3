//! How two ends find out that both are preloaded, and exchange segments (docs/spec/swap.md).
//!
//! Each end that has been in use for a while opens a *door*: a datagram socket at an abstract address that is made from the
//! inode of its own connection socket. It finds the inode of the other end by `sock_diag`, and so the other's door; if there
//! is one, it sends its segment there, sealed and read-only. Whoever has sent and received is linked. Nothing ever waits,
//! nothing goes through the connection itself, and an end without this library never opens a door.

use crate::connection::Stage;
use crate::link::{CAPACITY, Link, SEGMENT_BYTES, Word, stance};
use crate::statistics::{self, Count};
use crate::table::{self, Reference};
use crate::{real, reserved, sock_diag};
use libc::{c_int, c_void};
use shm_ring::{OtherSegment, OwnSegment};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Calls that move data before the first attempt: short connections pay nothing.
pub(crate) const FIRST_ATTEMPT: u32 = 8;
/// Calls after which a connection whose other end has no door stays plain.
const LAST_ATTEMPT: u32 = 8192;
/// Calls that received data, before the other side is told to use its ring: a program that receives by other means never
/// comes so far.
const READS_BEFORE_READY: u32 = 2;
/// Datagrams that are looked at in one attempt. Strangers can send some; more than that wait for the next attempt.
const OFFERS_MAX: u32 = 4;

const MAGIC: u64 = u64::from_le_bytes(*b"HWSWAP02");

/// What an offer says, with the segment beside it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Offer {
    magic: u64,
    from_inode: u64,
    to_inode: u64,
    capacity: u64,
}

/// Why an attempt ended without a link.
enum Failure {
    /// Try again later.
    Later,
    /// It will never do.
    Never,
}

/// Counts a call that moved data on a followed connection, and makes an attempt when it is time.
#[inline]
pub(crate) fn count(connection: &Reference, fd: i32, received: bool) {
    if received {
        connection.reads.fetch_add(1, Ordering::Relaxed);
    }
    let calls = connection.calls.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    if calls >= connection.attempt_at.load(Ordering::Relaxed) {
        attempt(connection, fd, calls);
    }
}

#[cold]
fn attempt(connection: &Reference, fd: i32, calls: u32) {
    let errno = real::errno();
    if connection.attempting.swap(true, Ordering::AcqRel) {
        return;
    }
    let done = if connection.stage() == Stage::Followed { try_to_link(connection, fd) } else { Ok(()) };
    connection.attempt_at.store(calls.saturating_add((calls / 2).max(FIRST_ATTEMPT)), Ordering::Relaxed);
    connection.attempting.store(false, Ordering::Release);
    let gives_up = matches!(done, Err(Failure::Never)) || calls >= LAST_ATTEMPT;
    if gives_up && connection.stage() == Stage::Followed {
        table::go_plain(connection, fd);
    }
    real::set_errno(errno);
}

fn try_to_link(connection: &Reference, fd: i32) -> Result<(), Failure> {
    if connection.barred.load(Ordering::SeqCst) {
        return Err(Failure::Never);
    }
    if !connection.is_ours() || !connection.holders().is_alone() {
        return Err(Failure::Later);
    }
    learn_inodes(connection, fd)?;
    open_door(connection)?;
    let door = connection.door.load(Ordering::Relaxed);
    // SAFETY: `attempting` is ours, so nobody else touches it.
    let offered = unsafe { &mut *connection.offered.get() };
    if offered.is_none() {
        *offered = Some(offer(connection, door)?);
    }
    let other = take_offer(connection, fd, door)?;
    if connection.barred.load(Ordering::SeqCst) || !connection.holders().is_alone() {
        return Err(Failure::Never);
    }
    if let Some(own) = offered.take() {
        // Whoever slept before there was a link did not say so: the first news rings in any case.
        own.word(Word::Sleep as usize).store(1, Ordering::Release);
        connection.set_link(Link::new(own, other));
        statistics::add(Count::Linked);
    }
    close_door(connection);
    Ok(())
}

/// Lets the directions of a link turn to their rings as soon as no call from before it is still inside.
#[inline]
pub(crate) fn settle(connection: &Reference, link: &Link) {
    if link.get(Word::Stance) & stance::READY != 0 || connection.barred.load(Ordering::Relaxed) {
        return;
    }
    if link.get(Word::Settled) == 0 {
        if !connection.is_quiet() {
            return;
        }
        link.set(Word::Settled, 1);
    }
    if connection.reads.load(Ordering::Relaxed) >= READS_BEFORE_READY {
        link.take_stance(stance::READY);
    }
}

/// Before a fork: an exchange under way is left, because only one of the two processes could complete it.
pub(crate) fn abandon(connection: &Reference, fd: i32) {
    if connection.stage() == Stage::Followed && connection.door.load(Ordering::Relaxed) >= 0 {
        table::go_plain(connection, fd);
    }
}

fn learn_inodes(connection: &Reference, fd: i32) -> Result<(), Failure> {
    if connection.inode.load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    // SAFETY: a structure of numbers, which the call fills.
    let inode = unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &mut about) == 0 { about.st_ino } else { 0 }
    };
    let other = sock_diag::other_inode(inode).ok_or(Failure::Later)?;
    connection.other_inode.store(other, Ordering::Relaxed);
    connection.inode.store(inode, Ordering::Relaxed);
    Ok(())
}

fn open_door(connection: &Reference) -> Result<(), Failure> {
    if connection.door.load(Ordering::Relaxed) >= 0 {
        return Ok(());
    }
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let (address, length) = door_address(connection.inode.load(Ordering::Relaxed));
    // SAFETY: numbers and an address that lives here.
    unsafe {
        let low = real::socket(libc::AF_UNIX, kind, 0);
        if low < 0 {
            return Err(Failure::Later);
        }
        let high = reserved::copy(low);
        real::close(low);
        let door = high.ok_or(Failure::Later)?;
        let on: c_int = 1;
        let on_at = std::ptr::from_ref(&on).cast::<c_void>();
        let marked = real::setsockopt(door, libc::SOL_SOCKET, libc::SO_PASSCRED, on_at, size_of::<c_int>() as u32);
        if marked < 0 || libc::bind(door, std::ptr::from_ref(&address).cast(), length) < 0 {
            reserved::close(door);
            return Err(Failure::Never);
        }
        connection.door.store(door, Ordering::Relaxed);
    }
    Ok(())
}

fn close_door(connection: &Reference) {
    let door = connection.door.swap(-1, Ordering::Relaxed);
    if door >= 0 {
        reserved::close(door);
    }
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

/// Makes our segment and sends it to the other end's door.
fn offer(connection: &Reference, door: c_int) -> Result<OwnSegment, Failure> {
    let other_inode = connection.other_inode.load(Ordering::Relaxed);
    let (address, length) = door_address(other_inode);
    // Connected, the door takes datagrams from the other door only.
    // SAFETY: the address lives here.
    if unsafe { real::connect(door, std::ptr::from_ref(&address).cast(), length) } < 0 {
        return Err(Failure::Later);
    }
    let (own, fd) = OwnSegment::create(c"hushwire-swap", SEGMENT_BYTES).map_err(|_| Failure::Never)?;
    own.word(0).store(MAGIC, Ordering::Release);
    let offer = Offer {
        magic: MAGIC,
        from_inode: connection.inode.load(Ordering::Relaxed),
        to_inode: other_inode,
        capacity: CAPACITY,
    };
    if send_offer(door, &offer, &fd) { Ok(own) } else { Err(Failure::Never) }
}

/// Room for one descriptor and the sender's credentials, aligned as control messages are.
#[repr(C, align(8))]
struct Control([u8; 128]);

fn send_offer(door: c_int, offer: &Offer, segment: &OwnedFd) -> bool {
    let mut part = crate::buffers::part(std::ptr::from_ref(offer).cast(), size_of::<Offer>());
    let mut control = Control([0; 128]);
    // SAFETY: all parts of the message live until it is sent; the control buffer has room for one descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
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

/// Takes the other end's offer, if it has come and is what it should be.
fn take_offer(connection: &Reference, fd: i32, door: c_int) -> Result<OtherSegment, Failure> {
    for _ in 0..OFFERS_MAX {
        let Some((offer, user, segment)) = receive_offer(door) else { return Err(Failure::Later) };
        let expected = Offer {
            magic: MAGIC,
            from_inode: connection.other_inode.load(Ordering::Relaxed),
            to_inode: connection.inode.load(Ordering::Relaxed),
            capacity: CAPACITY,
        };
        if offer != Some(expected) || !may_offer(user, fd, expected.from_inode) {
            continue;
        }
        let Some(segment) = segment else { continue };
        if !has_ordinary_pages(segment.as_raw_fd()) {
            return Err(Failure::Never);
        }
        return OtherSegment::map(segment.as_fd(), SEGMENT_BYTES).map_err(|_| Failure::Never);
    }
    Err(Failure::Later)
}

/// A file of huge pages may be sealed as well, but cannot be unmapped in the length of a segment.
fn has_ordinary_pages(file: c_int) -> bool {
    // SAFETY: a structure of numbers, which the call fills.
    unsafe {
        let mut about: libc::statfs = std::mem::zeroed();
        libc::fstatfs(file, &mut about) == 0 && about.f_type != libc::HUGETLBFS_MAGIC
    }
}

type Received = (Option<Offer>, Option<libc::uid_t>, Option<OwnedFd>);

/// One datagram, whatever it is. `None`: none waits.
fn receive_offer(door: c_int) -> Option<Received> {
    let mut offer = Offer { magic: 0, from_inode: 0, to_inode: 0, capacity: 0 };
    let mut part = crate::buffers::part(std::ptr::from_mut(&mut offer).cast_const().cast(), size_of::<Offer>());
    let mut control = Control([0; 128]);
    let (mut user, mut segment) = (None, None);
    // SAFETY: all parts of the message live until the end; headers are walked as libc provides; what they carry is read
    // unaligned, and descriptors that arrive are ours to own.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
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

/// The kernel says who sent the offer. It must be who made the other end of the connection: who connected or listened, or who
/// accepted it, which a server does that has given up its first rights.
fn may_offer(user: Option<libc::uid_t>, fd: i32, other_inode: u64) -> bool {
    user.is_some() && (user == peer_user(fd) || user == sock_diag::user(other_inode))
}

fn peer_user(fd: i32) -> Option<libc::uid_t> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_huge_pages_are_told_from_others() {
        for (flags, expected) in [(libc::MFD_ALLOW_SEALING, true), (libc::MFD_HUGETLB, false)] {
            // SAFETY: a terminated name; the descriptor is new, and ours.
            let file = unsafe {
                let made = libc::memfd_create(c"test".as_ptr(), flags);
                assert!(made >= 0, "a memory file with flags {flags}");
                OwnedFd::from_raw_fd(made)
            };
            assert_eq!(has_ordinary_pages(file.as_raw_fd()), expected, "flags {flags}");
        }
        assert!(!has_ordinary_pages(-1));
    }
}
