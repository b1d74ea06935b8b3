//! Segments: sealed memory that one process writes and another can only read.
//!
//! | invariant | who keeps it |
//! |---|---|
//! | a mapping is `len` bytes from `base` and lives as long as the `Mapping` | `Mapping::new`, `Drop` |
//! | the file cannot shrink below the mapping, so no access past its end raises SIGBUS | seals, checked before mapping |
//! | no reference to shared memory exists but to atomics | `Mapping::word`; all bytes move by raw copies |
//! | every access lies inside the mapping | asserted in `Mapping::word` and `Mapping::span`, also in release builds |
//! | stores go to mappings with `PROT_WRITE` only | only [`OwnSegment`] has them |

use crate::memory::{Readable, Writable};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence, fence};
use thiserror::Error;

/// Seals that a segment must carry before it is mapped: its size is fixed, and nobody can unseal it.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The kernel's number of the file system that memory files of ordinary pages are in.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;

/// Pages of any Linux system are at most this large.
const LARGEST_PAGE_BYTES: usize = 64 * 1024;

/// Why a segment could not be made or mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// The environment has not enough memory or address space.
    #[error(
        "no memory for a shared segment of {bytes} bytes ({errno}); configure fewer or smaller queues, or raise the memory limit"
    )]
    NoMemory {
        /// Size of the segment.
        bytes: usize,
        /// What the kernel said.
        errno: Errno,
    },
    /// The environment has no file descriptor left.
    #[error(
        "no file descriptor left for a shared segment ({0}); raise the limit of open files (ulimit -n, LimitNOFILE=)"
    )]
    NoDescriptor(Errno),
    /// The file is shorter than both sides' configuration says.
    #[error("a shared segment has {found} bytes where {needed} are needed")]
    TooShort {
        /// Size of the file.
        found: u64,
        /// Size that this side expects.
        needed: usize,
    },
    /// The file can still be resized, or is no memory file at all.
    #[error("a shared segment is not sealed against resizing")]
    Unsealed,
    /// Another call to the kernel failed.
    #[error("{call} failed for a shared segment: {errno}")]
    System {
        /// The call.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl From<SegmentError> for io::Error {
    /// Keeps the sentence.
    fn from(error: SegmentError) -> Self {
        let kind = match error {
            SegmentError::NoMemory { .. } => io::ErrorKind::OutOfMemory,
            SegmentError::TooShort { .. } | SegmentError::Unsealed => io::ErrorKind::InvalidData,
            SegmentError::NoDescriptor(errno) | SegmentError::System { errno, .. } => io::Error::from(errno).kind(),
        };
        Self::new(kind, error)
    }
}

/// A new segment, in the hands of the one who makes it for two others.
#[derive(Debug)]
pub struct Segment {
    writable: OwnedFd,
    read_only: OwnedFd,
    len: usize,
}

impl Segment {
    /// Makes a segment of `len` zero bytes. `name` shows in `/proc/<pid>/maps`. Memory is taken page by page
    /// when it is touched.
    pub fn create(name: &str, len: usize) -> Result<Self, SegmentError> {
        let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let created = match rustix::fs::memfd_create(name, sealable | MemfdFlags::NOEXEC_SEAL) {
            // Kernels before 6.3 do not know the flag.
            Err(Errno::INVAL) => rustix::fs::memfd_create(name, sealable),
            result => result,
        };
        let writable = created.map_err(|errno| refusal("memfd_create", len, errno))?;
        rustix::fs::ftruncate(&writable, len as u64).map_err(|errno| refusal("ftruncate", len, errno))?;
        rustix::fs::fcntl_add_seals(&writable, SEALS).map_err(|errno| refusal("sealing", len, errno))?;
        let read_only = crate::bell::reopen(&writable, rustix::fs::OFlags::RDONLY)
            .map_err(|errno| refusal("opening read-only through /proc", len, errno))?;
        Ok(Self { writable, read_only, len })
    }

    /// The descriptor for the process that writes the segment.
    pub fn writable(&self) -> BorrowedFd<'_> {
        self.writable.as_fd()
    }

    /// The descriptor for the process that reads the segment. It cannot be mapped or written for writing.
    pub fn read_only(&self) -> BorrowedFd<'_> {
        self.read_only.as_fd()
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The segment that this process writes.
#[derive(Debug)]
pub struct OwnSegment(Mapping);

