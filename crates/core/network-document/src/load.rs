//! A document out of a file, in either of its two forms.

use crate::announcement::EncodingError;
use crate::edition::{EDITION_BYTES_MAX, Edition, SignedEdition, UnsignedError};
use crate::error::DocumentError;
use crate::lines::TEXT_MAX;
use crate::network::NetworkDocument;
use thiserror::Error;

/// Bytes of a file with a document at most, in whichever form.
pub const DOCUMENT_BYTES_MAX: usize = EDITION_BYTES_MAX;

const _: () = assert!(TEXT_MAX <= DOCUMENT_BYTES_MAX, "every text fits");

/// Why bytes are no document, in words for whoever keeps the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LoadError {
    /// It does not begin as an edition, and is no document of operators.
    #[error("{0}")]
    Text(#[from] DocumentError),
    /// It begins as an edition of a directory, and is none.
    #[error("it begins as an edition of a directory and is damaged: {0}; get it again")]
    Edition(#[from] EncodingError),
    /// Not enough members signed the edition, or others than may.
    #[error("it is an edition of a directory that does not count: {0}; get a newer one")]
    Unsigned(#[from] UnsignedError),
}

impl NetworkDocument {
    /// Reads what a file has: an edition of a directory with its signatures, or the text that operators signed.
    ///
    /// An edition is judged by the members that it names itself ([`SignedEdition::verify_by_own`]).
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn load(bytes: &[u8]) -> Result<Self, LoadError> {
        if Edition::begins(bytes) {
            return Ok(SignedEdition::decode(bytes)?.verify_by_own()?);
        }
        Ok(Self::parse(bytes)?)
    }
}
