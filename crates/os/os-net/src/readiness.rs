//! Waiting for descriptors under tokio.
//!
//! Registering a descriptor is an unsafe call in tokio, because the descriptor must stay open and the same while it is
//! registered. [`Registered`] keeps that promise for the types of this crate and for plain owned descriptors.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::process_channel::Channel;
use crate::udp::{RecvBuffers, SendError, Sent, UdpSocket};

/// A non-blocking descriptor whose readiness tokio watches.
#[derive(Debug)]
pub struct Registered<T: AsFd + std::os::fd::AsRawFd> {
    inner: AsyncFd<T>,
}

impl Registered<OwnedFd> {
    /// Watches a descriptor that is already non-blocking. Must be called inside a runtime with its IO driver enabled.
    pub fn from_owned(descriptor: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` stays open until it is dropped, and `Registered` never gives out more than `&OwnedFd`.
        Ok(Self { inner: unsafe { AsyncFd::register(descriptor) }? })
    }
}

impl Registered<Channel> {
    /// Watches a process channel. Must be called inside a runtime with its IO driver enabled.
    pub fn from_channel(channel: Channel) -> io::Result<Self> {
        // SAFETY: a `Channel` owns its socket and replaces it never; `Registered` gives out `&Channel` only.
        Ok(Self { inner: unsafe { AsyncFd::register(channel) }? })
    }
}

impl Registered<UdpSocket> {
    /// Watches a UDP socket. Must be called inside a runtime with its IO driver enabled.
    pub fn from_udp(socket: UdpSocket) -> io::Result<Self> {
        // SAFETY: a `UdpSocket` owns its socket and replaces it never; `Registered` gives out `&UdpSocket` only.
        Ok(Self { inner: unsafe { AsyncFd::register(socket) }? })
    }
}

impl<T: AsFd + std::os::fd::AsRawFd> Registered<T> {
    /// The watched object. Reading or writing it directly leaves the remembered readiness as it is; a wait may then
    /// return once without need.
    pub fn get_ref(&self) -> &T {
        self.inner.get_ref()
    }

    /// Waits until reading may succeed. The readiness stays remembered until [`Registered::try_read`] finds nothing.
    /// Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.inner.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Waits until writing may succeed. The readiness stays remembered until [`Registered::try_write`] is blocked.
    /// Cancel-safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.inner.writable().await.map(|mut guard| guard.retain_ready())
    }

    /// Runs `read`, unless it is known that nothing waits. `WouldBlock` from either ends the readiness.
    pub fn try_read<R>(&self, read: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.inner.try_io(Interest::READABLE, read)
    }

    /// Runs `write`, unless it is known that there is no room. `WouldBlock` from either ends the readiness.
    pub fn try_write<R>(&self, write: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.inner.try_io(Interest::WRITABLE, write)
    }
}

impl Registered<UdpSocket> {
    /// [`UdpSocket::recv_batch`] that remembers when nothing is left.
    pub fn recv_batch(
        &self,
        buffers: &mut RecvBuffers,
        each: impl FnMut(SocketAddr, bool, &mut [u8]),
    ) -> io::Result<usize> {
        self.try_read(|socket| socket.recv_batch(buffers, each))
    }

    /// [`UdpSocket::send_batch`] that remembers when the kernel's buffer is full, until [`Registered::writable`].
    pub fn send_batch(&self, destination: SocketAddr, packets: &[u8], packet_bytes: usize) -> Result<Sent, SendError> {
        let mut outcome = Ok(Sent { packets: 0, blocked: true });
        // The outcome is in the variable; what tokio needs to know is only whether the socket blocked.
        let _: io::Result<()> = self.try_write(|socket| {
            outcome = socket.send_batch(destination, packets, packet_bytes);
            match outcome {
                Ok(Sent { blocked: true, .. }) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(()),
            }
        });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_udp_socket_becomes_readable_once_per_arrival() -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let sender = UdpSocket::bind("127.0.0.1:0".parse()?)?;
            let receiver = Registered::from_udp(UdpSocket::bind("127.0.0.1:0".parse()?)?)?;
            let mut buffers = RecvBuffers::new();
            for _ in 0..3 {
                sender.send_batch(receiver.get_ref().local_addr()?, &[1; 2 * 1350], 1350)?;
                receiver.readable().await?;
                let mut packets = 0;
                while let Ok(more) = receiver.recv_batch(&mut buffers, |_, _, _| {}) {
                    packets += more;
                }
                assert_eq!(packets, 2);
            }
            let idle = tokio::time::timeout(Duration::from_millis(5), receiver.readable()).await;
            assert!(idle.is_err(), "no readiness is left over");
            receiver.writable().await?;
            Ok(())
        })
    }

    #[test]
    fn a_full_pipe_is_not_writable_until_it_is_read() -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK)?;
            let writer = Registered::from_owned(writer)?;
            writer.writable().await?;
            while writer.try_write(|descriptor| Ok(rustix::io::write(descriptor, &[0; 4096])?)).is_ok() {}
            assert!(tokio::time::timeout(Duration::from_millis(5), writer.writable()).await.is_err());
            while rustix::io::read(&reader, &mut [0; 65_536]).is_ok() {}
            writer.writable().await?;
            writer.try_write(|descriptor| Ok(rustix::io::write(descriptor, &[1])?))?;
            Ok(())
        })
    }
}
