//! Why the directory does not do what a command says, in words for whoever sent it.

use crate::command::COMMAND_BYTES_MAX;
use crate::directory::{
    CLOCK_SKEW_MAX_MS, DESCRIBES_MAX, RECORDS_MAX, REVISIONS_MAX, SPONSOR_BYTES_MAX, SUCCESSIONS_MAX,
};
use crate::service::SERVICE_BYTES_MAX;
use network_document::EDITION_RELAYS_MAX;
use thiserror::Error;

/// Why a command has no effect. Every member gives the same reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The bytes are no command.
    #[error("the bytes are no command of a directory, or more than {COMMAND_BYTES_MAX}")]
    Malformed,
    /// A signature is not good: altered, of another network, or of somebody who may not sign.
    #[error("a signature is not good: the command was altered, or made for another network")]
    Signature,
    /// Signatures were looked at for another network.
    #[error("the command was checked for another network")]
    OtherNetwork,
    /// Too few operators decided.
    #[error("{found} operators signed, and {needed} must")]
    TooFewOperators {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
    /// Too few members agreed with a change of members.
    #[error("too few of the present members signed the change")]
    TooFewMembers,
    /// A decision that took effect already, or one before it is missing.
    #[error("the order's number must be {expected}: it took effect already, or one before it is missing")]
    OrderNumber {
        /// The number of the next one.
        expected: u64,
    },
    /// Members of another term than the next one.
    #[error("the new members' term must be {expected}")]
    Term {
        /// The next one.
        expected: u64,
    },
    /// No room for another change of members.
    #[error("the directory remembers at most {SUCCESSIONS_MAX} changes of members; start a new network")]
    TooManySuccessions,
    /// No room for another relay.
    #[error("a network has at most {EDITION_RELAYS_MAX} relays")]
    TooManyRelays,
    /// Operators did not admit this node.
    #[error("the operators have not admitted this node; ask them for an invitation")]
    NotAdmitted,
    /// Nothing is there to withdraw.
    #[error("the relay is not in the directory")]
    NotDescribed,
    /// A relay claims more than operators vouch for.
    #[error("the relay claims a role, a bandwidth or an operator that the operators have not admitted it with")]
    NotVouchedFor,
    /// Hop ports outside of the network's.
    #[error("the relay's hop ports are not all among the network's")]
    HopPorts,
    /// Something newer is known, or the same.
    #[error("the directory knows something as new or newer of this one")]
    Old,
    /// Said at a time that has not come.
    #[error("it was said more than {} min ahead of the directory's time; check the clock", CLOCK_SKEW_MAX_MS / 60_000)]
    Ahead,
    /// It has ended.
    #[error("it has expired; check the clock, and say it again")]
    Expired,
    /// It would hold for too long.
    #[error("it would hold for longer than anything may")]
    Lasting,
    /// No onion key of now or of next.
    #[error("it has no onion key of the present or the next key interval, or one of a later one")]
    OnionKeys,
    /// Another relay has the key already.
    #[error("another relay has one of these keys; each relay makes its own")]
    SharedKey,
    /// Another relay has the address already.
    #[error("another relay has one of these addresses; if it is gone, its operator withdraws it, or it expires")]
    SharedAddress,
    /// Too much in one interval.
    #[error(
        "at most {DESCRIBES_MAX} descriptors of a relay and {REVISIONS_MAX} revisions of a service count in an interval"
    )]
    Quota,
    /// A member has let in too much.
    #[error(
        "the member that let it in has no room: at most {RECORDS_MAX} records in an interval and {} MiB in all; try another",
        SPONSOR_BYTES_MAX >> 20
    )]
    SponsorQuota,
    /// More bytes than a record may have.
    #[error("a service's record has at most {SERVICE_BYTES_MAX} bytes")]
    Bulky,
    /// Only members may.
    #[error("this node is no member of the directory")]
    NotMember,
    /// A signature for an edition that is not the present one.
    #[error("it is not the edition of the present interval that was signed")]
    OtherIndex,
    /// A member signed an edition that this log does not make.
    #[error("the member signed another edition than this log makes: one of the two is not told the truth, or lies")]
    OtherEdition,
    /// A member's earlier tick had a higher number, or the same.
    #[error("the member has said a later tick")]
    OldTick,
}

impl Refusal {
    /// The number of the refusal in answers: 1 and up.
    pub fn code(&self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::Signature => 2,
            Self::OtherNetwork => 3,
            Self::TooFewOperators { .. } => 4,
            Self::TooFewMembers => 5,
            Self::OrderNumber { .. } => 6,
            Self::Term { .. } => 7,
            Self::TooManySuccessions => 8,
            Self::TooManyRelays => 9,
            Self::NotAdmitted => 10,
            Self::NotVouchedFor => 11,
            Self::HopPorts => 12,
            Self::Old => 13,
            Self::Ahead => 14,
            Self::Expired => 15,
            Self::Lasting => 16,
            Self::OnionKeys => 17,
            Self::SharedKey => 18,
            Self::SharedAddress => 19,
            Self::Quota => 20,
            Self::SponsorQuota => 21,
            Self::Bulky => 22,
            Self::NotMember => 23,
            Self::OtherIndex => 24,
            Self::OtherEdition => 25,
            Self::OldTick => 26,
            Self::NotDescribed => 27,
        }
    }
}
