//! The books on disk.

use crate::error::{CreateError, OpenError, ReserveError};
use crate::file;
use crate::mark::{LedgerId, Mark};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};
use shaping::ledger::{Direction, Leave, Ledger, Limits, Request, Spent};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tables::{write_new, write_twice};

mod tables;

/// Bytes of pages that the database keeps in memory: the whole file is smaller.
const CACHE_BYTES: usize = 1 << 20;

/// The ledger of one node, open and locked.
pub struct Store {
    /// `None` after a write that failed: what the disk has is not known until it is read again.
    database: Option<Database>,
    books: Ledger,
    mark: Mark,
    path: PathBuf,
    node_id: [u8; 32],
}

impl Store {
    /// Makes a ledger in which nothing is spent, for this node id. `id` is drawn for it alone; `unix_s` is written down as its
    /// birth.
    ///
    /// # Errors
    /// If something has that name already, or the file cannot be made.
    pub fn create(path: &Path, node_id: [u8; 32], id: LedgerId, unix_s: u64) -> Result<(), CreateError> {
        let file = file::create(path)?;
        let made = FileBackend::new(file)
            .map_err(redb::Error::from)
            .and_then(|backend| write_new(backend, node_id, id, unix_s))
            .and_then(|()| file::sync_folder(path).map_err(|error| redb::Error::from(StorageError::Io(error))));
        made.map_err(|error| {
            // Half a ledger would only be called damaged.
            let _ = std::fs::remove_file(path);
            CreateError::System { path: path.to_owned(), reason: error.to_string() }
        })
    }

    /// Opens a node's ledger and checks all of it.
    ///
    /// # Errors
    /// If it is missing, damaged, open elsewhere, or another node's.
    pub fn open(path: &Path, node_id: [u8; 32]) -> Result<Self, OpenError> {
        let (database, mark, books) = read_file(path, node_id)?;
        Ok(Self { database: Some(database), books, mark, path: path.to_owned(), node_id })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which ledger it is, and how many reservations it holds: who has noted a mark recognises an older copy by it.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Reserves as many of the requested releases as the limits allow. They are on disk when this returns, and spent.
    ///
    /// After a write that failed, on a full disk for example, the next call opens the file again and goes on from what
    /// it finds there.
    ///
    /// # Errors
    /// If nothing may be or could be reserved. Nothing is released then; what a failed write has left on the disk
    /// counts as spent.
    pub fn reserve(&mut self, unix_s: u64, request: Request, limits: &Limits) -> Result<Leave, ReserveError> {
        let database = match &mut self.database {
            Some(database) => database,
            closed => {
                let (database, mark, books) = read_file(&self.path, self.node_id)?;
                let damaged = |reason: &str| OpenError::Damaged { path: self.path.clone(), reason: reason.to_owned() };
                if mark.id != self.mark.id {
                    return Err(damaged("it is another one than was open").into());
                }
                if mark.reservations < self.mark.reservations || says_less(&books, &self.books) {
                    return Err(damaged("it says less than it said while it was open").into());
                }
                (self.books, self.mark) = (books, mark);
                closed.insert(database)
            }
        };
        let reservation = self.books.reserve(unix_s, request, limits)?;
        let mark = Mark { reservations: self.mark.reservations.saturating_add(1), ..self.mark };
        if let Err(error) = write_twice(database, &reservation, mark) {
            self.database = None;
            return Err(ReserveError::Storage(error.to_string()));
        }
        (self.books, self.mark) = (reservation.after, mark);
        Ok(reservation.leave)
    }

    /// What was spent on a direction.
    pub fn spent(&self, unix_s: u64, direction: Direction, window: Duration) -> Spent {
        self.books.spent(unix_s, direction, window)
    }

    /// What was spent on both.
    pub fn spent_together(&self, unix_s: u64, window: Duration) -> Spent {
        self.books.spent_together(unix_s, window)
    }

    /// Until when releases of a direction are paid, in UTC seconds.
    pub fn paid_until_s(&self, direction: Direction) -> u64 {
        self.books.paid_until_s(direction)
    }
}

/// Whether any account of the first books is behind that of the second.
fn says_less(books: &Ledger, than: &Ledger) -> bool {
    Direction::ALL.into_iter().any(|direction| {
        let (here, there) = (books.account_record(direction), than.account_record(direction));
        here.paid_until_s < there.paid_until_s
            || here.spent.mu_squared < there.spent.mu_squared
            || here.spent.bits < there.spent.bits
    })
}

/// Opens and checks the file.
fn read_file(path: &Path, node_id: [u8; 32]) -> Result<(Database, Mark, Ledger), OpenError> {
    let backend = FileBackend::new(file::open(path)?).map_err(|error| refusal(path, error))?;
    read(backend, path, node_id)
}

/// The same on any storage; `path` is only for errors.
fn read(backend: impl StorageBackend, path: &Path, node_id: [u8; 32]) -> Result<(Database, Mark, Ledger), OpenError> {
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let database = database(backend).map_err(|error| refusal(path, error))?;
    let contents = tables::read(&database).map_err(|error| damaged(error.to_string()))?;
    if !contents.has_format {
        return Err(damaged("it is not written in the format of this version".to_owned()));
    }
    match contents.owner {
        Some(owner) if owner == node_id => {}
        Some(_) => return Err(OpenError::Foreign(path.to_owned())),
        None => return Err(damaged("it names no owner".to_owned())),
    }
    let mark = contents.mark.ok_or_else(|| damaged("it has no id".to_owned()))?;
    let books = contents.books.map_err(|error| damaged(error.to_string()))?;
    Ok((database, mark, books))
}

/// Why the database does not take the file.
fn refusal(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => OpenError::InUse(path),
        DatabaseError::Storage(StorageError::Io(source)) if !is_of_content(&source) => {
            OpenError::System { path, source }
        }
        other => OpenError::Damaged { path, reason: other.to_string() },
    }
}

/// Whether an error says that the file is not what it should be, rather than that the system cannot read it.
fn is_of_content(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

fn database(backend: impl StorageBackend) -> Result<Database, DatabaseError> {
    // Without the check a file that was altered elsewhere is trusted.
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create_with_backend(backend)
}

#[cfg(test)]
mod tests;
