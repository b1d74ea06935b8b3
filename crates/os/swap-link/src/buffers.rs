//! What the program passed to be filled or sent: one buffer or several.

use libc::{c_void, iovec};

/// Buffers of the calling program, which must stay valid for as long as this lives: that is what the program promises to
/// every call of this kind. A pointer that leads nowhere ends the program where the kernel would answer EFAULT.
#[derive(Clone, Copy)]
pub struct Buffers<'a> {
    parts: &'a [iovec],
}

impl<'a> Buffers<'a> {
    /// One buffer, or the parts of a vectored call.
    ///
    /// # Safety
    /// Each part is valid for what the call does with it, and for as long as this lives.
    pub unsafe fn new(parts: &'a [iovec]) -> Self {
        Self { parts }
    }

    /// The parts of a vectored call, as the program passed them; `None` where the kernel would refuse.
    ///
    /// # Safety
    /// `parts` points to `count` valid parts, or `count` is 0.
    pub unsafe fn from_raw(parts: *const iovec, count: usize) -> Option<Self> {
        if count == 0 {
            return Some(Self { parts: &[] });
        }
        if parts.is_null() || count > libc::UIO_MAXIOV as usize {
            return None;
        }
        // SAFETY: the caller's promise.
        Some(Self { parts: unsafe { std::slice::from_raw_parts(parts, count) } })
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.parts.iter().fold(0, |sum: usize, part| sum.saturating_add(part.iov_len))
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces behind the first `skip` bytes, none of them empty, of at most `max` bytes in all.
    pub fn pieces(&self, skip: usize, max: usize) -> impl Iterator<Item = (*mut u8, usize)> {
        let (mut skip, mut left) = (skip, max);
        self.parts.iter().filter_map(move |part| {
            let skipped = skip.min(part.iov_len);
            skip -= skipped;
            let length = (part.iov_len - skipped).min(left);
            left -= length;
            // SAFETY: `skipped` is at most the part's length.
            (length > 0).then(|| (unsafe { part.iov_base.cast::<u8>().add(skipped) }, length))
        })
    }
}

/// A part of a vectored call.
pub fn part(at: *const c_void, length: usize) -> iovec {
    iovec { iov_base: at.cast_mut(), iov_len: length }
}
