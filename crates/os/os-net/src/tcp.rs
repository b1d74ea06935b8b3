//! What the safe bindings do not have of TCP.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Lets the kernel take at most `bytes` that it has not sent yet (`TCP_NOTSENT_LOWAT`, tcp(7)): beyond them the socket
/// is not writable. The limit is checked before each piece that is copied, so a little more may be taken.
///
/// # Errors
///
/// The system's, such as for a socket that is no TCP socket.
pub fn limit_unsent(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let length = size_of_val(&bytes) as libc::socklen_t;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open while it is borrowed; the kernel only reads `length` bytes of `bytes`.
    let answer = unsafe {
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast::<libc::c_void>(),
            length,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Bytes that the kernel takes of a writer whose reader reads nothing.
    fn taken(limit: Option<u32>) -> io::Result<usize> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut writer = TcpStream::connect(listener.local_addr()?)?;
        let _reader = listener.accept()?;
        if let Some(bytes) = limit {
            limit_unsent(&writer, bytes)?;
        }
        writer.set_nonblocking(true)?;
        let mut taken = 0;
        loop {
            match writer.write(&[0; 16 << 10]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(taken),
                Err(error) => return Err(error),
            }
        }
    }

    #[test]
    fn a_limit_keeps_the_kernel_from_taking_all() -> io::Result<()> {
        let (usual, limited) = (taken(None)?, taken(Some(128 << 10))?);
        assert!(limited < 1 << 20 && usual > 2 * limited, "{limited} bytes with a limit, {usual} without");
        Ok(())
    }

    #[test]
    fn a_socket_without_tcp_has_no_such_limit() -> io::Result<()> {
        assert!(limit_unsent(&UnixStream::pair()?.0, 1).is_err());
        Ok(())
    }
}
