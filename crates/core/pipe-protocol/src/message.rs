//! What is said, whatever form it has.

use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The version of the protocol that a program names in its greeting.
pub const VERSION: u32 = 1;
/// Bytes of one message's data. As a line of base64 it is four thirds of that.
pub const DATA_BYTES_MAX: usize = 1_000_000;
/// Bytes of a topic or a key.
pub const NAME_BYTES_MAX: usize = 255;
/// Topics or keys that one subscription may name.
pub const NAMES_MAX: usize = 64;

/// A text that is no topic and no key.
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

/// A topic or a key: 1 to 255 bytes of text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// A topic or a key of that name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        match name.len() {
            0 => Err(NameError::Empty),
            found if found > NAME_BYTES_MAX => Err(NameError::TooLong { found, max: NAME_BYTES_MAX }),
            _ if name.chars().any(char::is_control) => Err(NameError::Control),
            _ => Ok(Self(name.to_owned())),
        }
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

/// Something to be ordered, which then takes its effect on every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// One more than the session's last.
    pub sequence: u64,
    /// What is to happen.
    pub order: Order,
}

/// What is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A message for whoever follows a topic.
    Publish {
        /// Which.
        topic: Name,
        /// What it says, at most [`DATA_BYTES_MAX`] bytes.
        data: Vec<u8>,
    },
    /// A key gets a value or, without one, loses it.
    Put {
        /// Which.
        key: Name,
        /// Its value.
        value: Option<Vec<u8>>,
        /// Only if the key has this version; 0 is that of a key that never was.
        if_version: Option<u64>,
    },
    /// A message for another application of the cluster.
    Call {
        /// Its number.
        app: u16,
        /// What it is told.
        data: Vec<u8>,
    },
}

impl Order {
    /// Bytes of its data.
    pub fn data_bytes(&self) -> usize {
        match self {
            Self::Publish { data, .. } | Self::Call { data, .. } => data.len(),
            Self::Put { value, .. } => value.as_ref().map_or(0, Vec::len),
        }
    }
}

/// What a subscription follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Messages of topics.
    Topics,
    /// Changes of keys.
    Keys,
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At this place of the order.
    Offset(u64),
    /// Behind what is ordered now.
    Tail,
    /// At the oldest message that is kept; of keys, with their present values.
    Oldest,
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
    /// Put this into the order.
    Submit(Submission),
    /// Tell what is ordered from there on, as far as credit goes. Once in a connection.
    Subscribe {
        /// Topics or keys.
        of: Of,
        /// Only these; none means all.
        names: Vec<Name>,
        /// From where on.
        from: From,
    },
    /// What does this key hold?
    Read {
        /// Comes back with the answer.
        id: u64,
        /// Which key.
        key: Name,
        /// How sure.
        level: Level,
    },
    /// So many more messages of the subscription may come.
    Credit {
        /// Messages.
        count: u32,
    },
}

/// A message, or a key's change, at its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place. Places of a topic's messages rise, with gaps where other things were ordered.
    pub offset: u64,
    /// The topic or the key.
    pub name: Name,
    /// Its number in the topic, from 0 without a gap; or the version that the key has with it.
    pub number: u64,
    /// The session that submitted it.
    pub origin: SessionId,
    /// The order's time when it took effect, in seconds since 1970: the newest that a leader had written into the log.
    pub time_s: u64,
    /// What it says; nothing if the key lost its value.
    pub data: Option<Vec<u8>>,
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

/// What became of something that was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The message has this number in its topic.
    Published {
        /// From 0.
        number: u64,
    },
    /// The key has this version.
    Changed {
        /// From 1.
        version: u64,
    },
    /// The key had another version: nothing changed.
    Differs {
        /// Its version.
        version: u64,
        /// Its value.
        data: Option<Vec<u8>>,
    },
    /// The application's answer.
    Called {
        /// Its bytes.
        data: Vec<u8>,
    },
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
    /// It is on the disks of a majority, at this place, and took this effect.
    Done {
        /// What was submitted under this number.
        sequence: u64,
        /// Its place in the order.
        offset: u64,
        /// Its effect.
        effect: Effect,
    },
    /// A message of the subscription.
    Message(Message),
    /// Everything before this place that the subscription asked for has been sent.
    Reached {
        /// The place to continue from.
        offset: u64,
    },
    /// What the key holds.
    Value {
        /// Which read.
        id: u64,
        /// The place in the order that the answer reflects: everything before it counted.
        offset: u64,
        /// The key's version; 0 if it never was.
        version: u64,
        /// Nothing if it has no value.
        data: Option<Vec<u8>>,
    },
    /// Something was not done.
    Error(Refusal),
}
