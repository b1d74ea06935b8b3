//! Which socket is at the other end of a connected unix socket, and whose it is: the kernel tells by `sock_diag`.

use crate::real;
use libc::c_int;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// What can be asked for: the bit of the question and the kind of the attribute that answers it.
#[derive(Clone, Copy)]
struct Question {
    show: u32,
    answer: u16,
}

const PEER: Question = Question { show: 0x04, answer: 2 };
const USER: Question = Question { show: 0x40, answer: 7 };
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
pub fn other_inode(inode: u64) -> Option<u64> {
    ask(inode, PEER).filter(|other| *other != 0).map(u64::from)
}

/// The user who made the socket with `inode`: for an accepted one, who accepted it. `None`: unknown, as on kernels before 5.3.
pub fn user(inode: u64) -> Option<libc::uid_t> {
    ask(inode, USER)
}

fn ask(inode: u64, question: Question) -> Option<u32> {
    let inode = u32::try_from(inode).ok()?;
    // SAFETY: plain numbers.
    let fd = unsafe { real::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return None;
    }
    let answer = exchange(fd, inode, question);
    // SAFETY: the descriptor is ours.
    unsafe { real::close(fd) };
    answer
}

fn exchange(fd: c_int, inode: u32, question: Question) -> Option<u32> {
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
        show: question.show,
        cookie: [NO_COOKIE; 2],
    };
    let mut answer = [0u8; ANSWER_BYTES_MAX];
    // SAFETY: both buffers are ours and as long as said. The kernel answers before `send` returns, so nothing blocks.
    let length = unsafe {
        real::send(fd, std::ptr::from_ref(&request).cast(), size_of::<Request>(), 0);
        real::recv(fd, answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT)
    };
    parse(answer.get(..usize::try_from(length).ok()?)?, question.answer)
}

fn parse(answer: &[u8], wanted: u16) -> Option<u32> {
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
        if kind == wanted {
            let bytes = answer.get(at + 4..at + 8)?;
            return Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        }
        at += length.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(attributes: &[(u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![0; ANSWER_HEAD_BYTES];
        bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        for (kind, value) in attributes {
            bytes.extend_from_slice(&8u16.to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn the_attribute_is_found_among_others() {
        assert_eq!(parse(&answer(&[(6, 1), (2, 77)]), 2), Some(77));
        assert_eq!(parse(&answer(&[(6, 1)]), 2), None);
    }

    #[test]
    fn short_and_other_answers_are_none() {
        let whole = answer(&[(2, 77)]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length], 2), None, "{length} bytes");
        }
        let mut error = whole;
        error[4..6].copy_from_slice(&2u16.to_ne_bytes());
        assert_eq!(parse(&error, 2), None);
        assert_eq!(parse(&[[0; ANSWER_HEAD_BYTES].as_slice(), &[0; 8]].concat(), 2), None, "an attribute of no length");
    }
}
