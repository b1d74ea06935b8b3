//! What became of a command.

use crate::refusal::Refusal;
use identity::NodeId;
use network_document::EditionName;

/// What a command did. A command gives 1 to a few of them, the same on every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing, and why.
    Refused(Refusal),
    /// A relay's newest descriptor is in.
    Described(NodeId),
    /// A relay is out until it describes itself again.
    Withdrawn(NodeId),
    /// A relay may describe itself, or its bounds changed.
    Admitted(NodeId),
    /// A relay's descriptor no longer keeps to its bounds, and is out.
    Outgrown(NodeId),
    /// A relay is out for good.
    Expelled(NodeId),
    /// Everybody behaves in another way from the next edition on.
    ParametersChanged,
    /// The directory has other members, of this term.
    MembersChanged(u64),
    /// A member said the time.
    Ticked(NodeId),
    /// The directory's time is this, in milliseconds since 1970 UTC.
    Time(u64),
    /// A relay's descriptor came to its end.
    ExpiredRelay(NodeId),
    /// So many records of services came to their end.
    ExpiredServices(u32),
    /// The edition before got too few signatures: its index stays empty.
    Empty(u64),
    /// An edition was made, and waits for signatures.
    Made(EditionName),
    /// A member signed the newest edition.
    Signed(NodeId),
    /// The newest edition has enough signatures.
    Published(EditionName),
    /// A service's record is in, under this key.
    Stored([u8; 32]),
}
