//! What is said, whatever form it has.

use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The version of the protocol that a program names in its greeting.
pub const VERSION: u32 = 1;
/// Bytes of one message's data. As a line of base64 it is four thirds of that.
pub const DATA_BYTES_MAX: usize = 1 << 20;
/// Bytes of a topic.
pub const TOPIC_BYTES_MAX: usize = 256;
/// Topics that one subscription may name.
pub const TOPICS_MAX: usize = 64;
/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 1024;

/// A name that is no topic or no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// More bytes than may be.
    #[error("it has {found} bytes, at most {max} are allowed")]
    TooLong {
        /// Bytes that it has.
        found: usize,
        /// Bytes that it may have.
        max: usize,
    },
    /// A character that screens and logs should never see.
    #[error("it has a control character")]
    Control,
}

fn checked(name: &str, max: usize) -> Result<String, NameError> {
    match name.len() {
        0 => Err(NameError::Empty),
        found if found > max => Err(NameError::TooLong { found, max }),
        _ if name.chars().any(char::is_control) => Err(NameError::Control),
        _ => Ok(name.to_owned()),
    }
}

/// What a message is about: 1 to 256 bytes of text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(String);

/// A key of the key-value application: 1 to 1024 bytes of text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Topic {
    /// A topic of that name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        checked(name, TOPIC_BYTES_MAX).map(Self)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// A key of that name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        checked(name, KEY_BYTES_MAX).map(Self)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who publishes, across connections and restarts: with it and a sequence number a message counts once however often it
/// is sent. Whoever knows it can publish in its name, so it is drawn at random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId([u8; 16]);

/// A text that is no session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a session id is 32 hexadecimal digits")]
pub struct SessionIdError;

impl SessionId {
    /// The session with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first bytes tell sessions apart; the rest is what somebody would need to speak for it.
        write!(formatter, "SessionId({}..)", HEXLOWER_PERMISSIVE.encode(&self.0[..4]))
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| SessionIdError)?;
        bytes.try_into().map(Self).map_err(|_| SessionIdError)
    }
}

/// A message to be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// One more than the session's last.
    pub sequence: u64,
    /// What it is about.
    pub topic: Topic,
    /// What it says, at most [`DATA_BYTES_MAX`] bytes.
    pub data: Vec<u8>,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At this place of the order.
    Offset(u64),
    /// Behind what is ordered now.
    Tail,
    /// With the newest snapshot, then behind it.
    Snapshot,
}

/// How sure a read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What this node has applied: maybe old, never undone.
    Local,
    /// No older than the moment of asking, wherever a write was acknowledged.
    Linearizable,
}

/// What a program says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// First of all: which protocol, and as whom. Without a session the node makes one up.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// Who publishes.
        session: Option<SessionId>,
    },
    /// Put this message into the order.
    Publish(Publication),
    /// Tell what is ordered from there on, as far as credit goes. Once in a connection.
    Subscribe {
        /// Only these topics; none means all.
        topics: Vec<Topic>,
        /// From where on.
        from: From,
    },
    /// What does this key hold?
    Read {
        /// Comes back with the answer.
        id: u64,
        /// Which key.
        key: Key,
        /// How sure.
        level: Level,
    },
    /// So many more messages of the subscription may come.
    Credit {
        /// Messages.
        count: u32,
    },
}

/// A message at its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place. Places of a topic's messages rise, with gaps where other things were ordered.
    pub offset: u64,
    /// What it is about.
    pub topic: Topic,
    /// The session that published it.
    pub origin: SessionId,
    /// The order's time when it came in, in seconds since 1970: the newest that a leader had written into the log.
    pub time_s: u64,
    /// What it says.
    pub data: Vec<u8>,
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ErrorCode {
    /// It could not be read.
    BadMessage = 1,
    /// It is longer than messages may be.
    TooLong = 2,
    /// Something was said before the greeting, or a second greeting or subscription.
    OutOfTurn = 3,
    /// The greeting names a version that this node does not speak.
    Version = 4,
    /// The sequence number is not the next one; `expected` says which is.
    Gap = 5,
    /// The session was idle for so long that it was forgotten: what was sent and not acknowledged may have counted.
    Expired = 6,
    /// No leader takes messages at the moment; try again.
    Unavailable = 7,
    /// What was asked for is no longer kept; `expected` says from where on it is.
    Horizon = 8,
    /// The application refuses it.
    Refused = 9,
}

impl ErrorCode {
    pub(crate) const ALL: [(Self, &str); 9] = [
        (Self::BadMessage, "bad_message"),
        (Self::TooLong, "too_long"),
        (Self::OutOfTurn, "out_of_turn"),
        (Self::Version, "version"),
        (Self::Gap, "gap"),
        (Self::Expired, "expired"),
        (Self::Unavailable, "unavailable"),
        (Self::Horizon, "horizon"),
        (Self::Refused, "refused"),
    ];

    /// Its name in the text form.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("", |(_, name)| *name)
    }
}

/// What was not done, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which kind.
    pub code: ErrorCode,
    /// For a person.
    pub text: String,
    /// The sequence number of the message or the id of the read that it is about.
    pub about: Option<u64>,
    /// The number that would have been right.
    pub expected: Option<u64>,
    /// Milliseconds after which trying again makes sense.
    pub retry_ms: Option<u32>,
}

impl Refusal {
    /// A refusal that says no more than this.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), about: None, expected: None, retry_ms: None }
    }
}

/// What the node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The greeting is taken.
    Welcome {
        /// Who publishes: what the program named, or a new one to keep.
        session: SessionId,
        /// The sequence number of its next message.
        next: u64,
    },
    /// The message is on the disks of a majority, at this place.
    Acknowledged {
        /// Which message.
        sequence: u64,
        /// Its place in the order.
        offset: u64,
        /// What the application made of it.
        result: Vec<u8>,
    },
    /// A message of the subscription.
    Message(Message),
    /// Everything before this place that the subscription asked for has been sent.
    Reached {
        /// The place to continue from.
        offset: u64,
    },
    /// A piece of the snapshot; places from `offset` on follow it.
    Snapshot {
        /// The place behind the snapshot.
        offset: u64,
        /// No piece follows.
        last: bool,
        /// The piece.
        data: Vec<u8>,
    },
    /// What the key holds.
    Value {
        /// Which read.
        id: u64,
        /// The place in the order that the answer reflects: everything before it counted.
        offset: u64,
        /// Nothing if there is no such key.
        data: Option<Vec<u8>>,
    },
    /// Something was not done.
    Error(Refusal),
}