impl OwnSegment {
    /// Maps the first `len` bytes for writing. Refuses what is shorter or not sealed.
    pub fn map(fd: BorrowedFd<'_>, len: usize) -> Result<Self, SegmentError> {
        Ok(Self(Mapping::new(fd, len, ProtFlags::READ | ProtFlags::WRITE)?))
    }

    /// Makes a segment of `len` zero bytes that this process (with what it forks) alone can ever write: once it is mapped
    /// here, the file is sealed against resizing and against every further writable mapping, `write` and hole, through
    /// any descriptor. The descriptor is for the side that reads. Unlike [`Segment::create`] it needs no `/proc`.
    pub fn create(name: &std::ffi::CStr, len: usize) -> Result<(Self, OwnedFd), SegmentError> {
        let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let created = match rustix::fs::memfd_create(name, sealable | MemfdFlags::NOEXEC_SEAL) {
            // Kernels before 6.3 do not know the flag.
            Err(Errno::INVAL) => rustix::fs::memfd_create(name, sealable),
            result => result,
        };
        let fd = created.map_err(|errno| refusal("memfd_create", len, errno))?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(|errno| refusal("ftruncate", len, errno))?;
        let mapping = Mapping::unchecked(fd.as_fd(), len, ProtFlags::READ | ProtFlags::WRITE)?;
        rustix::fs::fcntl_add_seals(&fd, SEALS | SealFlags::FUTURE_WRITE)
            .map_err(|errno| refusal("sealing", len, errno))?;
        Ok((Self(mapping), fd))
    }

    /// The word at `offset` (a multiple of 8), for several processes of one side, which share the mapping by `fork`. The
    /// other side can read it and nothing else. Panics outside the segment.
    #[inline]
    pub fn word(&self, offset: usize) -> &AtomicU64 {
        self.0.word(offset)
    }

    /// Where `len` bytes at `offset` begin, for calls to the kernel that read them. Panics outside the segment.
    #[inline]
    pub fn address(&self, offset: usize, len: usize) -> *const u8 {
        self.0.span(offset, len)
    }

    /// Copies `len` bytes in from an address, which may be another process's memory.
    ///
    /// # Safety
    /// `from` is valid for `len` bytes, which do not overlap this segment. Whoever changes them meanwhile gets some mixture
    /// copied.
    #[inline]
    pub unsafe fn copy_in_from(&self, offset: usize, from: *const u8, len: usize) {
        let to = self.0.span(offset, len);
        // SAFETY: `to` is valid for `len` bytes (asserted by `span`) and writable; the rest is the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    }

    /// As `copy_in_from`, past this processor's caches, for many bytes and a reader on another processor. An ordinary store
    /// first fetches the line that the reader had; this does not, which doubles what goes through. For a reader on the same
    /// processor, and for few bytes, `copy_in_from` is faster.
    ///
    /// # Safety
    /// As for `copy_in_from`.
    pub unsafe fn copy_in_past_caches(&self, offset: usize, from: *const u8, len: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            let to = self.0.span(offset, len);
            // SAFETY: as in `copy_in_from`; the function ends with a fence, so stores that follow are seen after these.
            unsafe { stream_in(to, from, len) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: the caller's promise.
        unsafe {
            self.copy_in_from(offset, from, len);
        }
    }

    /// Gives the memory of a run of pages back to the system; they read as zeros from now on, also for the
    /// other side. `offset` and `len` are rounded inwards to whole pages.
    pub fn give_back(&self, offset: usize, len: usize) -> Result<(), SegmentError> {
        let page = page_size();
        let first = offset.next_multiple_of(page);
        let end = (offset + len) / page * page;
        if first >= end {
            return Ok(());
        }
        let start = self.0.span(first, end - first);
        // SAFETY: the pages lie in our shared, writable mapping; removing them leaves zeros, which are valid bytes
        // and valid words, and no reference to non-atomic memory exists.
        unsafe { rustix::mm::madvise(start.cast(), end - first, Advice::LinuxRemove) }
            .map_err(|errno| SegmentError::System { call: "madvise", errno })
    }

    /// `readv` from `fd` into two spans (offset, length), which may be empty.
    pub(crate) fn read_from_fd(&self, fd: BorrowedFd<'_>, spans: [(usize, usize); 2]) -> Result<usize, Errno> {
        self.0.vectored(fd, spans, libc::readv)
    }

    /// Two spans (offset, length), which may be empty, for somebody who writes them by address.
    pub(crate) fn room(&self, spans: [(usize, usize); 2]) -> Room<'_> {
        Room { parts: self.0.parts(spans), _segment: self }
    }
}

impl Writable for OwnSegment {
    #[inline]
    fn store(&self, offset: usize, value: u64, order: Ordering) {
        self.0.word(offset).store(value, order);
    }

