//! The replay file: ephemeral keys of accepted handshakes, so that a restart does not forget them
//! (docs/spec/link.md, "Replay"). A record is the UTC day for which the key was accepted (8, big-endian) and the key (32).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

/// Bytes of a record.
const RECORD_LEN: usize = 40;
/// Most records that are read: what two days of handshakes leave at the endpoint's own bound.
const RECORDS_MAX: u64 = 65_536;

/// The open file, for reading and appending.
#[derive(Debug)]
pub(crate) struct ReplayFile(File);

impl ReplayFile {
    pub(crate) fn new(descriptor: OwnedFd) -> Self {
        Self(File::from(descriptor))
    }

    /// What is remembered. A torn last record is ignored.
    pub(crate) fn read(&mut self) -> io::Result<Vec<([u8; 32], u32)>> {
        self.0.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::new();
        (&self.0).take(RECORDS_MAX * RECORD_LEN as u64).read_to_end(&mut bytes)?;
        let records = bytes.chunks_exact(RECORD_LEN).filter_map(|record| {
            let (day, ephemeral) = record.split_first_chunk::<8>()?;
            Some((<[u8; 32]>::try_from(ephemeral).ok()?, u32::try_from(u64::from_be_bytes(*day)).ok()?))
        });
        Ok(records.collect())
    }

    /// Appends one record in one write.
    pub(crate) fn append(&mut self, ephemeral: &[u8; 32], day: u32) -> io::Result<()> {
        let mut record = [0; RECORD_LEN];
        record[..8].copy_from_slice(&u64::from(day).to_be_bytes());
        record[8..].copy_from_slice(ephemeral);
        self.0.write_all(&record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_is_remembered_and_a_torn_record_is_not() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("hushwire-relay-replay-{}", std::process::id()));
        let open = || File::options().read(true).append(true).create(true).open(&path).map(OwnedFd::from);
        let mut file = ReplayFile::new(open()?);
        assert!(file.read()?.is_empty());
        file.append(&[7; 32], 20_000)?;
        file.append(&[8; 32], 20_001)?;
        file.0.write_all(&[1; 39])?;
        let after = ReplayFile::new(open()?).read()?;
        std::fs::remove_file(&path)?;
        assert_eq!(after, [([7; 32], 20_000), ([8; 32], 20_001)]);
        Ok(())
    }
}
