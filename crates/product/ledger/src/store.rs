//! The books on disk.

use crate::error::{CreateError, OpenError, ReserveError};
use crate::file;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend, StorageError,
    TableDefinition,
};
use shaping::ledger::{
    AccountRecord, Direction, HourRecord, Leave, Ledger, Limits, RecordError, Request, Reservation, Spent,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whose ledger it is and how it is written: name to bytes.
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
/// Direction to account.
const ACCOUNTS: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("accounts");
/// Direction and hour since 1970 to what was spent in it.
const HOURS: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("hours");

/// The one version of the format.
const FORMAT: &[u8] = b"hushwire ledger 1";
/// Bytes of pages that the database keeps in memory: the whole file is smaller.
const CACHE_BYTES: usize = 1 << 20;

/// The ledger of one node, open and locked.
pub struct Store {
    /// `None` after a write that failed: what the disk has is not known until it is read again.
    database: Option<Database>,
    books: Ledger,
    path: PathBuf,
    node_id: [u8; 32],
}

impl Store {
    /// Makes a ledger in which nothing is spent, for this node id. `unix_s` is written down as its birth.
    ///
    /// # Errors
    /// If something has that name already, or the file cannot be made.
    pub fn create(path: &Path, node_id: [u8; 32], unix_s: u64) -> Result<(), CreateError> {
        let file = file::create(path)?;
        let made = FileBackend::new(file)
            .map_err(redb::Error::from)
            .and_then(|backend| write_new(backend, node_id, unix_s))
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
        let (database, books) = read_file(path, node_id)?;
        Ok(Self { database: Some(database), books, path: path.to_owned(), node_id })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
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
                let (database, books) = read_file(&self.path, self.node_id)?;
                if says_less(&books, &self.books) {
                    let reason = "it says less than it said while it was open".to_owned();
                    return Err(OpenError::Damaged { path: self.path.clone(), reason }.into());
                }
                self.books = books;
                closed.insert(database)
            }
        };
        let reservation = self.books.reserve(unix_s, request, limits)?;
        if let Err(error) = write_twice(database, &reservation) {
            self.database = None;
            return Err(ReserveError::Storage(error.to_string()));
        }
        self.books = reservation.after;
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

/// The database keeps its two newest commits, and where the newer one turns out to be damaged it goes back to the older
/// one without a word. So both have to have the reservation.
fn write_twice(database: &Database, reservation: &Reservation) -> Result<(), redb::Error> {
    write(database, reservation)?;
    write(database, reservation)
}

fn write(database: &Database, reservation: &Reservation) -> Result<(), redb::Error> {
    let Reservation { after, direction, hour, .. } = reservation;
    let mut transaction = database.begin_write()?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|error| StorageError::Io(std::io::Error::other(error)))?;
    {
        let mut accounts = transaction.open_table(ACCOUNTS)?;
        accounts.insert(key(*direction), after.account_record(*direction).encode().as_slice())?;
        let mut hours = transaction.open_table(HOURS)?;
        hours.insert((key(*direction), *hour), after.hour_record(*direction, *hour).encode().as_slice())?;
        let oldest = after.hours(*direction).next().unwrap_or(0);
        hours.retain_in((key(*direction), 0)..(key(*direction), oldest), |_, _| false)?;
    }
    transaction.commit()?;
    Ok(())
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
fn read_file(path: &Path, node_id: [u8; 32]) -> Result<(Database, Ledger), OpenError> {
    let backend = FileBackend::new(file::open(path)?).map_err(|error| refusal(path, error))?;
    read(backend, path, node_id)
}

/// The same on any storage; `path` is only for errors.
fn read(backend: impl StorageBackend, path: &Path, node_id: [u8; 32]) -> Result<(Database, Ledger), OpenError> {
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let database = database(backend).map_err(|error| refusal(path, error))?;
    let (format, owner, books) = read_tables(&database).map_err(|error| damaged(error.to_string()))?;
    if format.as_deref() != Some(FORMAT) {
        return Err(damaged("it is not written in the format of this version".to_owned()));
    }
    match owner {
        Some(owner) if owner == node_id => {}
        Some(owner) if owner.len() == node_id.len() => return Err(OpenError::Foreign(path.to_owned())),
        _ => return Err(damaged("it names no owner".to_owned())),
    }
    let books = books.map_err(|error| damaged(error.to_string()))?;
    Ok((database, books))
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

fn key(direction: Direction) -> u8 {
    match direction {
        Direction::Up => 0,
        Direction::Down => 1,
    }
}

fn database(backend: impl StorageBackend) -> Result<Database, DatabaseError> {
    // Without the check a file that was altered elsewhere is trusted.
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create_with_backend(backend)
}

fn write_new(backend: impl StorageBackend, node_id: [u8; 32], unix_s: u64) -> Result<(), redb::Error> {
    let database = database(backend)?;
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert("format", FORMAT)?;
        about.insert("node", node_id.as_slice())?;
        about.insert("made", unix_s.to_be_bytes().as_slice())?;
        let mut accounts = transaction.open_table(ACCOUNTS)?;
        for direction in Direction::ALL {
            accounts.insert(key(direction), AccountRecord::default().encode().as_slice())?;
        }
        transaction.open_table(HOURS)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Format, owner and books.
type Contents = (Option<Vec<u8>>, Option<Vec<u8>>, Result<Ledger, RecordError>);

fn read_tables(database: &Database) -> Result<Contents, redb::Error> {
    let transaction = database.begin_read()?;
    let about = transaction.open_table(ABOUT)?;
    let value = |name: &str| Ok::<_, redb::Error>(about.get(name)?.map(|value| value.value().to_vec()));
    let (format, owner) = (value("format")?, value("node")?);
    let mut accounts = Vec::new();
    let table = transaction.open_table(ACCOUNTS)?;
    for direction in Direction::ALL {
        // An account that is not there is damage, not an empty one.
        let bytes = table.get(key(direction))?.map(|value| value.value().to_vec()).unwrap_or_default();
        accounts.push((direction, AccountRecord::decode(&bytes)));
    }
    let mut hours = Vec::new();
    for entry in transaction.open_table(HOURS)?.iter()? {
        let (place, value) = entry?;
        let (number, hour) = place.value();
        let direction = if number == 0 { Direction::Up } else { Direction::Down };
        hours.push((direction, hour, HourRecord::decode(value.value())));
    }
    Ok((format, owner, books(accounts, hours)))
}

fn books(
    accounts: Vec<(Direction, Result<AccountRecord, RecordError>)>,
    hours: Vec<(Direction, u64, Result<HourRecord, RecordError>)>,
) -> Result<Ledger, RecordError> {
    let accounts = accounts.into_iter().map(|(direction, record)| Ok((direction, record?)));
    let accounts = accounts.collect::<Result<Vec<_>, RecordError>>()?;
    let hours = hours.into_iter().map(|(direction, hour, record)| Ok((direction, hour, record?)));
    let hours = hours.collect::<Result<Vec<_>, RecordError>>()?;
    Ledger::from_records(accounts, hours)
}

#[cfg(test)]
mod tests;
