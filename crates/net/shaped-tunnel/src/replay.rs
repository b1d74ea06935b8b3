//! The replay file: ephemeral keys of accepted handshakes, so that a restart does not forget them
//! (docs/spec/link.md, "Replay").
//!
//! A record is 40 bytes: the UTC day for which the key was accepted (8, big-endian) and the key (32). The
//! supervisor opens the file for reading and appending and drops days that are over; this process only reads
//! it once and appends.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

/// Bytes of a record.
const RECORD_LEN: usize = 40;
/// Most records that are read: what two days of handshakes at the endpoint's own bound leave.
const RECORDS_MAX: u64 = 65_536;

/// The open file.
#[derive(Debug)]
pub(crate) struct ReplayFile {
    file: File,
}

impl ReplayFile {
    /// Takes the descriptor over.
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self { file: File::from(descriptor) }
    }

    /// Reads what is remembered: ephemeral keys and their days. A torn last record is ignored.
    pub(crate) fn read(&mut self) -> std::io::Result<Vec<([u8; 32], u32)>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        (&self.file).take(RECORDS_MAX * RECORD_LEN as u64).read_to_end(&mut bytes)?;
        let records = bytes.chunks_exact(RECORD_LEN).filter_map(|record| {
            let (day, ephemeral) = record.split_first_chunk::<8>()?;
            let day = u32::try_from(u64::from_be_bytes(*day)).ok()?;
            Some((<[u8; 32]>::try_from(ephemeral).ok()?, day))
        });
        Ok(records.collect())
    }

    /// Appends one record in one write.
    pub(crate) fn append(&mut self, ephemeral: &[u8; 32], day: u32) -> std::io::Result<()> {
        let mut record = [0; RECORD_LEN];
        record[..8].copy_from_slice(&u64::from(day).to_be_bytes());
        record[8..].copy_from_slice(ephemeral);
        self.file.write_all(&record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_remembered_and_a_torn_record_is_not() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("hushwire-replay-{}", std::process::id()));
        let open = || File::options().read(true).append(true).create(true).open(&path).map(OwnedFd::from);
        let mut file = ReplayFile::new(open()?);
        assert!(file.read()?.is_empty());
        file.append(&[7; 32], 20_000)?;
        file.append(&[8; 32], 20_001)?;
        file.file.write_all(&[1; 39])?;
        let after = ReplayFile::new(open()?).read()?;
        std::fs::remove_file(&path)?;
        assert_eq!(after, [([7; 32], 20_000), ([8; 32], 20_001)]);
        Ok(())
    }
}
