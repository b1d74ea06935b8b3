//! What can be wrong with a document, in words for whoever has to put it right.

use crate::announcement::ANNOUNCEMENT_BYTES_MAX;
use crate::charter::OPERATORS_MAX;
use crate::document::RELAYS_MAX;
use crate::electorate::{MEMBERS_MAX, MEMBERS_MIN};
use crate::lines::TEXT_MAX;
use identity::KeyTextError;
use thiserror::Error;

/// Why a text was refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct DocumentError {
    /// The line, counted from 1. Of what is missing at the end, the line behind the last one.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Problem {
    /// More than [`TEXT_MAX`] bytes.
    #[error("the text has more than {TEXT_MAX} bytes; a network has at most {RELAYS_MAX} relays")]
    TooLong,
    /// A byte that is not printable ASCII, or no line feed at the end.
    #[error("the text must be plain ASCII with a line feed behind each line; get the file again, unchanged")]
    NotPlain,
    /// Another line belongs here.
    #[error("a line that begins with `{keyword} ` belongs here")]
    Expected {
        /// How it begins.
        keyword: &'static str,
    },
    /// There is more text than a document has.
    #[error("nothing may stand here: the document ends above")]
    Behind,
    /// A value is not what it should be.
    #[error("`{keyword}` must be {rule}")]
    Value {
        /// Of which line.
        keyword: &'static str,
        /// What belongs there.
        rule: &'static str,
    },
    /// A key is damaged.
    #[error("the key behind `{keyword}` is wrong: {error}")]
    Key {
        /// Of which line.
        keyword: &'static str,
        /// What is wrong with it.
        error: KeyTextError,
    },
    /// The line says something valid, but not in the one way in which it is signed.
    #[error("the line is written in another way than it is signed; let `hushwire network` write it")]
    Form,
    /// More lines of one kind than there may be.
    #[error("more than {max} lines `{keyword}`")]
    TooMany {
        /// Which lines.
        keyword: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// Values of one kind must ascend, so each is there once.
    #[error("`{keyword}` lines must ascend, each value once")]
    Order {
        /// Which lines.
        keyword: &'static str,
    },
    /// Two relays have the same.
    #[error("another relay has the same `{keyword}`; one of the two descriptors is wrong or old")]
    Shared {
        /// What they share.
        keyword: &'static str,
    },
    /// Nobody, or more operators than there are, must sign.
    #[error("`threshold` must be 1 to the number of operator keys, of which there are 1 to {OPERATORS_MAX}")]
    Threshold,
    /// Too few or too many members, or too many who may lie.
    #[error("a directory has {MEMBERS_MIN} to {MEMBERS_MAX} members, and one more than three times its `liars`")]
    Electorate,
    /// A network with a directory was taken for one without, or the reverse.
    #[error(
        "operators sign the documents of a network without a directory, members the editions of one with a directory"
    )]
    OtherKind,
    /// An announcement has too many bytes.
    #[error(
        "the announcement has more than {ANNOUNCEMENT_BYTES_MAX} bytes; give it fewer addresses or ranges of ports"
    )]
    Bulky,
    /// Signatures or hashes do not fit what they stand behind.
    #[error("a member did not sign this edition: it was altered, or the signature is another one's")]
    MemberSignature,
    /// Somebody signed who is no member.
    #[error("this node is none of the directory's members")]
    UnknownMember,
    /// A relay has no key for the time of the document.
    #[error("this relay has no onion key of the document's interval; get a descriptor for it from who runs the relay")]
    NoOnionKey,
    /// The number that stands for no interval.
    #[error("interval {} stands for the lasting keys of directory nodes: no document or descriptor names it", u64::MAX)]
    Lasting,
    /// A secret does not belong to the node that a descriptor names.
    #[error("the descriptor names another node than the secret that signs it")]
    OtherNode,
    /// A relay did not sign its lines for this network.
    #[error("the relay did not sign these lines for this network: they were altered or made for another one")]
    NodeSignature,
    /// Somebody signed who is no operator.
    #[error("this key is none of the network's operators")]
    UnknownOperator,
    /// An operator did not sign this document.
    #[error("the operator did not sign this document: it was altered, or the signature is another one's")]
    OperatorSignature,
    /// Not enough operators signed.
    #[error(
        "{found} of the network's operators signed, and {needed} must; ask another one to run `hushwire network sign`, or `hushwire directory sign` for what the directory is told"
    )]
    TooFewSignatures {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// Signatures of two different documents were to be put together.
    #[error("the two files are not the same document")]
    OtherDocument,
}
