//! Lines of a text: `keyword value`, in a fixed order.

use crate::error::{DocumentError, Problem};
use data_encoding::HEXLOWER;
use identity::{KeyTextError, SIGNATURE_LEN};
use std::str::FromStr;

/// Bytes of a document at most. A relay takes about 700.
pub const TEXT_MAX: usize = 1 << 20;

/// What is left of a text.
pub(crate) struct Lines<'a> {
    text: &'a str,
    at: usize,
    /// Number of the line that was taken last, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, DocumentError> {
        if bytes.len() > TEXT_MAX {
            return Err(DocumentError { line: 1, problem: Problem::TooLong });
        }
        let plain = |byte: &u8| matches!(byte, b'\n' | b' '..=b'~');
        let bad = bytes.iter().position(|byte| !plain(byte));
        let bad = bad.or_else(|| (bytes.last() != Some(&b'\n')).then_some(bytes.len()));
        match (bad, std::str::from_utf8(bytes)) {
            (None, Ok(text)) => Ok(Self { text, at: 0, number: 0 }),
            (bad, _) => {
                let before = &bytes[..bad.unwrap_or_default()];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                Err(DocumentError { line, problem: Problem::NotPlain })
            }
        }
    }

    /// Bytes that were taken.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// A problem of the line that was taken last.
    pub(crate) fn here(&self, problem: Problem) -> DocumentError {
        DocumentError { line: self.number.max(1), problem }
    }

    /// The next line if it has this keyword: what stands behind it.
    pub(crate) fn take_if(&mut self, keyword: &'static str) -> Option<&'a str> {
        let (line, _) = self.text[self.at..].split_once('\n')?;
        let value = line.strip_prefix(keyword)?.strip_prefix(' ')?;
        self.at += line.len() + 1;
        self.number += 1;
        Some(value)
    }

    /// True when the next line has this keyword.
    pub(crate) fn next_is(&self, keyword: &'static str) -> bool {
        self.text[self.at..].strip_prefix(keyword).is_some_and(|rest| rest.starts_with(' '))
    }

    pub(crate) fn take(&mut self, keyword: &'static str) -> Result<&'a str, DocumentError> {
        let next = DocumentError { line: self.number + 1, problem: Problem::Expected { keyword } };
        self.take_if(keyword).ok_or(next)
    }

    pub(crate) fn take_key<K: FromStr<Err = KeyTextError>>(
        &mut self,
        keyword: &'static str,
    ) -> Result<K, DocumentError> {
        let value = self.take(keyword)?;
        key(keyword, value).map_err(|problem| self.here(problem))
    }

    pub(crate) fn take_number(&mut self, keyword: &'static str) -> Result<u64, DocumentError> {
        let value = self.take(keyword)?;
        number(keyword, value).map_err(|problem| self.here(problem))
    }

    pub(crate) fn take_signature(&mut self, keyword: &'static str) -> Result<[u8; SIGNATURE_LEN], DocumentError> {
        let value = self.take(keyword)?;
        signature(keyword, value).map_err(|problem| self.here(problem))
    }

    /// Nothing is left.
    pub(crate) fn finish(&self) -> Result<(), DocumentError> {
        let left = self.at < self.text.len();
        if left { Err(DocumentError { line: self.number + 1, problem: Problem::Behind }) } else { Ok(()) }
    }

    /// The lines from `start`, of which `written` is how they are signed.
    pub(crate) fn check_form(&self, start: usize, written: &str) -> Result<(), DocumentError> {
        let read = &self.text[start..self.at];
        if read == written {
            return Ok(());
        }
        let before = self.text[..start].lines().count();
        let same = read.lines().zip(written.lines()).take_while(|(read, written)| read == written).count();
        Err(DocumentError { line: before + same + 1, problem: Problem::Form })
    }
}

pub(crate) fn key<K: FromStr<Err = KeyTextError>>(keyword: &'static str, value: &str) -> Result<K, Problem> {
    value.parse().map_err(|error| Problem::Key { keyword, error })
}

pub(crate) fn number(keyword: &'static str, value: &str) -> Result<u64, Problem> {
    value.parse().map_err(|_| Problem::Value { keyword, rule: "a whole number" })
}

pub(crate) fn signature(keyword: &'static str, value: &str) -> Result<[u8; SIGNATURE_LEN], Problem> {
    let bytes = HEXLOWER.decode(value.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(Problem::Value { keyword, rule: "a signature of 128 digits 0 to 9 and a to f" })
}

pub(crate) fn hex(signature: &[u8; SIGNATURE_LEN]) -> String {
    HEXLOWER.encode(signature)
}
