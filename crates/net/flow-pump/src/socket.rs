//! A connection to an application or to a server: TCP or a unix socket, or shared memory that took its place.

use crate::port::FlowPort;
use crate::swappable::Swappable;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use os_net::tcp;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UnixStream};

/// How long a TCP connection may be silent before the kernel asks its other end whether it still lives. A dead
/// one is reset after [`KEEPALIVE_PROBES`] unanswered questions, so that it does not hold a queue pair for ever.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Unanswered questions after which a connection is dead.
pub const KEEPALIVE_PROBES: u32 = 6;

/// Bytes that the kernel takes before the connection has sent them. What a slow reader does not take yet waits in the
/// flow's ring, which its sender sees, and not in the kernel: there 300 such readers filled all memory that the kernel
/// has for TCP (4 MB each), and it began to drop everybody's segments.
const UNSENT_MAX: u32 = 128 << 10;

/// How long a last answer may take to be written, and how long what its reader still sends is thrown away.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// A connected stream socket under tokio.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// A unix socket that may go on by shared memory.
    Swappable(Box<Swappable>),
}

impl Socket {
    /// Takes over a TCP connection: no delay, keepalive, little unsent in the kernel.
    pub fn tcp(stream: TcpStream) -> io::Result<Self> {
        use rustix::net::sockopt;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
        tcp::limit_unsent(&stream, UNSENT_MAX)?;
        Ok(Self::Tcp(stream))
    }

    /// Ready when reading may succeed; see `TcpStream::poll_read_ready`.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
            Self::Swappable(socket) => socket.poll_read_ready(context),
        }
    }

    /// Ready when writing may succeed.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(context),
            Self::Unix(stream) => stream.poll_write_ready(context),
            Self::Swappable(socket) => socket.poll_write_ready(context),
        }
    }

    /// Moves at most `max` bytes from the socket straight into the port's out-ring, which has room. `Ok(0)`: end of file.
    /// `WouldBlock` ends the readiness.
    pub fn fill(&self, port: &FlowPort, max: usize) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || port.fill_from(stream.as_fd(), max)),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || port.fill_from(stream.as_fd(), max)),
            Self::Swappable(socket) => socket.fill(port, max),
        }
    }

    /// Moves at most `max` bytes from the port's in-ring straight into the socket. `WouldBlock` ends the readiness.
    pub fn drain(&self, port: &FlowPort, max: usize) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_io(Interest::WRITABLE, || port.drain_into(stream.as_fd(), max)),
            Self::Unix(stream) => stream.try_io(Interest::WRITABLE, || port.drain_into(stream.as_fd(), max)),
            Self::Swappable(socket) => socket.drain(port, max),
        }
    }

    /// Writes what there is room for. `WouldBlock` ends the readiness.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Swappable(socket) => socket.write(bytes),
        }
    }

    /// Reads what there is. `Ok(0)`: end of file. `WouldBlock` ends the readiness.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Swappable(socket) => socket.read(buffer),
        }
    }

    /// Reads what there is. Cancel-safe.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Unix(stream) => stream.read(buffer).await,
            Self::Swappable(socket) => loop {
                poll_fn(|context| socket.poll_read_ready(context)).await?;
                match socket.read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            },
        }
    }

    /// Writes everything. Not cancel-safe: part of it may have been written.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Swappable(socket) => {
                let mut left = bytes;
                while !left.is_empty() {
                    poll_fn(|context| socket.poll_write_ready(context)).await?;
                    match socket.write(left) {
                        Ok(count) => left = &left[count..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }

    /// Half-close: the other end reads end of file.
    pub fn shutdown_write(&self) -> io::Result<()> {
        if let Self::Swappable(socket) = self {
            socket.shut_down_write();
        }
        rustix::net::shutdown(self.as_fd(), rustix::net::Shutdown::Write).map_err(io::Error::from)
    }

    /// Closes so that the other end sees a reset rather than an end of file. A unix socket has no such thing.
    pub fn abort(self) {
        if let Self::Tcp(stream) = &self {
            // Without it the connection ends a little less clearly; there is nobody to tell.
            let _ = stream.set_zero_linger();
        }
    }

    /// Chooses what the other end sees if this process is killed: a reset, or an end of file as after a last byte.
    ///
    /// The kernel closes the sockets of a process that dies. While a flow is under way that must not look as if its
    /// bytes were complete. Before a close in good order it must be off: it throws away what is not yet sent.
    pub fn set_reset_on_close(&self, resets: bool) {
        if let Self::Tcp(stream) = self {
            // Where the option cannot be set, a killed process's connections end a little less clearly.
            let _ = rustix::net::sockopt::set_socket_linger(stream, resets.then_some(Duration::ZERO));
        }
    }

    /// Says `bytes` and closes in such a way that they arrive: closing while the other end still sends would reset
    /// the connection and take the answer with it. Takes at most twice [`LAST_WORDS_MAX`].
    pub async fn say_last(mut self, bytes: &[u8]) {
        let said = tokio::time::timeout(LAST_WORDS_MAX, self.write_all(bytes)).await;
        if !matches!(said, Ok(Ok(()))) || self.shutdown_write().is_err() {
            return;
        }
        let mut sink = [0; 1024];
        let discard = async { while matches!(self.read(&mut sink).await, Ok(1..)) {} };
        let _ = tokio::time::timeout(LAST_WORDS_MAX, discard).await;
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Swappable(socket) => socket.stream().as_fd(),
        }
    }
}
