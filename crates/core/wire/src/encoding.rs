//! Reading and writing of integers and byte strings, big-endian, with lengths checked before anything is taken: what the binary forms
//! of documents, of the directory and of a cluster's log are made of. What passes a link is read with [`crate::read`], whose errors name
//! the field.

use thiserror::Error;

/// Bytes that are no value of the expected kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ReadError {
    /// They end too early.
    #[error("the bytes end early")]
    Short,
    /// Something stands behind the value.
    #[error("bytes stand behind the value")]
    Long,
    /// A number that names nothing, or more of something than there may be.
    #[error("a number is out of its range")]
    Range,
}

/// Writes into a growing buffer.
pub trait WriteBytes {
    /// The bytes alone.
    fn raw(&mut self, bytes: &[u8]);

    /// One byte.
    fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    /// Two bytes.
    fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    /// Four bytes.
    fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    /// Eight bytes.
    fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    /// Sixteen bytes.
    fn u128(&mut self, value: u128) {
        self.raw(&value.to_be_bytes());
    }

    /// A number of things of which there are at most 65,535.
    fn count(&mut self, things: usize) {
        self.u16(u16::try_from(things).expect("every list that is encoded is bounded below 65,536"));
    }

    /// A length in 4 bytes, then the bytes.
    fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("every string that is encoded is bounded below 4 GiB"));
        self.raw(value);
    }
}

impl WriteBytes for Vec<u8> {
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Nothing is taken yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(ReadError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(ReadError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    pub fn u16(&mut self) -> Result<u16, ReadError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    pub fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    pub fn u64(&mut self) -> Result<u64, ReadError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Sixteen bytes.
    ///
    /// # Errors
    /// [`ReadError::Short`].
    pub fn u128(&mut self) -> Result<u128, ReadError> {
        Ok(u128::from_be_bytes(self.array()?))
    }

    /// A byte that is 0 or 1.
    ///
    /// # Errors
    /// [`ReadError::Short`], or [`ReadError::Range`] for another byte.
    pub fn flag(&mut self) -> Result<bool, ReadError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ReadError::Range),
        }
    }

    /// A number of things in 2 bytes, of which there are at most `max`.
    ///
    /// # Errors
    /// [`ReadError::Short`], or [`ReadError::Range`] for more.
    pub fn count(&mut self, max: usize) -> Result<usize, ReadError> {
        let things = usize::from(self.u16()?);
        if things > max { Err(ReadError::Range) } else { Ok(things) }
    }

    /// A length in 4 bytes, then so many bytes, at most `max`.
    ///
    /// # Errors
    /// [`ReadError::Short`], or [`ReadError::Range`] for more.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], ReadError> {
        let length = self.u32()? as usize;
        if length > max { Err(ReadError::Range) } else { self.raw(length) }
    }

    /// What is left.
    pub fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing is left.
    ///
    /// # Errors
    /// [`ReadError::Long`].
    pub fn end(self) -> Result<(), ReadError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ReadError::Long) }
    }
}
