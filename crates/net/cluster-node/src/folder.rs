//! A node's log on the disk: what the core writes, put into a [`Store`], where every kept term has a segment.
//!
//! The newest term whose checkpoint is there is the present one. docs/spec/cluster-log.md has the bytes.

use crate::disk::{DiskError, OpenError, Owner, Reader, ResumeError, SegmentNumber, Store};
use identity::NodeId;
use replicated_log::record::{DecodeError, Header, LogDecoder, PlaceError, Places, Recovered};
use replicated_log::{ClusterId, Entry, LogIndex, LogReader, ReadError, Term, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// How much of a log is read at once when all of it is.
const PIECE_BYTES: usize = 1 << 20;

/// What is wrong with a node's folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system refuses something.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It holds no node.
    #[error("{} holds no node of a cluster", .0.display())]
    Empty(PathBuf),
    /// It holds one already.
    #[error("{} holds a node already", .0.display())]
    Used(PathBuf),
    /// A log cannot be used.
    #[error("the log of term {term} in {}: {error}", folder.display())]
    Log {
        /// Where.
        folder: PathBuf,
        /// Which.
        term: Term,
        /// Why.
        #[source]
        error: DecodeError,
    },
    /// What was written is not there any more.
    #[error("the log of term {term} has not the entries that were written to it: take this node out and add it anew")]
    Missing {
        /// Which.
        term: Term,
    },
}

fn segment(term: Term) -> SegmentNumber {
    SegmentNumber(term.0)
}

fn term(segment: SegmentNumber) -> Term {
    Term(segment.0)
}

/// The log of one term, for whoever reads it.
#[derive(Debug, Clone)]
pub struct TermLog {
    term: Term,
    reader: Reader,
    places: Arc<Mutex<Places>>,
}

impl TermLog {
    fn new(term: Term, reader: Reader, places: Places) -> Self {
        Self { term, reader, places: Arc::new(Mutex::new(places)) }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries `from..to`, which were written.
    ///
    /// # Errors
    /// When they are not there, or the system refuses.
    pub fn read(&mut self, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, FolderError> {
        let Self { term, reader, places } = self;
        let places = places.lock().unwrap_or_else(PoisonError::into_inner);
        let found = places.read(from, to, |position, buffer| reader.read_into(segment(*term), position, buffer));
        found.map_err(|error| match error {
            PlaceError::File(error) => error.into(),
            PlaceError::Missing => FolderError::Missing { term: *term },
        })
    }

    /// How many entries there are.
    pub fn end(&self) -> LogIndex {
        self.places().end()
    }
}

/// Going through all bytes of a log, so that its entries can be found.
struct Scan {
    decoder: LogDecoder,
    places: Places,
    recovered: Recovered,
    refused: Option<DecodeError>,
}

impl Scan {
    fn new(header: Header) -> Self {
        let (places, recovered) = (Places::default(), Recovered::default());
        Self { decoder: LogDecoder::new(header), places, recovered, refused: None }
    }

    fn push(&mut self, piece: &[u8]) {
        self.decoder.push(piece);
        while self.refused.is_none() {
            match self.decoder.poll_batch() {
                Ok(None) => break,
                Ok(Some((position, records))) => {
                    self.places.handle_batch(position, &records);
                    records.iter().for_each(|record| self.recovered.handle_record(record));
                }
                Err(error) => self.refused = Some(error),
            }
        }
    }

    /// What the log amounts to, and where its entries are.
    fn finish(self) -> Result<(Recovered, Places), DecodeError> {
        let Self { decoder, places, mut recovered, refused } = self;
        if let Some(error) = refused {
            return Err(error);
        }
        recovered.file_length = decoder.finish()?.length;
        Ok((recovered, places))
    }
}

/// The folder of one node, locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    header: Header,
    store: Store,
    present: TermLog,
    present_for_readers: Arc<Mutex<TermLog>>,
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
        first: Term,
        checkpoint: &[u8],
    ) -> Result<(), FolderError> {
        let mut store = Store::open(path, Owner { cluster: cluster.0, node })?;
        if !store.segments()?.is_empty() {
            return Err(FolderError::Used(path.to_owned()));
        }
        Ok(store.begin(segment(first), checkpoint, &Header { cluster, node, term: first }.encode())?)
    }

    /// Opens a node's folder, cuts what a crash left half written, and syncs what was read.
    ///
    /// # Errors
    /// When it is in use, empty, damaged or another node's, or the system refuses.
    pub fn open(path: &Path, (cluster, node): (ClusterId, NodeId)) -> Result<(Self, Opened), FolderError> {
        let mut store = Store::open(path, Owner { cluster: cluster.0, node })?;
        let newest = store.segments()?.pop().ok_or_else(|| FolderError::Empty(path.to_owned()))?;
        let header = Header { cluster, node, term: term(newest) };
        let checkpoint = store.checkpoint(newest)?;
        let finish = |scan: Scan| scan.finish().map(|found| (found.0.file_length, found));
        let resumed = store.resume(newest, Scan::new(header), Scan::push, finish);
        let (mut recovered, places) = resumed.map_err(|error| match error {
            ResumeError::Disk(error) => error.into(),
            ResumeError::Refused(error) => FolderError::Log { folder: path.to_owned(), term: header.term, error },
        })?;
        if recovered.file_length == 0 {
            store.append(&[&header.encode()])?;
            store.sync()?;
            recovered.file_length = store.position();
        }
        let present = TermLog::new(header.term, store.reader(), places);
        let present_for_readers = Arc::new(Mutex::new(present.clone()));
        let reader = Box::new(OwnReader { present: Arc::clone(&present_for_readers), reader: store.reader() });
        let folder = Self { path: path.to_owned(), header, store, present, present_for_readers };
        Ok((folder, Opened { checkpoint, recovered, reader }))
    }

