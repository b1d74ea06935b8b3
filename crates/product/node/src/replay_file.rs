//! The file in which a node remembers handshakes over restarts (docs/spec/link.md, "Replay").
//!
//! A record has [`RECORD_LEN`] bytes: the UTC day for which the ephemeral key was accepted (8, big-endian) and the key
//! (32). The supervisor drops what is over and hands the file over open for reading and appending; the shaped process
//! appends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Bytes of a record.
pub const RECORD_LEN: usize = 40;

/// Most records that are kept. When there are more, the oldest go; the shaped process asks for cookies long before.
pub const RECORDS_MAX: usize = 65_536;

/// Most bytes that are read of a file. What a running process may have appended beyond is dropped.
const READ_BYTES_MAX: u64 = 16 * (RECORDS_MAX * RECORD_LEN) as u64;

/// Bytes behind the records that are reserved on the disk, so that a full one is found at the start of a node and not
/// at a handshake: 1,024 records.
const RESERVED_BYTES: u64 = 1024 * RECORD_LEN as u64;

/// Opens the file, made if need be with mode 0600, without the records of days that are over on `today` (days since
/// 1970), without torn ones and without those above the bound. Only while no process has it open.
pub fn open(path: &Path, today: u64) -> io::Result<OwnedFd> {
    let file = appending(path)?;
    let mut bytes = Vec::new();
    (&file).take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
    let kept = keep(&bytes, today);
    if kept.len() == bytes.len() && file.metadata()?.len() == bytes.len() as u64 {
        return reserve(file);
    }
    replace(path, &kept)?;
    reserve(appending(path)?)
}

/// Only a regular file: a pipe would hold the node up, and a device would be replaced by a file.
fn appending(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

fn reserve(file: File) -> io::Result<OwnedFd> {
    let end = file.metadata()?.len();
    match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, end, RESERVED_BYTES) {
        // Where room cannot be reserved, a full disk is found out later, and said then.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(file.into()),
        Err(error) => Err(error.into()),
    }
}

/// The records that still matter. A key for a day opens doors until the end of the day after it.
fn keep(bytes: &[u8], today: u64) -> Vec<u8> {
    let day_of = |record: &[u8]| record.first_chunk::<8>().map_or(0, |day| u64::from_be_bytes(*day));
    let valid: Vec<&[u8]> =
        bytes.chunks_exact(RECORD_LEN).filter(|record| day_of(record).saturating_add(1) >= today).collect();
    valid[valid.len().saturating_sub(RECORDS_MAX)..].concat()
}

/// Puts a new file in place of the old one: after a crash there is one or the other.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = Path::new(&name);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(fresh)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(fresh, path));
    if written.is_err() {
        // The old file is still there; what is left of the new one only takes room.
        let _ = std::fs::remove_file(fresh);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    /// A path in a directory of its own, which goes with the value.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> io::Result<Self> {
            let directory = std::env::temp_dir().join(format!("hushwire-replay-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&directory)?;
            Ok(Self(directory.join("replay")))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            if let Some(directory) = self.0.parent() {
                let _ = std::fs::remove_dir_all(directory);
            }
        }
    }

    fn record(day: u64, mark: u8) -> Vec<u8> {
        [&day.to_be_bytes()[..], &[mark; 32]].concat()
    }

    #[test]
    fn a_new_file_is_private_and_appended_to() -> io::Result<()> {
        let place = Place::new("new")?;
        let mut file = File::from(open(&place.0, 20_000)?);
        assert_eq!(file.metadata()?.permissions().mode() & 0o777, 0o600);
        file.write_all(&record(20_000, 1))?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&record(20_000, 2))?;
        assert_eq!(std::fs::read(&place.0)?, [record(20_000, 1), record(20_000, 2)].concat());
        Ok(())
    }

    #[test]
    fn days_that_are_over_and_torn_records_are_dropped() -> io::Result<()> {
        let place = Place::new("over")?;
        let days = [record(19_998, 1), record(19_999, 2), record(20_000, 3), record(20_001, 4), vec![9; 39]];
        std::fs::write(&place.0, days.concat())?;
        let mut left = Vec::new();
        File::from(open(&place.0, 20_000)?).read_to_end(&mut left)?;
        assert_eq!(left, [record(19_999, 2), record(20_000, 3), record(20_001, 4)].concat());
        assert_eq!(std::fs::read_dir(place.0.parent().ok_or(io::ErrorKind::NotFound)?)?.count(), 1);
        Ok(())
    }

    #[test]
    fn the_newest_are_kept_when_there_are_too_many() -> io::Result<()> {
        let place = Place::new("many")?;
        let many: Vec<u8> = (0..RECORDS_MAX + 3).flat_map(|number| record(20_000 + number as u64, 1)).collect();
        std::fs::write(&place.0, &many)?;
        let mut left = Vec::new();
        File::from(open(&place.0, 20_000)?).read_to_end(&mut left)?;
        assert_eq!(left, many[3 * RECORD_LEN..]);
        Ok(())
    }

    #[test]
    fn only_a_regular_file_is_used() -> io::Result<()> {
        let place = Place::new("pipe")?;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &place.0, rustix::fs::FileType::Fifo, mode, 0)?;
        let refused = open(&place.0, 20_000).map_err(|error| error.to_string());
        assert_eq!(refused.err().as_deref(), Some("it is not a regular file"));
        Ok(())
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_and_a_clock_set_back_forgets_nothing() -> io::Result<()> {
        assert!(open(Path::new("/proc/nothing/replay"), 20_000).is_err());
        assert_eq!(keep(&record(30_000, 1), 20_000), record(30_000, 1));
        assert_eq!(keep(&record(u64::MAX, 1), 20_000), record(u64::MAX, 1));
        Ok(())
    }
}
