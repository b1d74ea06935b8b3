//! Readers of single values: from what TOML has to what the configuration means.

use crate::diagnostic::Problem;
use crate::entry::NearAddress;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// A string.
pub(crate) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Problem> {
    value.as_str().ok_or_else(|| wrong_type("a string", value))
}

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Problem> {
    value.as_bool().ok_or_else(|| wrong_type("true or false", value))
}

/// A whole number from `min` to `max`, both included.
pub(crate) fn integer(min: u64, max: u64, unit: &'static str) -> impl Fn(&DeValue<'_>) -> Result<u64, Problem> {
    move |value| {
        let DeValue::Integer(number) = value else { return Err(wrong_type("a whole number", value)) };
        // A number that does not even fit an i64 is out of range like any other.
        let parsed = i64::from_str_radix(number.as_str(), number.radix());
        match parsed.ok().and_then(|number| u64::try_from(number).ok()) {
            Some(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(Problem::OutOfRange { min, max, unit }),
        }
    }
}

/// A number, with or without a point; neither infinite nor "not a number".
pub(crate) fn number(value: &DeValue<'_>) -> Result<f64, Problem> {
    let written = match value {
        DeValue::Float(float) => float.as_str().replace('_', ""),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().replace('_', ""),
        _ => return Err(wrong_type("a number", value)),
    };
    written.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(Problem::NotFinite)
}

/// A time of whole seconds, from one second to `max_s`.
pub(crate) fn seconds(max_s: u64) -> impl Fn(&DeValue<'_>) -> Result<Duration, Problem> {
    move |value| integer(1, max_s, "seconds")(value).map(Duration::from_secs)
}

/// An address without a port.
pub(crate) fn ip_address(value: &DeValue<'_>) -> Result<IpAddr, Problem> {
    text(value)?.parse().map_err(|_| Problem::IpAddress)
}

/// One of this machine's ends: an address, or the name of an interface.
pub(crate) fn near_address(value: &DeValue<'_>) -> Result<NearAddress, Problem> {
    let written = text(value)?;
    if let Ok(address) = written.parse::<IpAddr>() {
        let is_one = !address.is_unspecified() && !address.is_multicast();
        return if is_one { Ok(NearAddress::Address(address)) } else { Err(Problem::NearAddress) };
    }
    let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    let fits = (1..=INTERFACE_MAX).contains(&written.len()) && written.bytes().all(is_name);
    if fits { Ok(NearAddress::Interface(written.to_owned())) } else { Err(Problem::NearAddress) }
}

/// Bytes of an interface's name at most (`IFNAMSIZ` without its zero).
const INTERFACE_MAX: usize = 15;

/// One of a few words; returns the word of the list.
pub(crate) fn one_of(words: &'static [&'static str]) -> impl Fn(&DeValue<'_>) -> Result<&'static str, Problem> {
    move |value| {
        let written = text(value)?;
        words.iter().find(|word| **word == written).copied().ok_or(Problem::OneOf { words })
    }
}

/// A path; a relative one is taken from `folder`.
pub(crate) fn path(folder: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, Problem> {
    move |value| match text(value)? {
        "" => Err(Problem::EmptyPath),
        written => Ok(folder.join(written)),
    }
}

/// Path of a unix socket: what fits `sockaddr_un`.
pub(crate) fn socket_path(folder: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, Problem> {
    move |value| {
        let path = path(folder)(value)?;
        if path.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(Problem::SocketPathTooLong);
        }
        Ok(path)
    }
}

/// Bytes of the longest path of a unix socket on Linux, without the final zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// `address:port`, `[v6 address]:port`.
pub(crate) fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, Problem> {
    text(value)?.parse().map_err(|_| Problem::SocketAddress)
}

/// `expected` is not what TOML has here.
pub(crate) fn wrong_type(expected: &'static str, value: &DeValue<'_>) -> Problem {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    Problem::WrongType { expected, found }
}
