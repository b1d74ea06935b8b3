//! An introduction on behalf of another process, beside an end that takes the steps itself.

use shm_ring::OtherSegment;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use swap_link::link::SEGMENT_BYTES;
use swap_link::rendezvous::{
    Absent, Introduction, find_door, inodes, new_segment, open_door, send_offer, take_offer, unbound_door,
};

#[test]
fn segments_are_exchanged_with_an_end_that_waits() {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    let (_own, segment) = new_segment().expect("memory");
    let begin = || Introduction::begin(ours.as_fd(), segment.as_fd());
    assert_eq!(begin().map(|_| ()), Err(Absent), "nobody waits");

    let found = inodes(theirs.as_raw_fd()).expect("both are connected");
    let door = unbound_door().expect("a socket");
    assert!(open_door(door.as_raw_fd(), found.own));
    let introduction = begin().expect("the other end waits");
    assert!(introduction.take().is_none(), "it has offered nothing");

    assert!(find_door(door.as_raw_fd(), found.other), "the introduction's own door");
    let (_their_own, their_segment) = new_segment().expect("memory");
    assert!(send_offer(door.as_raw_fd(), found, their_segment.as_fd()));
    let came = introduction.take().expect("it has offered");
    OtherSegment::map(came.as_fd(), SEGMENT_BYTES).expect("what was offered");
    let own_user = |user| user == rustix::process::getuid().as_raw();
    take_offer(door.as_raw_fd(), found, own_user).expect("the introduction's offer");
    assert!(take_offer(door.as_raw_fd(), found, own_user).is_none(), "one only");

    drop(introduction);
    drop(door);
    assert_eq!(begin().map(|_| ()), Err(Absent), "it has gone");
}

#[test]
fn offers_of_strangers_and_for_others_are_dropped() {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    let (_own, segment) = new_segment().expect("memory");
    let found = inodes(theirs.as_raw_fd()).expect("both are connected");
    let door = unbound_door().expect("a socket");
    assert!(open_door(door.as_raw_fd(), found.own));
    let introduction = Introduction::begin(ours.as_fd(), segment.as_fd()).expect("the other end waits");
    assert!(find_door(door.as_raw_fd(), found.other));
    let mut wrong = found;
    wrong.own += 1;
    assert!(send_offer(door.as_raw_fd(), wrong, segment.as_fd()));
    assert!(introduction.take().is_none(), "an offer of another end");
    assert!(take_offer(door.as_raw_fd(), found, |_| false).is_none(), "an offer of a stranger");
}
