//! A node's folder: for every term that is kept the checkpoint that it began with, and its log.
//!
//! `term-N.checkpoint` and `term-N.log` with N in 20 digits, and `lock`. The newest term that has a checkpoint is the present
//! one; a file that ends in `.new` is what a crash left of a term that had not begun. docs/spec/cluster-log.md has the bytes.

use identity::NodeId;
use replicated_log::record::{DecodeError, Header, LogDecoder, PlaceError, Places, Recovered};
use replicated_log::{ClusterId, Entry, LogIndex, LogReader, ReadError, Term, Write};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// How much of a log is read at once when a node starts.
const PIECE_BYTES: usize = 1 << 20;

/// What is wrong with a node's folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A call of the system failed.
    #[error("{what} {}: {error}", path.display())]
    System {
        /// Which.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// How.
        #[source]
        error: io::Error,
    },
    /// Another process has it.
    #[error("{} is used by another process: one node has one folder", .0.display())]
    Locked(PathBuf),
    /// It holds no node.
    #[error("{} holds no node of a cluster", .0.display())]
    Empty(PathBuf),
    /// It holds one already.
    #[error("{} holds a node already", .0.display())]
    Used(PathBuf),
    /// A log cannot be used.
    #[error("{}: {error}", path.display())]
    Log {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: DecodeError,
    },
    /// The log of the present term is gone.
    #[error("{} is missing: take this node out and add it anew", .0.display())]
    NoLog(PathBuf),
    /// What was written is not there any more.
    #[error("{} has not the entries that were written to it: take this node out and add it anew", .0.display())]
    Missing(PathBuf),
}

fn system<T>(what: &'static str, path: &Path, result: io::Result<T>) -> Result<T, FolderError> {
    result.map_err(|error| FolderError::System { what, path: path.to_owned(), error })
}

/// The log of one term, for whoever reads it.
#[derive(Debug, Clone)]
pub struct TermLog {
    path: Arc<Path>,
    file: Arc<File>,
    places: Arc<Mutex<Places>>,
}

impl TermLog {
    /// The entries `from..to`, which were written.
    pub fn read(&self, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, FolderError> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.read(from, to, |position, buffer| self.file.read_at(buffer, position)).map_err(|error| match error {
            PlaceError::File(error) => FolderError::System { what: "reading", path: self.path.to_path_buf(), error },
            PlaceError::Missing => FolderError::Missing(self.path.to_path_buf()),
        })
    }

    /// How many entries there are.
    pub fn end(&self) -> LogIndex {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).end()
    }

    /// Reads all of a file, so that its entries can be found.
    fn scan(path: &Path, file: File, header: Header) -> Result<(Self, Recovered), FolderError> {
        let (mut decoder, mut places, mut recovered) =
            (LogDecoder::new(header), Places::default(), Recovered::default());
        let refused = |error| FolderError::Log { path: path.to_owned(), error };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let count = system("reading", path, (&file).read(&mut piece))?;
            decoder.push(&piece[..count]);
            while let Some((position, records)) = decoder.poll_batch().map_err(refused)? {
                places.handle_batch(position, &records);
                records.iter().for_each(|record| recovered.handle_record(record));
            }
            if count == 0 {
                break;
            }
        }
        recovered.file_length = decoder.finish().map_err(refused)?.length;
        let log = Self { path: path.into(), file: Arc::new(file), places: Arc::new(Mutex::new(places)) };
        Ok((log, recovered))
    }
}

/// The folder of one node, locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    header: Header,
    present: TermLog,
    length: u64,
    present_for_readers: Arc<Mutex<(Term, TermLog)>>,
    _lock: File,
}

/// What a folder had when it was opened.
pub struct Opened {
    /// The checkpoint of the present term.
    pub checkpoint: Vec<u8>,
    /// What its log amounts to.
    pub recovered: Recovered,
    /// Reads it back.
    pub reader: Box<dyn LogReader>,
}