    #[inline]
    fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let to = self.0.span(offset, bytes.len());
        // SAFETY: `to` is valid for `bytes.len()` bytes (asserted by `span`) and writable; `bytes` is private memory,
        // so they do not overlap. The other process may read meanwhile, which it knows to expect.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// The segment that the other process writes, mapped read-only.
#[derive(Debug)]
pub struct OtherSegment(Mapping);

impl OtherSegment {
    /// Maps the first `len` bytes for reading. Refuses what is shorter or not sealed.
    pub fn map(fd: BorrowedFd<'_>, len: usize) -> Result<Self, SegmentError> {
        Ok(Self(Mapping::new(fd, len, ProtFlags::READ)?))
    }

    /// `writev` of two spans (offset, length), which may be empty, to `fd`.
    pub(crate) fn write_to_fd(&self, fd: BorrowedFd<'_>, spans: [(usize, usize); 2]) -> Result<usize, Errno> {
        self.0.vectored(fd, spans, libc::writev)
    }

    /// Two spans (offset, length), which may be empty, for somebody who reads them by address.
    pub(crate) fn waiting(&self, spans: [(usize, usize); 2]) -> Waiting<'_> {
        Waiting { parts: self.0.parts(spans), _segment: self }
    }
}

/// Room in a ring of ours, for code that copies by address. Only the other process looks at it, and not before it is
/// published.
pub struct Room<'a> {
    parts: [libc::iovec; 2],
    _segment: &'a OwnSegment,
}

impl Room<'_> {
    /// One or two parts, one behind the other in the stream. They are valid for writing while this lives, and the memory is
    /// nobody's else in this process.
    pub fn parts(&self) -> &[libc::iovec] {
        filled(&self.parts)
    }
}

/// Bytes in a ring of the other process, for code that copies by address. The other process may change them at any time.
pub struct Waiting<'a> {
    parts: [libc::iovec; 2],
    _segment: &'a OtherSegment,
}

impl Waiting<'_> {
    /// One or two parts, one behind the other in the stream. They are valid for reading while this lives.
    pub fn parts(&self) -> &[libc::iovec] {
        filled(&self.parts)
    }
}

fn filled(parts: &[libc::iovec; 2]) -> &[libc::iovec] {
    if parts[1].iov_len == 0 { &parts[..1] } else { parts }
}

// SAFETY: `copy_out` writes all of `into`.
unsafe impl Readable for OtherSegment {
    #[inline]
    fn load(&self, offset: usize, order: Ordering) -> u64 {
        self.0.word(offset).load(order)
    }

    #[inline]
    fn copy_out(&self, offset: usize, into: &mut [MaybeUninit<u8>]) {
        let from = self.0.span(offset, into.len());
        // SAFETY: `from` is valid for `into.len()` bytes (asserted by `span`); `into` is private memory, so they do
        // not overlap. The other process may write meanwhile: then the copy holds arbitrary bytes.
        unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr().cast(), into.len()) };
        // What is parsed later must be the copy: without this the compiler may fetch from the source again.
        compiler_fence(Ordering::SeqCst);
    }
}

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Copies whole lines by stores that leave caches alone, and what stands before and behind them as always.
///
/// # Safety
/// `to` and `from` are valid for `len` bytes, which do not overlap.
#[cfg(target_arch = "x86_64")]
unsafe fn stream_in(to: *mut u8, from: *const u8, len: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    let head = to.align_offset(LINE_BYTES).min(len);
    let lines = (len - head) / LINE_BYTES;
    let tail_at = head + lines * LINE_BYTES;
    // SAFETY: all three parts lie within what the caller promised, one behind the other; a line's place is aligned, as the
    // head ends at one. The fence is what these stores need before anything else is published.
    unsafe {
        std::ptr::copy_nonoverlapping(from, to, head);
        for number in 0..lines {
            let at = head + number * LINE_BYTES;
            let (line, into) = (from.add(at).cast::<__m128i>(), to.add(at).cast::<__m128i>());
            let parts = [0, 1, 2, 3].map(|part| _mm_loadu_si128(line.add(part)));
            for (part, value) in parts.into_iter().enumerate() {
                _mm_stream_si128(into.add(part), value);
            }
        }
        std::ptr::copy_nonoverlapping(from.add(tail_at), to.add(tail_at), len - tail_at);
        _mm_sfence();
    }
}

