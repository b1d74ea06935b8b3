//! Any bytes as the records of a ledger: an account, then buckets of following hours.

use shaping::ledger::{AccountRecord, Direction, HourRecord, Ledger, RecordError, WINDOW_MAX};

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let (account, rest) = data.split_at(AccountRecord::LEN.min(data.len()));
    let read = AccountRecord::decode(account);
    assert_eq!(read.is_ok(), account.len() == AccountRecord::LEN, "every account of the right length can be read");
    let Ok(read) = read else { return };
    assert_eq!(read.encode().as_slice(), account, "and is written as it was read");
    let hours: Result<Vec<_>, RecordError> = (1..)
        .zip(rest.chunks(HourRecord::LEN))
        .map(|(hour, bytes)| {
            let record = HourRecord::decode(bytes)?;
            assert_eq!(record.encode().as_slice(), bytes);
            Ok((Direction::Down, hour, record))
        })
        .collect();
    let Ok(hours) = hours else { return };
    let books = Ledger::from_records([(Direction::Down, read)], hours);
    let Ok(books) = books else { return };
    let spent = books.spent(0, Direction::Down, WINDOW_MAX);
    assert!(spent.in_window.mu_squared <= spent.in_all.mu_squared, "a window is never above the life");
    assert_eq!(spent.in_all, read.spent, "an account says what its record says");
}
