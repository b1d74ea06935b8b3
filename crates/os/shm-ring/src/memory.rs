//! What the algorithms need of memory. Segments implement it for real; the loom models and the tests of
//! hostile neighbours implement it over vectors.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

/// Memory that somebody else may write while we look at it.
///
/// # Safety
/// `copy_out` initialises every byte of `into`.
pub unsafe trait Readable {
    /// The 8-byte word at `offset` bytes, which is a multiple of 8.
    fn load(&self, offset: usize, order: Ordering) -> u64;
    /// Copies bytes out. What is copied while its owner writes it is arbitrary, never undefined.
    fn copy_out(&self, offset: usize, into: &mut [MaybeUninit<u8>]);
}

/// Memory that only this side writes.
pub trait Writable {
    /// Sets the 8-byte word at `offset` bytes, which is a multiple of 8.
    fn store(&self, offset: usize, value: u64, order: Ordering);
    /// Copies bytes in.
    fn copy_in(&self, offset: usize, bytes: &[u8]);
    /// A sequentially consistent fence between our stores and our loads of the other side's memory.
    fn fence(&self);
}

/// The two segments as one side sees them. Whatever this side says goes into `own`, whatever it learns
/// comes from `other`, which it can only read.
#[derive(Debug)]
pub struct View<O, T> {
    /// The segment that this side writes. It is never read back: positions have a private copy.
    pub own: O,
    /// The segment that the other side writes. Everything in it is hostile.
    pub other: T,
}