#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; words are atomics, and bytes are touched only by
// raw copies whose races are those that another process could cause anyway.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: usize, access: ProtFlags) -> Result<Self, SegmentError> {
        let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| SegmentError::Unsealed)?;
        if !seals.contains(SEALS) {
            return Err(SegmentError::Unsealed);
        }
        // Memory of huge pages can be sealed too, but a hole in it may have no page left: touching it raises SIGBUS.
        let system = rustix::fs::fstatfs(fd).map_err(|errno| refusal("fstatfs", len, errno))?;
        if system.f_type != TMPFS_MAGIC {
            return Err(SegmentError::Unsealed);
        }
        let found = rustix::fs::fstat(fd).map_err(|errno| refusal("fstat", len, errno))?.st_size as u64;
        if len == 0 || found < len as u64 {
            return Err(SegmentError::TooShort { found, needed: len });
        }
        Self::unchecked(fd, len, access)
    }

    /// Maps without a look at seals and size, which the caller vouches for.
    fn unchecked(fd: BorrowedFd<'_>, len: usize, access: ProtFlags) -> Result<Self, SegmentError> {
        // SAFETY: a fresh mapping at an address that the kernel chooses touches no existing memory.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, fd, 0) }
            .map_err(|errno| refusal("mmap", len, errno))?;
        match NonNull::new(base.cast()) {
            Some(base) => Ok(Self { base, len }),
            None => Err(SegmentError::System { call: "mmap", errno: Errno::FAULT }),
        }
    }

    /// The word at `offset`. Panics outside the mapping or off alignment: offsets are ours, never the other's.
    #[inline]
    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.len && self.len - offset >= 8, "word outside the segment");
        // SAFETY: in bounds and aligned (asserted; `base` is page-aligned); the memory lives as long as `self`. All
        // accesses to shared words, in both processes, are atomic. In a read-only mapping only loads are made.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// Where `len` bytes at `offset` begin. Panics outside the mapping, as `word` does.
    #[inline]
    fn span(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset <= self.len && len <= self.len - offset, "bytes outside the segment");
        // SAFETY: in bounds (asserted).
        unsafe { self.base.as_ptr().add(offset) }
    }

    fn parts(&self, spans: [(usize, usize); 2]) -> [libc::iovec; 2] {
        spans.map(|(offset, length)| libc::iovec { iov_base: self.span(offset, length).cast(), iov_len: length })
    }

    fn vectored(
        &self,
        fd: BorrowedFd<'_>,
        spans: [(usize, usize); 2],
        call: unsafe extern "C" fn(libc::c_int, *const libc::iovec, libc::c_int) -> isize,
    ) -> Result<usize, Errno> {
        use std::os::fd::AsRawFd;
        let parts = self.parts(spans);
        let count = if spans[1].1 == 0 { 1 } else { 2 };
        loop {
            // SAFETY: `fd` is open; the first `count` parts lie in the mapping (asserted by `span`), which `readv`
            // may fill (only `OwnSegment` passes it) and `writev` may read.
            let moved = unsafe { call(fd.as_raw_fd(), parts.as_ptr(), count) };
            if let Ok(moved) = usize::try_from(moved) {
                return Ok(moved);
            }
            let errno = Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO);
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: we mapped exactly this range, and nothing borrowed from it outlives `self`. It cannot fail for a
        // range that is mapped; were it to, the range would stay mapped, which is harmless.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

fn page_size() -> usize {
    // SAFETY: asks for a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(LARGEST_PAGE_BYTES)
}

fn refusal(call: &'static str, bytes: usize, errno: Errno) -> SegmentError {
    match errno {
        Errno::NOMEM | Errno::NOSPC | Errno::FBIG | Errno::DQUOT => SegmentError::NoMemory { bytes, errno },
        Errno::MFILE | Errno::NFILE => SegmentError::NoDescriptor(errno),
        errno => SegmentError::System { call, errno },
    }
}

#[cfg(test)]
#[path = "segment/tests.rs"]
mod tests;
