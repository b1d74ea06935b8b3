//! When the two ends of a connection look for each other: the steps are those of [`swap_link::rendezvous`].
//!
//! Each end that has been in use for a while opens a door, and makes an attempt after some calls more each time, until both
//! have exchanged their segments.

use crate::connection::Stage;
use crate::link::{Link, SEGMENT_BYTES, Word, stance};
use crate::statistics::{self, Count};
use crate::table::{self, Reference};
use crate::{real, reserved};
use libc::c_int;
use shm_ring::{OtherSegment, OwnSegment};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;
pub(crate) use swap_link::rendezvous::FIRST_ATTEMPT;
use swap_link::rendezvous::{
    Inodes, LAST_ATTEMPT, find_door, inodes, new_segment, next_attempt, peer_user, send_offer, take_offer, unbound_door,
};

/// Calls that received data, before the other side is told to use its ring: a program that receives by other means never
/// comes so far.
const READS_BEFORE_READY: u32 = 2;

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
    connection.attempt_at.store(next_attempt(calls), Ordering::Relaxed);
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
    let inodes = learn_inodes(connection, fd)?;
    let door = open_door(connection)?;
    // SAFETY: `attempting` is ours, so nobody else touches it.
    let offered = unsafe { &mut *connection.offered.get() };
    if offered.is_none() {
        *offered = Some(offer(inodes, door)?);
    }
    let may_offer = |user| swap_link::rendezvous::may_offer(user, peer_user(fd), inodes.other);
    let segment = take_offer(door, inodes, may_offer).ok_or(Failure::Later)?;
    let other = OtherSegment::map(segment.as_fd(), SEGMENT_BYTES).map_err(|_| Failure::Never)?;
    if connection.barred.load(Ordering::SeqCst) || !connection.holders().is_alone() {
        return Err(Failure::Never);
    }
    if let Some(own) = offered.take() {
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

fn learn_inodes(connection: &Reference, fd: i32) -> Result<Inodes, Failure> {
    let known =
        Inodes { own: connection.inode.load(Ordering::Relaxed), other: connection.other_inode.load(Ordering::Relaxed) };
    if known.own != 0 {
        return Ok(known);
    }
    let found = inodes(fd).ok_or(Failure::Later)?;
    connection.other_inode.store(found.other, Ordering::Relaxed);
    connection.inode.store(found.own, Ordering::Relaxed);
    Ok(found)
}

fn open_door(connection: &Reference) -> Result<c_int, Failure> {
    let known = connection.door.load(Ordering::Relaxed);
    if known >= 0 {
        return Ok(known);
    }
    let low = unbound_door().ok_or(Failure::Later)?;
    let door = reserved::copy(low.as_raw_fd()).ok_or(Failure::Later)?;
    if !swap_link::rendezvous::open_door(door, connection.inode.load(Ordering::Relaxed)) {
        reserved::close(door);
        return Err(Failure::Never);
    }
    connection.door.store(door, Ordering::Relaxed);
    Ok(door)
}

fn close_door(connection: &Reference) {
    let door = connection.door.swap(-1, Ordering::Relaxed);
    if door >= 0 {
        reserved::close(door);
    }
}

/// Makes our segment and sends it to the other end's door.
fn offer(inodes: Inodes, door: c_int) -> Result<OwnSegment, Failure> {
    if !find_door(door, inodes.other) {
        return Err(Failure::Later);
    }
    let (own, fd) = new_segment().map_err(|_| Failure::Never)?;
    if send_offer(door, inodes, fd.as_fd()) { Ok(own) } else { Err(Failure::Never) }
}
