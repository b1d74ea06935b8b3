//! Reading and writing of integers and byte strings, big-endian, with lengths checked before anything is taken.

use thiserror::Error;

/// Bytes that are no value of the expected kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum ReadBytesError {
    /// They end too early.
    #[error("the bytes end early")]
    Short,
    /// Something stands behind the value.
    #[error("bytes stand behind the value")]
    Long,
    /// A number that names nothing.
    #[error("a number that names nothing")]
    Unknown,
}

/// Writes into a growing buffer.
pub(crate) trait WriteBytes {
    fn raw(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }
    fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }
    fn u128(&mut self, value: u128) {
        self.raw(&value.to_be_bytes());
    }
    /// A length in 4 bytes, then the bytes. Everything that is written so is bounded far below 4 GiB.
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
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn raw(&mut self, length: usize) -> Result<&'a [u8], ReadBytesError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(ReadBytesError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadBytesError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(ReadBytesError::Short)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ReadBytesError> {
        Ok(self.array::<1>()?[0])
    }
    pub(crate) fn u16(&mut self) -> Result<u16, ReadBytesError> {
        Ok(u16::from_be_bytes(self.array()?))
    }
    pub(crate) fn u32(&mut self) -> Result<u32, ReadBytesError> {
        Ok(u32::from_be_bytes(self.array()?))
    }
    pub(crate) fn u64(&mut self) -> Result<u64, ReadBytesError> {
        Ok(u64::from_be_bytes(self.array()?))
    }
    pub(crate) fn u128(&mut self) -> Result<u128, ReadBytesError> {
        Ok(u128::from_be_bytes(self.array()?))
    }
    pub(crate) fn place(&mut self) -> Result<usize, ReadBytesError> {
        usize::try_from(self.u64()?).map_err(|_| ReadBytesError::Unknown)
    }
    pub(crate) fn flag(&mut self) -> Result<bool, ReadBytesError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ReadBytesError::Unknown),
        }
    }
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], ReadBytesError> {
        let length = self.u32()? as usize;
        self.raw(length)
    }

    pub(crate) fn remaining(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn end(self) -> Result<(), ReadBytesError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ReadBytesError::Long) }
    }
}
