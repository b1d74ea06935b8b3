//! The tables of the file (docs/spec/ledger.md).

use crate::mark::{LedgerId, Mark};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition};
use shaping::ledger::{AccountRecord, Direction, HourRecord, Ledger, RecordError, Reservation};

/// Whose ledger it is, which, and how it is written: name to bytes.
const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
/// Direction to account.
const ACCOUNTS: TableDefinition<'_, u8, &[u8]> = TableDefinition::new("accounts");
/// Direction and hour since 1970 to what was spent in it.
const HOURS: TableDefinition<'_, (u8, u64), &[u8]> = TableDefinition::new("hours");
/// Where [`ABOUT`] has the number of reservations.
const RESERVATIONS: &str = "reservations";

/// The one version of the format.
const FORMAT: &[u8] = b"hushwire ledger 1";

/// The database keeps its two newest commits, and where the newer one turns out to be damaged it goes back to the older
/// one without a word. So both have to have the reservation.
pub(super) fn write_twice(database: &Database, reservation: &Reservation, mark: Mark) -> Result<(), redb::Error> {
    write(database, reservation, mark)?;
    write(database, reservation, mark)
}

/// One of the two commits.
pub(super) fn write(database: &Database, reservation: &Reservation, mark: Mark) -> Result<(), redb::Error> {
    let Reservation { after, direction, hour, .. } = reservation;
    let mut transaction = database.begin_write()?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|error| StorageError::Io(std::io::Error::other(error)))?;
    {
        transaction.open_table(ABOUT)?.insert(RESERVATIONS, mark.reservations.to_be_bytes().as_slice())?;
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

/// An empty ledger.
pub(super) fn write_new(
    backend: impl StorageBackend,
    node_id: [u8; 32],
    id: LedgerId,
    unix_s: u64,
) -> Result<(), redb::Error> {
    let database = super::database(backend)?;
    let transaction = database.begin_write()?;
    {
        let mut about = transaction.open_table(ABOUT)?;
        about.insert("format", FORMAT)?;
        about.insert("node", node_id.as_slice())?;
        about.insert("made", unix_s.to_be_bytes().as_slice())?;
        about.insert("id", id.to_bytes().as_slice())?;
        about.insert(RESERVATIONS, 0u64.to_be_bytes().as_slice())?;
        let mut accounts = transaction.open_table(ACCOUNTS)?;
        for direction in Direction::ALL {
            accounts.insert(key(direction), AccountRecord::default().encode().as_slice())?;
        }
        transaction.open_table(HOURS)?;
    }
    transaction.commit()?;
    Ok(())
}

/// What a file says. `None`: the value is missing, or is none.
pub(super) struct Contents {
    pub(super) has_format: bool,
    pub(super) owner: Option<[u8; 32]>,
    pub(super) mark: Option<Mark>,
    pub(super) books: Result<Ledger, RecordError>,
}

pub(super) fn read(database: &Database) -> Result<Contents, redb::Error> {
    let transaction = database.begin_read()?;
    let about = transaction.open_table(ABOUT)?;
    let value = |name: &str| Ok::<_, redb::Error>(about.get(name)?.map(|value| value.value().to_vec()));
    let has_format = value("format")?.as_deref() == Some(FORMAT);
    let owner = value("node")?.and_then(|bytes| bytes.try_into().ok());
    let id = value("id")?.and_then(|bytes| bytes.try_into().ok()).map(LedgerId::from_bytes);
    let reservations = value(RESERVATIONS)?.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let mark = id.zip(reservations).map(|(id, reservations)| Mark { id, reservations });
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
    Ok(Contents { has_format, owner, mark, books: books(accounts, hours) })
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

fn key(direction: Direction) -> u8 {
    match direction {
        Direction::Up => 0,
        Direction::Down => 1,
    }
}
