//! Where a subscription stands, and that nothing is left out or told twice.

use pipe_protocol::{From, Message, Name};
use std::collections::BTreeMap;
use thiserror::Error;

/// Topics whose numbers are watched; messages of one more are taken as they come.
const TOPICS_MAX: usize = 4096;

/// The node left something out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("message {expected} of topic `{}` is missing: number {found} came", topic.as_str())]
pub(super) struct Hole {
    topic: Name,
    expected: u64,
    found: u64,
}

/// Where a subscription stands.
#[derive(Debug)]
pub(super) struct Place {
    from: From,
    next_numbers: BTreeMap<Name, u64>,
}

impl Place {
    pub(super) fn new(from: From) -> Self {
        Self { from, next_numbers: BTreeMap::new() }
    }

    /// Where to begin after a lost connection.
    pub(super) fn from(&self) -> From {
        self.from
    }

    /// A message came; `false`: it was told before.
    pub(super) fn take(&mut self, message: &Message) -> Result<bool, Hole> {
        if matches!(self.from, From::Offset(next) if message.offset < next) {
            return Ok(false);
        }
        let next = message.number.saturating_add(1);
        let is_room = self.next_numbers.len() < TOPICS_MAX;
        match self.next_numbers.get_mut(&message.name) {
            Some(expected) if *expected != message.number => {
                return Err(Hole { topic: message.name.clone(), expected: *expected, found: message.number });
            }
            Some(expected) => *expected = next,
            None if is_room => drop(self.next_numbers.insert(message.name.clone(), next)),
            None => {}
        }
        self.from = From::Offset(message.offset.saturating_add(1));
        Ok(true)
    }

    /// Everything before this place was told.
    pub(super) fn reach(&mut self, offset: u64) {
        match &mut self.from {
            From::Offset(next) => *next = offset.max(*next),
            from => *from = From::Offset(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipe_protocol::SessionId;

    fn message(offset: u64, topic: &str, number: u64) -> Message {
        let name = Name::new(topic).expect("a topic");
        Message { offset, name, number, origin: SessionId::from_bytes([1; 16]), time_s: 0, data: Some(Vec::new()) }
    }

    #[test]
    fn what_was_told_is_not_told_again_and_what_is_missing_is_noticed() {
        let mut place = Place::new(From::Oldest);
        assert_eq!(place.take(&message(4, "a", 7)), Ok(true));
        assert_eq!(place.take(&message(4, "a", 7)), Ok(false));
        assert_eq!(place.take(&message(6, "b", 0)), Ok(true));
        assert_eq!(place.take(&message(8, "a", 8)), Ok(true));
        let hole = place.take(&message(9, "a", 10)).expect_err("number 9 is missing");
        assert_eq!(hole.to_string(), "message 9 of topic `a` is missing: number 10 came");
        assert_eq!(place.from(), From::Offset(9));
    }

    #[test]
    fn a_place_that_was_reached_counts_without_a_message() {
        let mut place = Place::new(From::Tail);
        place.reach(12);
        assert_eq!(place.from(), From::Offset(12));
        place.reach(11);
        assert_eq!(place.from(), From::Offset(12));
    }
}
