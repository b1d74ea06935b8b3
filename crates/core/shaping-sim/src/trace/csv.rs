//! A user's own trace as text: one transfer a line, `seconds,client,direction,bytes`.

use super::{Client, Direction, TRACE_CLIENTS_MAX, TRACE_LENGTH_MAX, TRACE_TRANSFERS_MAX, TRANSFER_BYTES_MAX};
use super::{Trace, TraceError, Transfer};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

/// Longest name of a client in bytes.
const NAME_MAX: usize = 64;
/// Most digits behind the point: nanoseconds.
const DECIMALS_MAX: usize = 9;
/// What a first line may say instead of a transfer.
const HEADER: &str = "seconds,client,direction,bytes";

/// What is wrong with which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct CsvError {
    /// Counted from 1; the last line where the problem is one of the whole text.
    pub line: usize,
    /// What, and what to do.
    pub problem: CsvProblem,
}

/// What is wrong with a line, and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CsvProblem {
    /// Not four fields.
    #[error("{0} fields instead of 4; write seconds,client,direction,bytes, for example 12.5,alice,down,420000")]
    Fields(usize),
    /// Not a moment.
    #[error(
        "the first field is no moment; write seconds since the beginning as digits with at most {DECIMALS_MAX} behind \
         a point, for example 12.5, up to {}",
        TRACE_LENGTH_MAX.as_secs()
    )]
    Seconds,
    /// Not a name.
    #[error("the second field is no client; write any name of 1 to {NAME_MAX} bytes, for example alice")]
    Name,
    /// Neither way.
    #[error("the third field is no direction; write up (to a server) or down (from a server)")]
    Direction,
    /// Not an amount.
    #[error("the fourth field is no number of bytes; write a whole number, 1 to {TRANSFER_BYTES_MAX}")]
    Bytes,
    /// Something about all lines together.
    #[error("{0}")]
    Trace(#[from] TraceError),
}

/// Reads a trace from text. Lines may come in any order; blank lines, lines that begin with `#` and a heading are skipped.
/// Clients get numbers in the order in which their names appear.
pub fn parse_csv(text: &str) -> Result<Trace, CsvError> {
    let mut transfers = Vec::new();
    let mut clients = BTreeMap::new();
    let mut last = 1;
    for (index, line) in text.lines().enumerate() {
        let at = |problem| CsvError { line: index + 1, problem };
        last = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || (transfers.is_empty() && line.eq_ignore_ascii_case(HEADER)) {
            continue;
        }
        if transfers.len() == TRACE_TRANSFERS_MAX {
            return Err(at(TraceError::TooMany.into()));
        }
        transfers.push(parse_line(line, &mut clients).map_err(at)?);
    }
    Trace::new(transfers).map_err(|error| CsvError { line: last, problem: error.into() })
}

fn parse_line<'a>(line: &'a str, clients: &mut BTreeMap<&'a str, Client>) -> Result<Transfer, CsvProblem> {
    let mut fields = line.split(',').map(str::trim);
    let (Some(seconds), Some(name), Some(direction), Some(bytes), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(CsvProblem::Fields(line.split(',').count()));
    };
    let at = parse_seconds(seconds).filter(|at| *at <= TRACE_LENGTH_MAX).ok_or(CsvProblem::Seconds)?;
    if !(1..=NAME_MAX).contains(&name.len()) {
        return Err(CsvProblem::Name);
    }
    let direction = match direction {
        up if up.eq_ignore_ascii_case("up") => Direction::Up,
        down if down.eq_ignore_ascii_case("down") => Direction::Down,
        _ => return Err(CsvProblem::Direction),
    };
    let bytes = digits(bytes).filter(|bytes| (1..=TRANSFER_BYTES_MAX).contains(bytes)).ok_or(CsvProblem::Bytes)?;
    let next = clients.len() as u32;
    if next >= TRACE_CLIENTS_MAX && !clients.contains_key(name) {
        return Err(TraceError::Clients.into());
    }
    let client = *clients.entry(name).or_insert(Client(next));
    Ok(Transfer { at, client, direction, bytes })
}

/// A decimal number of seconds, exactly.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > DECIMALS_MAX {
        return None;
    }
    let zeros = 10_u64.pow((DECIMALS_MAX - fraction.len()) as u32);
    let nanoseconds = digits(fraction)? * zeros;
    Some(Duration::new(digits(whole)?, u32::try_from(nanoseconds).ok()?))
}

/// Digits and nothing else: no sign, no blank.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read() -> Result<(), CsvError> {
        let text = "Seconds,client,direction,bytes\n# a comment\n\n12.5, alice ,down,420000\r\n3,bob,UP,1\n0.000000001,alice,up,7";
        let trace = parse_csv(text)?;
        let transfer = |nanoseconds, client, direction, bytes| Transfer {
            at: Duration::from_nanos(nanoseconds),
            client: Client(client),
            direction,
            bytes,
        };
        let expected = [
            transfer(1, 0, Direction::Up, 7),
            transfer(3_000_000_000, 1, Direction::Up, 1),
            transfer(12_500_000_000, 0, Direction::Down, 420_000),
        ];
        assert_eq!(trace.transfers(), expected);
        Ok(())
    }

    #[test]
    fn errors_name_the_line_and_the_remedy() {
        let good = "0,a,up,1";
        for (bad, problem) in [
            ("1,a,up", CsvProblem::Fields(3)),
            ("1,a,up,1,1", CsvProblem::Fields(5)),
            ("-1,a,up,1", CsvProblem::Seconds),
            ("1e3,a,up,1", CsvProblem::Seconds),
            (".5,a,up,1", CsvProblem::Seconds),
            ("1.0000000001,a,up,1", CsvProblem::Seconds),
            ("NaN,a,up,1", CsvProblem::Seconds),
            ("604801,a,up,1", CsvProblem::Seconds),
            ("1,,up,1", CsvProblem::Name),
            ("1,a,sideways,1", CsvProblem::Direction),
            ("1,a,up,0", CsvProblem::Bytes),
            ("1,a,up,1.5", CsvProblem::Bytes),
            ("1,a,up,99999999999999999999", CsvProblem::Bytes),
        ] {
            let text = format!("{good}\n{bad}\n{good}\n");
            assert_eq!(parse_csv(&text), Err(CsvError { line: 2, problem }), "{bad}");
        }
        let empty = CsvError { line: 2, problem: TraceError::Empty.into() };
        assert_eq!(parse_csv("# nothing\n\n"), Err(empty));
        assert_eq!(parse_csv("seconds"), Err(CsvError { line: 1, problem: CsvProblem::Fields(1) }));
        let text = parse_csv("1,a,sideways,1").map_err(|error| error.to_string());
        let expected = "line 1: the third field is no direction; write up (to a server) or down (from a server)";
        assert_eq!(text, Err(expected.to_owned()));
    }
}
