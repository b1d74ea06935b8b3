//! Rates and sizes as people write them: a number, a space, a unit.

use crate::diagnostic::Problem;
use shaping::RateClass;
use std::fmt;

/// Units of a rate, in bits per second. Decimal, as networks count.
const RATE_UNITS: &[(&str, u64)] = &[("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];
/// Units of a size, in bytes, by size: binary, as memory counts, and decimal, as networks count.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];
/// What people write for them too. Never written by us.
const OTHER_BYTE_UNITS: &[(&str, u64)] = &[("KB", 1_000)];

/// A number of bytes that prints as it is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, u64)| self.0 >= unit.1 && self.0.is_multiple_of(unit.1);
        let (name, size) = BYTE_UNITS.iter().rev().find(fits).unwrap_or(&("B", 1));
        write!(f, "{} {name}", self.0 / size)
    }
}

/// Reads `256 kbit/s`, `10 Mbit/s`, `2.5 Gbit/s` and rounds up to the next rate class.
pub fn parse_rate(text: &str) -> Result<RateClass, Problem> {
    let bits = scaled(text, RATE_UNITS).ok_or(Problem::Rate)?;
    if bits == 0 {
        return Err(Problem::Rate);
    }
    RateClass::at_least(bits).map_err(|_| Problem::RateTooFast)
}

/// Reads `256 KiB`, `1 MiB`, `2500 kB`, `2GB`; `KB` is `kB`.
pub fn parse_bytes(text: &str) -> Result<ByteCount, Problem> {
    let read = |units| scaled(text, units);
    read(BYTE_UNITS).or_else(|| read(OTHER_BYTE_UNITS)).map(ByteCount).ok_or(Problem::Bytes)
}

/// `number unit` as a whole number of the smallest unit; at most three decimals, none lost.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, unit) = (&text[..split], text[split..].trim_start());
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if decimals.is_empty() || decimals.len() > 3 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let thousandths = decimals.parse::<u64>().ok()? * 10_u64.pow(3 - decimals.len() as u32);
    let fraction = factor.checked_mul(thousandths)?;
    if !fraction.is_multiple_of(1000) {
        return None;
    }
    whole.checked_mul(*factor)?.checked_add(fraction / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_rounded_up_to_a_class() {
        let bits = |text: &str| parse_rate(text).map(RateClass::bits_per_second);
        assert_eq!(bits("256 kbit/s"), Ok(256_000));
        assert_eq!(bits("256kbit/s"), Ok(256_000));
        assert_eq!(bits("0.256 Mbit/s"), Ok(256_000));
        assert_eq!(bits("10 Mbit/s"), Ok(11_585_248));
        assert_eq!(bits("1 bit/s"), Ok(256_000));
        assert_eq!(bits("3 Gbit/s"), Err(Problem::RateTooFast));
        for wrong in ["", "10", "Mbit/s", "10 MB/s", "10 mbit/s", "-1 kbit/s", "1.2345 Mbit/s", "1. kbit/s", "0 kbit/s"]
        {
            assert_eq!(bits(wrong), Err(Problem::Rate), "{wrong}");
        }
        assert_eq!(bits("99999999999999999999 kbit/s"), Err(Problem::Rate));
    }

    #[test]
    fn sizes_are_read_and_printed_alike() {
        for text in ["256 KiB", "1 MiB", "3 GiB", "17 B", "1025 KiB"] {
            assert_eq!(parse_bytes(text).map(|bytes| bytes.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(parse_bytes("1.5 KiB"), Ok(ByteCount(1536)));
        assert_eq!(parse_bytes("256KB"), Ok(ByteCount(256_000)));
        assert_eq!(parse_bytes("1.5GB").map(|bytes| bytes.to_string()), Ok("1500 MB".to_owned()));
        assert_eq!(parse_bytes("256 kb"), Err(Problem::Bytes));
        assert_eq!(parse_bytes("0.001 KiB"), Err(Problem::Bytes));
        assert_eq!(ByteCount(0).to_string(), "0 B");
    }
}