impl Folder {
    /// Makes a node's first files: a checkpoint, of a new cluster or of a newcomer, and an empty log of its term.
    ///
    /// # Errors
    /// When the folder has a node already, or the system refuses.
    pub fn create(
        path: &Path,
        (cluster, node): (ClusterId, NodeId),
        term: Term,
        checkpoint: &[u8],
    ) -> Result<(), FolderError> {
        system("making", path, fs::create_dir_all(path))?;
        let _lock = lock(path)?;
        if newest_term(path)?.is_some() {
            return Err(FolderError::Used(path.to_owned()));
        }
        begin_term(path, Header { cluster, node, term }, checkpoint)
    }

    /// Opens a node's folder, cuts what a crash left half written, and syncs what was read.
    ///
    /// # Errors
    /// When it is in use, empty, damaged or another node's, or the system refuses.
    pub fn open(path: &Path, (cluster, node): (ClusterId, NodeId)) -> Result<(Self, Opened), FolderError> {
        let lock = lock(path)?;
        let term = newest_term(path)?.ok_or_else(|| FolderError::Empty(path.to_owned()))?;
        let checkpoint_path = checkpoint_path(path, term);
        let checkpoint = system("reading", &checkpoint_path, fs::read(&checkpoint_path))?;
        let header = Header { cluster, node, term };
        let log_path = log_path(path, term);
        let file = match OpenOptions::new().read(true).write(true).open(&log_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FolderError::NoLog(log_path)),
            opened => system("opening", &log_path, opened)?,
        };
        let (present, mut recovered) = TermLog::scan(&log_path, file, header)?;
        if recovered.file_length == 0 {
            system("writing", &log_path, present.file.write_all_at(&header.encode(), 0))?;
            recovered.file_length = header.encode().len() as u64;
        }
        system("cutting", &log_path, present.file.set_len(recovered.file_length))?;
        system("syncing", &log_path, present.file.sync_all())?;
        let present_for_readers = Arc::new(Mutex::new((term, present.clone())));
        let reader = Box::new(Reader { path: path.to_owned(), present: present_for_readers.clone() });
        let length = recovered.file_length;
        let folder = Self { path: path.to_owned(), header, present, length, present_for_readers, _lock: lock };
        Ok((folder, Opened { checkpoint, recovered, reader }))
    }

    /// Carries out one write of a turn. After an error the process must end: what is on the disk is unknown.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&mut self, write: Write) -> Result<(), FolderError> {
        match write {
            Write::Append { position, bytes, runs, .. } => {
                debug_assert_eq!(position, self.length, "a log is written at its end");
                system("writing", &self.present.path, self.present.file.write_all_at(&bytes, position))?;
                self.length = position + bytes.len() as u64;
                let mut places = self.present.places.lock().unwrap_or_else(PoisonError::into_inner);
                runs.into_iter().for_each(|(from, count)| places.handle_run(position, from, count));
            }
            Write::BeginTerm { term, checkpoint, log_header } => {
                self.header.term = term;
                debug_assert_eq!(log_header, self.header.encode());
                begin_term(&self.path, self.header, &checkpoint)?;
                let path = log_path(&self.path, term);
                let file = system("opening", &path, OpenOptions::new().read(true).write(true).open(&path))?;
                let (present, recovered) = TermLog::scan(&path, file, self.header)?;
                self.length = recovered.file_length;
                *self.present_for_readers.lock().unwrap_or_else(PoisonError::into_inner) = (term, present.clone());
                self.present = present;
            }
        }
        Ok(())
    }

    /// Makes what was written last. After an error the process must end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync(&self) -> Result<(), FolderError> {
        system("syncing", &self.present.path, self.present.file.sync_data())
    }

    /// For readers of old entries, who outlive no node.
    pub fn archive(&self) -> Archive {
        Archive { path: self.path.clone(), header: self.header, present: self.present_for_readers.clone() }
    }

    /// Takes away all but the newest `keep` terms before the present one. A subscriber that reads one of them meanwhile
    /// keeps it until it is done.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn prune(&self, keep: usize) -> Result<(), FolderError> {
        let old = terms(&self.path)?.into_iter().rev().filter(|term| *term < self.header.term).skip(keep);
        for term in old {
            // The checkpoint first: a log without one means nothing to anybody.
            for path in [checkpoint_path(&self.path, term), log_path(&self.path, term)] {
                system("removing", &path, fs::remove_file(&path))?;
            }
        }
        Ok(())
    }
}

