//! Messages, with descriptors and without.

use super::hooks;
use super::transfers::{NameRoom, receiving_all, sender_name, sending, sending_plain};
use crate::buffers::Buffers;
use crate::receive::Receiving;
use crate::{epoll, real, table};
use libc::{c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};

hooks! {
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
        // SAFETY: the program's call.
        let plain = |fd: c_int, more: c_int| unsafe { real::recvmsg(fd, message, flags | more) };
        let Some(found) = table::find(fd) else { return plain(fd, 0) };
        if message.is_null() {
            return plain(fd, 0);
        }
        // SAFETY: the program's message and its parts.
        let Some(buffers) = (unsafe { Buffers::from_raw((*message).msg_iov, (*message).msg_iovlen) }) else {
            return plain(fd, 0);
        };
        let mut was_filled = false;
        // SAFETY: the program's message.
        let with_control = unsafe { (*message).msg_controllen > 0 };
        let received = receiving_all(&found, Receiving { fd, buffers, flags, with_control }, |fd, more| {
            let received = plain(fd, more);
            was_filled |= received >= 0;
            received
        });
        if received >= 0 && !was_filled {
            // SAFETY: the program's message. Bytes from a ring come without control data.
            unsafe {
                let name = NameRoom { at: (*message).msg_name, bytes: (*message).msg_namelen };
                (*message).msg_namelen = if received == 0 { 0 } else { sender_name(fd, name) };
                (*message).msg_controllen = 0;
                (*message).msg_flags = flags & libc::MSG_CMSG_CLOEXEC;
            }
        }
        received
    }

    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
        if !message.is_null() {
            // SAFETY: the program's message.
            leave_passed(unsafe { &*message });
        }
        // SAFETY: the program's call.
        let plain = || unsafe { real::sendmsg(fd, message, flags) };
        let Some(found) = table::find(fd) else { return plain() };
        if message.is_null() {
            return plain();
        }
        // SAFETY: the program's message and its parts.
        let (special, buffers) = unsafe {
            let message = &*message;
            let special = message.msg_controllen > 0 || message.msg_namelen > 0;
            (special, Buffers::from_raw(message.msg_iov, message.msg_iovlen))
        };
        match buffers {
            Some(buffers) if !special => sending(&found, fd, buffers, flags, plain),
            _ => sending_plain(&found, fd, plain),
        }
    }

    fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, limit: *mut timespec) -> c_int {
        if !table::has(fd) || messages.is_null() {
            // SAFETY: the program's call.
            return unsafe { real::recvmmsg(fd, messages, count, flags, limit) };
        }
        let mut more = 0;
        let mut done = 0;
        while done < count {
            // SAFETY: the program's messages.
            let received = unsafe {
                let message = messages.add(done as usize);
                let received = recvmsg(fd, &mut (*message).msg_hdr, flags & !libc::MSG_WAITFORONE | more);
                if received >= 0 {
                    (*message).msg_len = received as c_uint;
                }
                received
            };
            if received < 0 {
                return if done > 0 { done as c_int } else { -1 };
            }
            done += 1;
            if received == 0 {
                break;
            }
            // As the kernel, which looks at the time only between messages; on a stream what is there is all there is.
            if flags & libc::MSG_WAITFORONE != 0 || !limit.is_null() {
                more = libc::MSG_DONTWAIT;
            }
        }
        done as c_int
    }

    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
        if messages.is_null() || !table::has(fd) && (0..count as usize).all(|place| {
            // SAFETY: the program's messages.
            unsafe { (*messages.add(place)).msg_hdr.msg_controllen == 0 }
        }) {
            // SAFETY: the program's call.
            return unsafe { real::sendmmsg(fd, messages, count, flags) };
        }
        for done in 0..count {
            // SAFETY: the program's messages.
            let sent = unsafe {
                let message = messages.add(done as usize);
                let sent = sendmsg(fd, &(*message).msg_hdr, flags);
                if sent >= 0 {
                    (*message).msg_len = sent as c_uint;
                }
                sent
            };
            if sent < 0 {
                return if done > 0 { done as c_int } else { -1 };
            }
        }
        count as c_int
    }
}

/// Descriptors that are passed on end up with somebody who may have no part in this.
fn leave_passed(message: &msghdr) {
    if message.msg_controllen < size_of::<libc::cmsghdr>() || message.msg_control.is_null() {
        return;
    }
    // SAFETY: the program's message, whose headers are walked as libc provides.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(message);
        while !head.is_null() {
            if (*head).cmsg_level == libc::SOL_SOCKET && (*head).cmsg_type == libc::SCM_RIGHTS {
                let length = (*head).cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                for place in 0..length / size_of::<c_int>() {
                    let fd = libc::CMSG_DATA(head).cast::<c_int>().add(place).read_unaligned();
                    table::leave(fd);
                    if epoll::is_followed(fd) {
                        epoll::watched_by_others(fd);
                    }
                }
            }
            head = libc::CMSG_NXTHDR(message, head);
        }
    }
}
