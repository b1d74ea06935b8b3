use super::*;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cluster-log-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a free name");
        Self(path)
    }

    fn open(&self) -> Store {
        Store::open(&self.0, OWNER).expect("a folder of its own")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const OWNER: Owner = Owner { cluster: [1; 32], node: NodeId([2; 32]) };
const ONE: SegmentNumber = SegmentNumber(1);

/// Records of one length byte and as many others: what a core would decode.
fn good_length(bytes: &[u8]) -> u64 {
    let mut at = 0;
    while let Some(length) = bytes.get(at).filter(|length| **length > 0) {
        let end = at + 1 + usize::from(*length);
        if end > bytes.len() {
            break;
        }
        at = end;
    }
    at as u64
}

fn resume(store: &mut Store, number: SegmentNumber) -> Vec<u8> {
    let finish = |bytes: Vec<u8>| Ok::<_, std::convert::Infallible>((good_length(&bytes), bytes));
    let push = |bytes: &mut Vec<u8>, piece: &[u8]| bytes.extend_from_slice(piece);
    let mut bytes = store.resume(number, Vec::new(), push, finish).expect("a good segment");
    bytes.truncate(usize::try_from(store.position()).expect("a short log"));
    bytes
}

#[test]
fn what_was_synced_is_there_after_a_restart() {
    let folder = Folder::new();
    let mut store = folder.open();
    assert_eq!(store.segments().expect("a folder"), []);
    store.begin(ONE, b"state", &[1, 7]).expect("room");
    assert_eq!(store.append(&[&[2, 8, 8], &[1, 9]]).expect("room"), 2);
    store.sync().expect("a disk");
    drop(store);
    let mut store = folder.open();
    assert_eq!(store.segments().expect("a folder"), [ONE]);
    assert_eq!(store.checkpoint(ONE).expect("a checkpoint"), b"state");
    assert_eq!(resume(&mut store, ONE), [1, 7, 2, 8, 8, 1, 9]);
    assert_eq!(store.append(&[&[1, 10]]).expect("room"), 7);
    let mut reader = store.reader();
    assert_eq!(reader.read(ONE, 5, 100).expect("a segment"), [1, 9, 1, 10]);
    assert_eq!(reader.read(ONE, 99, 100).expect("a segment"), [0_u8; 0]);
    assert_eq!(reader.read_checkpoint(ONE, 2, 2).expect("a checkpoint"), b"at");
}

#[test]
fn a_torn_end_is_cut_wherever_it_is_torn() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.begin(ONE, b"", &[1, 7]).expect("room");
    store.append(&[&[3, 8, 8, 8]]).expect("room");
    drop(store);
    let path = Layout::new(&folder.0).log(ONE);
    let file = std::fs::read(&path).expect("a segment");
    let whole = &file[..6];
    assert!(whole == [1, 7, 3, 8, 8, 8] && file[6..].iter().all(|byte| *byte == 0), "zeros follow");
    for (length, zeros) in (0..=whole.len()).flat_map(|length| [(length, 0), (length, 5_000)]) {
        let torn = [&whole[..length], &vec![0; zeros]].concat();
        std::fs::write(&path, &torn).expect("a segment");
        let mut store = folder.open();
        let good = if length == whole.len() {
            length
        } else if length >= 2 {
            2
        } else {
            0
        };
        let kept = resume(&mut store, ONE);
        // Zeros are what a record of three bytes may end with.
        if zeros == 0 {
            assert_eq!(kept, whole[..good]);
        }
        assert_eq!(std::fs::metadata(&path).expect("a segment").len(), kept.len() as u64, "cut at {length}");
        store.append(&[&[1, 1]]).expect("room");
        drop(store);
        let file = std::fs::read(&path).expect("a segment");
        assert!(file.starts_with(&[kept, vec![1, 1]].concat()));
    }
}

#[test]
fn bytes_that_are_refused_stay_as_they_are() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.begin(ONE, b"", &[1, 7]).expect("room");
    let refused = store.resume(ONE, (), |(), _| {}, |()| Err::<(u64, ()), _>("damaged"));
    assert!(matches!(refused, Err(ResumeError::Refused("damaged"))), "{refused:?}");
    assert_eq!(store.reader().read(ONE, 0, 9).expect("a segment"), [1, 7]);
}

#[test]
fn another_clusters_or_nodes_log_is_refused() {
    let folder = Folder::new();
    let refused = |owner| Store::open(&folder.0, owner).err();
    drop(folder.open());
    assert!(matches!(refused(Owner { cluster: [3; 32], ..OWNER }), Some(OpenError::OtherCluster(_))));
    assert!(matches!(refused(Owner { node: NodeId([3; 32]), ..OWNER }), Some(OpenError::OtherNode(_))));
    let open = folder.open();
    assert!(matches!(refused(OWNER), Some(OpenError::Locked(_))));
    drop(open);
    std::fs::write(folder.0.join("owner"), "something else\n").expect("a file");
    assert!(matches!(refused(OWNER), Some(OpenError::NoLog(_))));
    let full = Folder::new();
    std::fs::write(full.0.join("letter.txt"), "dear").expect("a file");
    assert!(matches!(Store::open(&full.0, OWNER), Err(OpenError::NoLog(_))), "nothing foreign is taken over");
}

