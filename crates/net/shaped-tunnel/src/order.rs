//! What the supervisor orders beyond what every process obeys.

use serde::{Deserialize, Serialize};
use std::fmt;
use wire::grant::Grant;

/// An order for a shaped process, as the body of the channel's order message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Leave to release, reserved in the ledger before it is sent here.
    Grant {
        /// Whose releases it pays for.
        direction: Direction,
        /// The first epoch.
        first_epoch: u64,
        /// Epochs from there on.
        releases: u16,
        /// What each may cost at most, in units of 2^-64: the high and the low half.
        cost_each: [u64; 2],
    },
    /// Go by another document of the network. With it comes sealed memory that holds it.
    Document {
        /// Its length in bytes.
        bytes: usize,
        /// At an exit, the text of the file of onion secrets that has those of the document's interval.
        onion_keys: Option<String>,
    },
    /// For a service node: the directory's time.
    DirectoryTime {
        /// Milliseconds since 1970 UTC.
        ms: u64,
    },
    /// For a service node: what became of a record ([`Ask::Publish`]).
    Published {
        /// As in the question.
        service: usize,
        /// Likewise.
        day: u64,
        /// Likewise.
        revision: u64,
        /// Whether the directory has it.
        taken: bool,
    },
}

/// What a service node's process asks of its supervisor, which has the lasting keys and the way to the directory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// The directory's time. The answer is [`Order::DirectoryTime`].
    Time,
    /// Sign a record and take it to the directory. The answer is [`Order::Published`].
    Publish(PublishAsk),
}

/// A record without its signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishAsk {
    /// Whose it is, by its place in the configuration.
    pub service: usize,
    /// Whose day's key signs it.
    pub day: u64,
    /// That key.
    pub key: [u8; 32],
    /// The record's revision.
    pub revision: u64,
    /// Until when it is good, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// What it says, sealed.
    pub content: Vec<u8>,
}

impl fmt::Debug for Ask {
    /// Names no service.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "Time",
            Self::Publish(_) => "Publish(..)",
        })
    }
}

impl fmt::Debug for PublishAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishAsk(..)")
    }
}

/// A direction as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Out of this node.
    Own,
    /// Into it: the leave goes on to the other node.
    Other,
}

impl Order {
    /// The order that carries this leave.
    pub fn grant(direction: Direction, grant: Grant) -> Self {
        let cost_each = [(grant.cost_each >> 64) as u64, grant.cost_each as u64];
        Self::Grant { direction, first_epoch: grant.first_epoch, releases: grant.releases, cost_each }
    }

    /// The leave in it, if it carries some.
    pub(crate) fn grant_in(&self) -> Option<(Direction, Grant)> {
        let Self::Grant { direction, first_epoch, releases, cost_each: [high, low] } = *self else { return None };
        let cost_each = u128::from(high) << 64 | u128::from(low);
        Some((direction, Grant { first_epoch, releases, cost_each }))
    }
}

impl fmt::Debug for Order {
    /// There are secrets in some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Order(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_survives_the_channel() -> Result<(), serde_json::Error> {
        let grant = Grant { first_epoch: 9, releases: 12, cost_each: u128::MAX - 5 };
        let order = serde_json::to_value(Order::grant(Direction::Other, grant))?;
        let read: Order = serde_json::from_value(order)?;
        assert_eq!(read.grant_in(), Some((Direction::Other, grant)));
        Ok(())
    }
}
