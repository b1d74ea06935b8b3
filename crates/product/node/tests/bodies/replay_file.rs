//! Any bytes as the replay file that an earlier run left behind. The first two bytes say which day is today.

use node::replay_file::{self, RECORD_LEN, RECORDS_MAX};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Some((today, bytes)) = data.split_first_chunk::<2>() else { return };
    let today = u64::from(u16::from_be_bytes(*today));
    let place = Place::new();
    let path = place.0.join("replay");
    fs::write(&path, bytes).expect("room for a small file");
    let kept = read(&path, today);
    assert_eq!(kept.len() % RECORD_LEN, 0, "torn records are gone");
    assert!(kept.len() <= bytes.len() && kept.len() <= RECORDS_MAX * RECORD_LEN);
    let expected: Vec<u8> = bytes
        .chunks_exact(RECORD_LEN)
        .filter(|record| {
            let day = record.first_chunk().map_or(0, |day| u64::from_be_bytes(*day));
            day >= today || day + 1 == today
        })
        .flatten()
        .copied()
        .collect();
    assert_eq!(kept, expected, "what still opens doors is remembered, in its order");
    assert_eq!(read(&path, today), kept, "a second start changes nothing");
    let entries = fs::read_dir(&place.0).expect("a readable folder").count();
    assert_eq!(entries, 1, "nothing is left beside the file");
}

fn read(path: &Path, today: u64) -> Vec<u8> {
    let mut file = File::from(replay_file::open(path, today).expect("a private file in an own folder"));
    let mut bytes = Vec::new();
    // The reader does the same: where an opened file stands is not promised.
    file.seek(SeekFrom::Start(0)).expect("a regular file");
    file.read_to_end(&mut bytes).expect("a readable file");
    bytes
}

/// A folder of this process's own, in memory where the system has such a place; it goes with the value.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = base.join(format!("hushwire-replay-body-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        Self(folder)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is found by the next count of the folder's entries.
        let _ = fs::remove_dir_all(&self.0);
    }
}