#[test]
fn a_segment_is_there_whole_or_not_at_all() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.begin(ONE, b"one", &[1, 1]).expect("room");
    drop(store);
    let layout = Layout::new(&folder.0);
    let two = SegmentNumber(2);
    std::fs::write(layout.unfinished(two), "half").expect("a file");
    std::fs::write(layout.log(two), [1]).expect("a file");
    let mut store = folder.open();
    assert_eq!(store.segments().expect("a folder"), [ONE]);
    assert!(!layout.log(two).exists() && !layout.unfinished(two).exists());
    store.begin(two, b"two", &[1, 2]).expect("room");
    assert_eq!(store.segments().expect("a folder"), [ONE, two]);
    let mut old = store.reader();
    assert_eq!(old.read(ONE, 0, 1).expect("a segment"), [1]);
    // The store that began the first segment was closed, as a crash would; one that goes on gives unused room back.
    store.begin(SegmentNumber(3), b"three", &[1, 3]).expect("room");
    assert_eq!(std::fs::metadata(layout.log(two)).expect("a segment").len(), 2);
    assert_eq!(store.reader().read(SegmentNumber(3), 0, 99).expect("a segment"), [1, 3], "no zeros behind the end");
    assert_eq!(store.remove_before(two).expect("a folder"), 1);
    assert_eq!(store.segments().expect("a folder"), [two, SegmentNumber(3)]);
    assert_eq!(old.read(ONE, 1, 1).expect("it is still open"), [1]);
    assert!(store.reader().read(ONE, 0, 1).is_err());
}

#[derive(Debug, Default)]
struct Faulty {
    /// Counts down; the call that finds zero fails.
    syncs: AtomicU64,
    writes: AtomicU64,
    rooms: AtomicU64,
}

impl Faulty {
    fn with(syncs: u64, writes: u64, rooms: u64) -> Arc<Self> {
        Arc::new(Self { syncs: syncs.into(), writes: writes.into(), rooms: rooms.into() })
    }

    fn next(counter: &AtomicU64, error: rustix::io::Errno) -> io::Result<()> {
        match counter.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for Faulty {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let fails = Self::next(&self.writes, rustix::io::Errno::NOSPC);
        // A full disk takes a part.
        let length = if fails.is_ok() { bytes.len() } else { bytes.len() / 2 };
        Kernel.write_at(file, &bytes[..length], at)?;
        fails
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        Self::next(&self.syncs, rustix::io::Errno::IO)?;
        Kernel.sync(file)
    }

    fn allocate(&self, file: &File, at: u64, length: u64) -> io::Result<()> {
        Self::next(&self.rooms, rustix::io::Errno::NOSPC)?;
        Kernel.allocate(file, at, length)
    }
}

#[test]
fn a_failed_sync_or_write_is_final_and_a_restart_finds_what_is_there() {
    const MANY: u64 = 1 << 40;
    // The sync that a checkpoint and a log's header take come first.
    for (faults, action, full) in
        [((2, MANY, MANY), "sync", false), ((MANY, 2, MANY), "write", true), ((MANY, MANY, 1), "take room for", true)]
    {
        let folder = Folder::new();
        let disk = Faulty::with(faults.0, faults.1, faults.2);
        let mut store = Store::open_on(&folder.0, OWNER, disk).expect("a folder of its own");
        store.begin(ONE, b"state", &[1, 7]).expect("the first ones are good");
        // More than was taken ahead, so that room is asked for again.
        let long = vec![1; usize::try_from(PREALLOCATE_BYTES).expect("a small number")];
        let records: &[&[u8]] = if action == "sync" { &[&[3, 8, 8, 8]] } else { &[&[3, 8, 8, 8], &long] };
        let error = store.append(records).and_then(|_| store.sync()).expect_err("a fault");
        assert_eq!((error.action, error.is_full()), (action, full), "{error}");
        assert!(!error.remedy().is_empty());
        for _ in 0..2 {
            assert_eq!(store.append(&[&[1, 1]]).expect_err("it is final").action, "go on with");
            assert_eq!(store.sync().expect_err("it is final").action, "go on with");
            assert_eq!(store.begin(SegmentNumber(2), b"", b"").expect_err("it is final").action, "go on with");
        }
        drop(store);
        let mut store = folder.open();
        let kept = resume(&mut store, ONE);
        assert!(kept.starts_with(&[1, 7]), "what was synced is there");
        store.append(&[&[1, 1]]).expect("room");
        store.sync().expect("a disk");
    }
}
