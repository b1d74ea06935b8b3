//! The folder: names, lock, owner, and what is left half made.

use super::error::{DiskError, OpenError};
use super::{Owner, SegmentNumber};
use rustix::fs::{FallocateFlags, FlockOperation};
use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOCK: &str = "lock";
/// How long a lock that somebody has is tried for. A child that this process is just making has every descriptor until its program begins,
/// also that of a folder which was closed meanwhile; a node that ends may have it a little longer than it answers.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_EVERY: Duration = Duration::from_millis(10);
const OWNER: &str = "owner";
const LOG: &str = "log";
const CHECKPOINT: &str = "checkpoint";
const UNFINISHED: &str = "unfinished";
const HEADER: &str = "hushwire cluster log 1";

/// What can fail under a log, so that tests can let it.
pub(super) trait Disk: Debug + Send + Sync {
    /// Writes all of it there.
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()>;
    /// What was written, and the file's length, are on disk.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Takes room for bytes that will be written. The file is as long from then on, with zeros.
    fn allocate(&self, file: &File, at: u64, length: u64) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct Kernel;

impl Disk for Kernel {
    fn write_at(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn allocate(&self, file: &File, at: u64, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), at, length) {
            // Some file systems cannot; then room is taken as it is written.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            other => other.map_err(io::Error::from),
        }
    }
}

/// Names in a folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    folder: PathBuf,
}

impl Layout {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(super) fn log(&self, number: SegmentNumber) -> PathBuf {
        self.path(number, LOG)
    }

    pub(super) fn checkpoint(&self, number: SegmentNumber) -> PathBuf {
        self.path(number, CHECKPOINT)
    }

    /// A checkpoint whose segment is not whole yet.
    pub(super) fn unfinished(&self, number: SegmentNumber) -> PathBuf {
        self.path(number, UNFINISHED)
    }

    /// Twenty digits, so that names sort as numbers do.
    fn path(&self, number: SegmentNumber, kind: &str) -> PathBuf {
        self.folder.join(format!("{:020}.{kind}", number.0))
    }

    pub(super) fn failed_before(&self) -> DiskError {
        let source = io::Error::other("an earlier write or sync failed, so what is on the disk is unknown");
        DiskError { action: "go on with", path: self.folder.clone(), source }
    }

    pub(super) fn make_folder(&self) -> Result<(), DiskError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        DirBuilder::new().mode(0o700).recursive(true).create(&self.folder).map_err(on("make", &self.folder))
    }

    pub(super) fn lock(&self) -> Result<File, OpenError> {
        let path = self.folder.join(LOCK);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(on("open", &path))?;
        let until = Instant::now() + LOCK_WITHIN;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOCK_EVERY),
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(OpenError::Locked(self.folder.clone())),
                Err(error) => return Err(on("lock", &path)(error.into()).into()),
            }
        }
    }

    /// Reads whose folder it is, or writes it into one that holds nothing yet.
    pub(super) fn check_owner(&self, owner: Owner) -> Result<(), OpenError> {
        let path = self.folder.join(OWNER);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.names()?.iter().any(|name| name != LOCK && !name.ends_with(UNFINISHED)) {
                    return Err(OpenError::NoLog(self.folder.clone()));
                }
                let unfinished = self.folder.join(format!("{OWNER}.{UNFINISHED}"));
                self.write_whole(&unfinished, owner_text(owner).as_bytes(), &Kernel)?;
                self.publish(&unfinished, &path)?;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(OpenError::NoLog(self.folder.clone()));
            }
            Err(error) => return Err(on("read", &path)(error).into()),
        };
        let (found, wanted) = (text, owner_text(owner));
        let (mut found, mut wanted) = (found.lines(), wanted.lines());
        if found.next() != wanted.next() {
            return Err(OpenError::NoLog(self.folder.clone()));
        }
        if found.next() != wanted.next() {
            return Err(OpenError::OtherCluster(self.folder.clone()));
        }
        if found.next() != wanted.next() { Err(OpenError::OtherNode(self.folder.clone())) } else { Ok(()) }
    }

    /// Removes segments that never became whole.
    pub(super) fn remove_unfinished(&self) -> Result<(), DiskError> {
        let names = self.names()?;
        for name in &names {
            let lacks_checkpoint =
                name.strip_suffix(LOG).is_some_and(|number| !names.contains(&format!("{number}{CHECKPOINT}")));
            if name.ends_with(UNFINISHED) || lacks_checkpoint {
                let path = self.folder.join(name);
                std::fs::remove_file(&path).map_err(on("remove", &path))?;
            }
        }
        Ok(())
    }

    pub(super) fn segments(&self) -> Result<Vec<SegmentNumber>, DiskError> {
        let number = |name: String| name.strip_suffix(CHECKPOINT)?.strip_suffix('.')?.parse().ok().map(SegmentNumber);
        let mut found: Vec<SegmentNumber> = self.names()?.into_iter().filter_map(number).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The checkpoint goes first: a log without one is removed at the next start.
    pub(super) fn remove(&self, number: SegmentNumber) -> Result<(), DiskError> {
        for path in [self.checkpoint(number), self.log(number)] {
            std::fs::remove_file(&path).map_err(on("remove", &path))?;
        }
        Ok(())
    }

    pub(super) fn write_whole(&self, path: &Path, bytes: &[u8], disk: &dyn Disk) -> Result<(), DiskError> {
        let file = create(path)?;
        disk.write_at(&file, bytes, 0).map_err(on("write", path))?;
        disk.sync(&file).map_err(on("sync", path))
    }

    pub(super) fn read_whole(&self, path: &Path) -> Result<Vec<u8>, DiskError> {
        std::fs::read(path).map_err(on("read", path))
    }

    /// Gives a file its name, for good.
    pub(super) fn publish(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        std::fs::rename(from, to).map_err(on("name", to))?;
        self.sync_folder()
    }

    pub(super) fn sync_folder(&self) -> Result<(), DiskError> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(on("sync", &self.folder))
    }

    fn names(&self) -> Result<Vec<String>, DiskError> {
        let failed = on("list", &self.folder);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(&failed)? {
            names.push(entry.map_err(&failed)?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }
}

/// Makes a file that only its owner may use, or empties one that a crash left.
pub(super) fn create(path: &Path) -> Result<File, DiskError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(on("make", path))
}

/// What a refusal of the system becomes.
pub(super) fn on(action: &'static str, path: &Path) -> impl Fn(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError { action, path: path.clone(), source }
}

fn owner_text(owner: Owner) -> String {
    let cluster = data_encoding::HEXLOWER.encode(&owner.cluster);
    format!("{HEADER}\ncluster {cluster}\nnode {}\n", owner.node)
}
