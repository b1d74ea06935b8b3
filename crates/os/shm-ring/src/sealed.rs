//! Bytes that are handed to another process once and never change: too many for a message.

use crate::memory::Writable;
use crate::segment::{OwnSegment, SegmentError};
use rustix::fs::SealFlags;
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Without these somebody could still change what is read.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE);

/// Puts bytes, at least one, into sealed memory. Nobody can write there any more, whoever gets the descriptor. `name` shows in
/// `/proc/<pid>/fd`.
///
/// # Errors
/// When the system refuses the memory.
pub fn seal(name: &CStr, bytes: &[u8]) -> Result<OwnedFd, SegmentError> {
    let (segment, descriptor) = OwnSegment::create(name, bytes.len())?;
    segment.copy_in(0, bytes);
    Ok(descriptor)
}

/// Reads exactly `len` bytes of sealed memory. The caller has a bound for `len`.
///
/// # Errors
/// When it is not sealed against changes, shorter, or cannot be read.
pub fn read_sealed(descriptor: BorrowedFd<'_>, len: usize) -> Result<Vec<u8>, SegmentError> {
    let seals = rustix::fs::fcntl_get_seals(descriptor).map_err(|_| SegmentError::Unsealed)?;
    if !seals.contains(SEALS) {
        return Err(SegmentError::Unsealed);
    }
    let failed = |errno| SegmentError::System { call: "pread", errno };
    let found = rustix::fs::fstat(descriptor).map_err(failed)?.st_size as u64;
    if found < len as u64 {
        return Err(SegmentError::TooShort { found, needed: len });
    }
    let (mut bytes, mut at) = (vec![0; len], 0);
    while at < len {
        match rustix::io::pread(descriptor, &mut bytes[at..], at as u64) {
            Ok(0) => return Err(SegmentError::TooShort { found: at as u64, needed: len }),
            Ok(count) => at += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_sealed_is_read_and_cannot_be_changed() -> Result<(), Box<dyn std::error::Error>> {
        let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number * 7) as u8).collect();
        let sealed = seal(c"test", &bytes)?;
        assert_eq!(read_sealed(sealed.as_fd(), bytes.len())?, bytes);
        assert_eq!(read_sealed(sealed.as_fd(), 3)?, bytes[..3], "where it was read before does not matter");
        assert!(matches!(read_sealed(sealed.as_fd(), bytes.len() + 1), Err(SegmentError::TooShort { .. })));
        assert!(rustix::io::pwrite(&sealed, b"x", 0).is_err() && rustix::fs::ftruncate(&sealed, 1).is_err());
        assert!(seal(c"test", b"").is_err(), "there is no memory of no bytes");
        Ok(())
    }

    #[test]
    fn what_somebody_could_change_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let open = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::ALLOW_SEALING)?;
        rustix::io::write(&open, b"text")?;
        assert!(matches!(read_sealed(open.as_fd(), 4), Err(SegmentError::Unsealed)));
        rustix::fs::fcntl_add_seals(&open, SealFlags::SHRINK | SealFlags::GROW)?;
        assert!(matches!(read_sealed(open.as_fd(), 4), Err(SegmentError::Unsealed)), "it can be written yet");
        let file = std::fs::File::open("/proc/self/exe")?;
        assert!(matches!(read_sealed(file.as_fd(), 4), Err(SegmentError::Unsealed)));
        Ok(())
    }
}