    /// Carries out one write of a turn. After an error the process must end: what is on the disk is unknown.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&mut self, write: Write) -> Result<(), FolderError> {
        match write {
            Write::Append { position, bytes, runs, .. } => {
                let at = self.store.append(&[&bytes])?;
                debug_assert_eq!(at, position, "the node knows how long its file is");
                let mut places = self.present.places();
                runs.into_iter().for_each(|(from, count)| places.handle_run(position, from, count));
            }
            Write::BeginTerm { term, checkpoint, log_header } => {
                self.store.begin(segment(term), &checkpoint, &log_header)?;
                self.header.term = term;
                self.present = TermLog::new(term, self.store.reader(), Places::default());
                *self.present_for_readers.lock().unwrap_or_else(PoisonError::into_inner) = self.present.clone();
            }
        }
        Ok(())
    }

    /// Makes what was written last. After an error the process must end.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn sync(&mut self) -> Result<(), FolderError> {
        Ok(self.store.sync()?)
    }

    /// For readers of old entries, who outlive no node.
    pub fn archive(&self) -> Archive {
        let present = Arc::clone(&self.present_for_readers);
        Archive { folder: self.path.clone(), header: self.header, present, reader: self.store.reader() }
    }

    /// Takes away all but the newest `keep` terms before the present one. A subscriber that reads one of them meanwhile
    /// keeps it until it is done.
    ///
    /// # Errors
    /// When the system refuses. What is left over goes the next time.
    pub fn prune(&mut self, keep: usize) -> Result<(), FolderError> {
        let kept = self.store.segments()?;
        // The present one stands behind those that are kept.
        if let Some(oldest) = kept.len().checked_sub(keep + 1).filter(|first| *first > 0) {
            self.store.remove_before(kept[oldest])?;
        }
        Ok(())
    }
}

/// The kept terms of a node, for reading.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
    header: Header,
    present: Arc<Mutex<TermLog>>,
    reader: Reader,
}

impl Archive {
    /// The kept terms, oldest first.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn terms(&self) -> Result<Vec<Term>, FolderError> {
        Ok(self.reader.segments()?.into_iter().map(term).collect())
    }

    /// Which cluster this is.
    pub fn cluster(&self) -> ClusterId {
        self.header.cluster
    }

    /// The checkpoint that a term began with.
    ///
    /// # Errors
    /// When it is not kept, or the system refuses.
    pub fn checkpoint(&self, of: Term) -> Result<Vec<u8>, FolderError> {
        Ok(self.reader.clone().read_checkpoint(segment(of), 0, usize::MAX)?)
    }

    /// The present term. It changes before anything of the next one is told.
    pub fn present_term(&self) -> Term {
        self.present().term
    }

    fn present(&self) -> MutexGuard<'_, TermLog> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a term. That of an earlier one ends with what the node knows to be decided: if it was away when the term
    /// ended, more may stand in the file that never was.
    ///
    /// # Errors
    /// When it is not kept or damaged, or the system refuses.
    pub fn log(&self, of: Term) -> Result<TermLog, FolderError> {
        let present = self.present().clone();
        if of == present.term {
            return Ok(present);
        }
        let (mut reader, mut at) = (self.reader.clone(), 0);
        let mut scan = Scan::new(Header { term: of, ..self.header });
        loop {
            let piece = reader.read(segment(of), at, PIECE_BYTES)?;
            if piece.is_empty() {
                break;
            }
            at += piece.len() as u64;
            scan.push(&piece);
        }
        let refused = |error| FolderError::Log { folder: self.folder.clone(), term: of, error };
        let (recovered, mut places) = scan.finish().map_err(refused)?;
        places.truncate(recovered.decided);
        Ok(TermLog::new(of, reader, places))
    }
}

/// What the node itself reads back: for laggards.
struct OwnReader {
    present: Arc<Mutex<TermLog>>,
    reader: Reader,
}

impl LogReader for OwnReader {
    fn read_entries(&mut self, term: Term, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, ReadError> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.term != term {
            tracing::error!(wanted = term.0, present = present.term.0, "the log of another term is wanted");
            return Err(ReadError);
        }
        present.read(from, to).map_err(|error| {
            tracing::error!(%error, term = term.0, "the log cannot be read back");
            ReadError
        })
    }

    fn read_checkpoint(&mut self, term: Term, at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        self.reader.read_checkpoint(segment(term), at, length).map_err(|error| {
            tracing::error!(%error, term = term.0, "the checkpoint cannot be read back");
            ReadError
        })
    }
}
