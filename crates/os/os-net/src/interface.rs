//! Sockets of one network interface.

use std::io;
use std::os::fd::AsRawFd;

/// Binds a socket to an interface (`SO_BINDTODEVICE`): it sends and receives over that one alone. Without privileges a socket can be
/// bound once, from Linux 5.7 on.
pub(crate) fn bind(socket: &impl AsRawFd, interface: &str) -> io::Result<()> {
    if interface.is_empty() || interface.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let length = interface.len() as libc::socklen_t;
    // SAFETY: the descriptor is open while `socket` is borrowed, and the kernel reads `length` bytes of the name, which are there.
    let result = unsafe {
        let name = interface.as_ptr().cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name, length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use crate::udp::UdpSocket;
    use std::io;
    use std::net::Ipv4Addr;

    #[test]
    fn a_socket_is_bound_to_an_interface_that_is_there() -> io::Result<()> {
        let any = (Ipv4Addr::UNSPECIFIED, 0).into();
        let bound = UdpSocket::bind_to_interface(any, "lo")?;
        assert_ne!(bound.local_addr()?.port(), 0);
        for wrong in ["", "no-such-one", "sixteen-letters-"] {
            assert!(UdpSocket::bind_to_interface(any, wrong).is_err(), "{wrong:?}");
        }
        Ok(())
    }
}