/// The kept terms of a node, for reading.
#[derive(Debug, Clone)]
pub struct Archive {
    path: PathBuf,
    header: Header,
    present: Arc<Mutex<(Term, TermLog)>>,
}

impl Archive {
    /// The kept terms, oldest first.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terms(&self) -> Result<Vec<Term>, FolderError> {
        terms(&self.path)
    }

    /// Which cluster this is.
    pub fn cluster(&self) -> ClusterId {
        self.header.cluster
    }

    /// The checkpoint that a term began with.
    ///
    /// # Errors
    /// When it is not kept, or the system refuses.
    pub fn checkpoint(&self, term: Term) -> Result<Vec<u8>, FolderError> {
        let path = checkpoint_path(&self.path, term);
        system("reading", &path, fs::read(&path))
    }

    /// The log of a term.
    ///
    /// # Errors
    /// When it is not kept or damaged, or the system refuses.
    pub fn log(&self, term: Term) -> Result<TermLog, FolderError> {
        let (present_term, present) = self.present.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if term == present_term {
            return Ok(present);
        }
        let path = log_path(&self.path, term);
        let file = system("opening", &path, File::open(&path))?;
        TermLog::scan(&path, file, Header { term, ..self.header }).map(|(log, _)| log)
    }
}

struct Reader {
    path: PathBuf,
    present: Arc<Mutex<(Term, TermLog)>>,
}

impl LogReader for Reader {
    fn read_entries(&mut self, term: Term, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, ReadError> {
        let (present_term, log) = self.present.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = if present_term == term {
            log.read(from, to).map_err(|error| error.to_string())
        } else {
            Err("another term".to_owned())
        };
        found.map_err(|error| {
            tracing::error!(%error, term = term.0, "the log cannot be read back");
            ReadError
        })
    }

    fn read_checkpoint(&mut self, term: Term, at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let path = checkpoint_path(&self.path, term);
        let read = || {
            let file = File::open(&path)?;
            let mut piece = vec![0; length];
            let count = file.read_at(&mut piece, at)?;
            piece.truncate(count);
            Ok::<_, io::Error>(piece)
        };
        read().map_err(|error| {
            tracing::error!(%error, path = %path.display(), "the checkpoint cannot be read back");
            ReadError
        })
    }
}

fn checkpoint_path(folder: &Path, term: Term) -> PathBuf {
    folder.join(format!("term-{:020}.checkpoint", term.0))
}

fn log_path(folder: &Path, term: Term) -> PathBuf {
    folder.join(format!("term-{:020}.log", term.0))
}

fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = system("opening", &path, file)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::Locked(folder.to_owned())),
        Err(error) => system("locking", &path, Err(error.into())),
    }
}

fn terms(folder: &Path) -> Result<Vec<Term>, FolderError> {
    let mut found = Vec::new();
    for entry in system("reading", folder, fs::read_dir(folder))? {
        let name = system("reading", folder, entry)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("term-")?.strip_suffix(".checkpoint"));
        found.extend(number.and_then(|number| number.parse().ok()).map(Term));
    }
    found.sort_unstable();
    Ok(found)
}

fn newest_term(folder: &Path) -> Result<Option<Term>, FolderError> {
    Ok(terms(folder)?.pop())
}

/// The order makes a crash harmless: the term has begun when its checkpoint has its name, and then its log is there.
fn begin_term(folder: &Path, header: Header, checkpoint: &[u8]) -> Result<(), FolderError> {
    let (final_path, log) = (checkpoint_path(folder, header.term), log_path(folder, header.term));
    let new = final_path.with_extension("checkpoint.new");
    for (path, bytes) in [(&new, checkpoint), (&log, header.encode().as_slice())] {
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
        let file = system("opening", path, file)?;
        system("writing", path, file.write_all_at(bytes, 0))?;
        system("syncing", path, file.sync_all())?;
    }
    system("renaming", &new, fs::rename(&new, &final_path))?;
    system("syncing", folder, File::open(folder).and_then(|folder| folder.sync_all()))
}
