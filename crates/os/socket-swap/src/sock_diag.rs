//! Which socket is at the other end of a connected unix socket: the kernel tells by `sock_diag`.

use crate::real;
use libc::c_int;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_PEER: u16 = 2;
/// "Whatever its cookie is."
const NO_COOKIE: u32 = u32::MAX;

/// `struct nlmsghdr` and `struct unix_diag_req`.
#[repr(C)]
struct Request {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    family: u8,
    protocol: u8,
    padding: u16,
    states: u32,
    inode: u32,
    show: u32,
    cookie: [u32; 2],
}

/// Bytes before the attributes of an answer: `struct nlmsghdr` and `struct unix_diag_msg`.
const ANSWER_HEAD_BYTES: usize = 32;
/// Longest answer to one question.
const ANSWER_BYTES_MAX: usize = 512;

/// The inode of the socket that the socket with `inode` is connected to. `None`: unknown, or not accepted yet.
pub(crate) fn other_inode(inode: u64) -> Option<u64> {
    let inode = u32::try_from(inode).ok()?;
    // SAFETY: plain numbers.
    let fd = unsafe { real::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return None;
    }
    let answer = ask(fd, inode);
    // SAFETY: the descriptor is ours.
    unsafe { real::close(fd) };
    answer
}

fn ask(fd: c_int, inode: u32) -> Option<u64> {
    let request = Request {
        length: size_of::<Request>() as u32,
        kind: SOCK_DIAG_BY_FAMILY,
        flags: libc::NLM_F_REQUEST as u16,
        sequence: 1,
        port: 0,
        family: libc::AF_UNIX as u8,
        protocol: 0,
        padding: 0,
        states: u32::MAX,
        inode,
        show: UDIAG_SHOW_PEER,
        cookie: [NO_COOKIE; 2],
    };
    let mut answer = [0u8; ANSWER_BYTES_MAX];
    // SAFETY: both buffers are ours and as long as said. The kernel answers before `send` returns, so nothing blocks.
    let length = unsafe {
        real::send(fd, std::ptr::from_ref(&request).cast(), size_of::<Request>(), 0);
        real::recv(fd, answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT)
    };
    parse(answer.get(..usize::try_from(length).ok()?)?)
}

fn parse(answer: &[u8]) -> Option<u64> {
    let half = |at: usize| answer.get(at..at + 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    if half(4)? != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let mut at = ANSWER_HEAD_BYTES;
    loop {
        let (length, kind) = (half(at)? as usize, half(at + 2)?);
        if length < 4 {
            return None;
        }
        if kind == UNIX_DIAG_PEER {
            let bytes = answer.get(at + 4..at + 8)?;
            let inode = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            return (inode != 0).then_some(u64::from(inode));
        }
        at += length.next_multiple_of(4);
    }
}
