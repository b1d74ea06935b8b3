//! What goes into an endpoint and comes out of it.

use crate::config::Parameters;
use crate::report::LinkFigures;
use identity::{DoorKey, LinkKey, NodeId};
use port_hopping::causes::Cause;
use redact::Sensitive;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thiserror::Error;
use wire::cell::CellHead;

/// The time of a call: one monotonic, one of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Never goes back between calls.
    pub instant: Instant,
    /// Seconds since 1970 UTC; decides the day of the door's seal, nothing else. May jump.
    pub unix_s: u64,
}

/// Names one link of one endpoint; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl LinkId {
    /// Its place in a table of the caller's, below [`crate::MAX_LINKS`]: two links that live at the same time have
    /// different ones; a later link may have that of an earlier one.
    pub fn place(self) -> usize {
        self.slot as usize
    }
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node_id: NodeId,
    /// The static key that it must prove.
    pub link_key: LinkKey,
    /// What it wants strangers to know.
    pub door_key: DoorKey,
}

/// Why a dial was not begun. Always the caller's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DialError {
    /// `max_links` are there.
    #[error("the endpoint has as many links as it may have")]
    TooManyLinks,
    /// There is a dial to this link key or this address.
    #[error("this peer or this address is dialled already")]
    AlreadyDialled,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// A cell of a circuit, or a cover cell. Its region is `packet[21..P - 16]`, decrypted in place.
    Cell {
        /// Which link.
        link: LinkId,
        /// Whose cell, and what for.
        head: CellHead,
    },
    /// The link's own business. There may be events and packets to send.
    Handled,
    /// Nothing; silently.
    Dropped(DropReason),
}

macro_rules! drop_reasons {
    ($($(#[doc = $text:literal])+ $name:ident, $counter:ident;)+) => {
        /// Why a packet was dropped. None of them is answered, except where it says so.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[doc = $text])+ $name,)+
        }

        /// How many packets met which end, since the endpoint was made.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            /// Packets opened, of all links.
            pub opened: u64,
            /// Handshakes that were answered.
            pub answered: u64,
            /// Answers that were given a second time.
            pub repeated_answers: u64,
            /// Cookies that were asked for.
            pub cookies_asked: u64,
            /// Events that were thrown away because nobody took them.
            pub events_lost: u64,
            $($(#[doc = $text])+ pub $counter: u64,)+
        }

        impl Counters {
            /// Counts a dropped packet.
            pub(crate) fn count(&mut self, reason: DropReason) {
                match reason { $(DropReason::$name => self.$counter += 1,)+ }
            }

            /// All dropped packets by reason, for a status page.
            pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
                [$((DropReason::$name, self.$counter),)+].into_iter()
            }
        }
    };
}

drop_reasons! {
    /// Not P bytes long.
    WrongSize, wrong_size;
    /// Neither a packet of a link nor sealed under the door key: a stranger, a scan, an altered packet.
    Stranger, stranger;
    /// A packet of a link with an accepted or too old counter.
    Replayed, replayed;
    /// A packet with a known index that its peer did not seal.
    Forged, forged;
    /// An authenticated cell without meaning: the peer's fault.
    BadCell, bad_cell;
    /// Message 1 with an ephemeral key that was accepted before.
    ReplayedHandshake, replayed_handshake;
    /// Message 1 without the cookie that is asked for at this rate; a cookie was sent.
    CookieNeeded, cookie_needed;
    /// Message 1 above the number of handshakes a second that are worked on, or with too many answers waiting.
    Overload, overload;
    /// Message 1 that was not made for this link key, network or packet size.
    WrongKey, wrong_key;
    /// Message 1 of a link key that may not come in.
    UnknownPeer, unknown_peer;
    /// Message 1 with another version; it was told so.
    WrongVersion, wrong_version;
    /// Message 1 that was overtaken by a later one of the same peer.
    StaleHandshake, stale_handshake;
    /// Message 1 of a peer with too many links from its address.
    TooManyFromSource, too_many_from_source;
    /// Message 1 while all links are taken.
    TooManyLinks, too_many_links;
    /// Message 2 or a rekey answer that does not belong to the handshake under way.
    WrongAnswer, wrong_answer;
    /// A rekey sooner after the last one than any initiator asks for.
    TooManyRekeys, too_many_rekeys;
}

/// Why a link is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownReason {
    /// Nothing was heard for `down_after`. A dialled link goes on with its handshakes.
    Silent,
    /// [`crate::Endpoint::close`] or [`crate::Endpoint::leave`] was called.
    Closed,
    /// The peer said that it leaves.
    Left,
    /// Both ends dialled each other, and the other link stays.
    Crossed,
}

/// What the caller should know. Addresses are hidden from logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// A link can carry cells.
    Up {
        /// Which.
        link: LinkId,
        /// The key that the peer proved.
        link_key: LinkKey,
        /// Its name, where the configuration or the dial knows it.
        node_id: Option<NodeId>,
        /// What the peer says about itself.
        parameters: Parameters,
        /// Round trip of the handshake, slots included.
        rtt: Duration,
        /// True when this is not the process that the link last talked to: its sessions are gone.
        fresh: bool,
        /// True when this end dialled.
        dialled: bool,
    },
    /// A new handshake took the place of a working link; the fields are those of [`LinkEvent::Up`].
    Replaced {
        /// Which; it keeps its id.
        link: LinkId,
        /// What the peer says about itself now.
        parameters: Parameters,
        /// Round trip of the handshake.
        rtt: Duration,
        /// True when the peer's process is another one.
        fresh: bool,
    },
    /// New keys are in use.
    Rekeyed {
        /// Which link.
        link: LinkId,
    },
    /// Nothing was heard for `dead_after`. Keys are kept; a dialled link makes a handshake beside.
    Quiet {
        /// Which link.
        link: LinkId,
    },
    /// A quiet link was heard again, under its old keys.
    Back {
        /// Which link.
        link: LinkId,
    },
    /// The keys of a link are erased. An accepted link's id is void; a dialled one may come up again.
    Down {
        /// Which link.
        link: LinkId,
        /// Why.
        reason: DownReason,
    },
    /// The peer proved that it is at another address now.
    PeerAddressChanged {
        /// Which link.
        link: LinkId,
        /// The new address.
        address: Sensitive<SocketAddr>,
    },
    /// The link is on another pair of ports.
    Hopped {
        /// Which link.
        link: LinkId,
        /// How often it has hopped since it came up through a door.
        index: u64,
        /// Why; only the end that dialled knows.
        cause: Option<Cause>,
    },
    /// A handshake was accepted: to be stored, and given to [`crate::Endpoint::remember_ephemerals`] after a restart
    /// until `day` + 1 (UTC) is over.
    AcceptedEphemeral {
        /// The key.
        ephemeral: [u8; 32],
        /// The day that its message was sealed for, counted from 1970.
        day: u32,
    },
    /// The peer's report came.
    Report {
        /// Which link.
        link: LinkId,
        /// Losses of both directions over the last ten seconds.
        figures: LinkFigures,
    },
    /// A dialled peer speaks another version; dialling goes on at its slow pace.
    WrongVersion {
        /// Which link.
        link: LinkId,
        /// The peer's version.
        theirs: u8,
    },
    /// A dial had no answer to several handshakes: wrong keys, wrong address, a clock more than a day off, or a path
    /// too narrow for P. They cannot be told apart from here. Said once until the link comes up.
    Unanswered {
        /// Which link.
        link: LinkId,
    },
    /// Two processes use one link key and replace each other's link.
    SameKeyElsewhere {
        /// The link that they fight for.
        link: LinkId,
    },
}
