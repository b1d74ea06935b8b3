//! How one set of members follows another, in a form that clients can check.

use crate::command::Command;
use crate::order::{Order, SignedOrder};
use crate::refusal::Refusal;
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{Charter, Electorate, EncodingError, Problem, TermFile};
use thiserror::Error;

/// Bytes of one at most.
pub const SUCCESSION_BYTES_MAX: usize = 8_192;

/// Why members do not follow others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SuccessionError {
    /// Operators, or members of before, did not sign it.
    #[error("{0}")]
    Order(#[from] Refusal),
    /// Operators did not sign the file.
    #[error("{0}")]
    File(#[from] Problem),
    /// Its term is known, or one before it is missing.
    #[error("its members are those of term {found}, and the known ones those of term {known}")]
    Term {
        /// The one that it names.
        found: u64,
        /// The one that is known.
        known: u64,
    },
}

/// A change of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Succession {
    /// On the log: operators and k of the members of before agreed, and the term is the next one.
    Order(Box<SignedOrder>),
    /// Outside the log: operators alone, and the term is above all before.
    Term(Box<TermFile>),
}

impl Succession {
    /// Who the members are afterwards.
    pub fn electorate(&self) -> Option<&Electorate> {
        match self {
            Self::Order(signed) => match &signed.order {
                Order::Members(electorate) => Some(electorate),
                Order::Admit { .. } | Order::Expel { .. } | Order::Parameter(_) => None,
            },
            Self::Term(file) => Some(file.electorate()),
        }
    }

    /// Who the members are afterwards, if they may follow these.
    ///
    /// # Errors
    /// [`SuccessionError`].
    pub fn follow(&self, charter: &Charter, before: &Electorate) -> Result<Electorate, SuccessionError> {
        let after = self.electorate().ok_or(Refusal::Malformed)?.clone();
        let (found, known) = (after.term(), before.term());
        match self {
            Self::Order(signed) => {
                if Some(found) != known.checked_add(1) {
                    return Err(SuccessionError::Term { found, known });
                }
                signed.verify(charter)?;
                if !signed.has_consent_of(before) {
                    return Err(Refusal::TooFewMembers.into());
                }
            }
            Self::Term(file) => {
                if found <= known {
                    return Err(SuccessionError::Term { found, known });
                }
                file.verify(charter)?;
            }
        }
        Ok(after)
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Order(signed) => {
                out.u8(1);
                out.raw(&Command::Govern(signed.clone()).encode());
            }
            Self::Term(file) => {
                out.u8(2);
                out.raw(file.text().as_bytes());
            }
        }
        out
    }

    /// Reads such bytes. Nobody looks at signatures here.
    ///
    /// # Errors
    /// When they are not exactly as [`Succession::encode`] writes them.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        if bytes.len() > SUCCESSION_BYTES_MAX {
            return Err(ReadError::Long.into());
        }
        let mut input = Reader::new(bytes);
        match input.u8()? {
            1 => match Command::decode(input.remaining())? {
                Command::Govern(signed) if matches!(signed.order, Order::Members(_)) => Ok(Self::Order(signed)),
                _ => Err(ReadError::Range.into()),
            },
            2 => Ok(Self::Term(Box::new(TermFile::parse(input.remaining())?))),
            _ => Err(ReadError::Range.into()),
        }
    }
}
