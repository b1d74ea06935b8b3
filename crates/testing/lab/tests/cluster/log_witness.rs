//! Whether what followers were told, and publishers were promised, is one order. A log needs no search: the offset in an
//! acknowledgement is the witness of where its message took effect (as in Jepsen's checks of queues with offsets).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use pipe_protocol::{Message, Name, SessionId};

/// A message that somebody published. Its data begins with its sequence number, big-endian.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
    pub(crate) topic: Name,
    /// When it was sent for the first time, from the beginning of the run.
    pub(crate) sent: Duration,
    pub(crate) acknowledged: Option<Acknowledged>,
}

/// What an acknowledgement said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// When it came, from the beginning of the run.
    pub(crate) at: Duration,
    pub(crate) offset: u64,
    pub(crate) number: u64,
}

/// What one follower was told, over all its connections.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) by: String,
    pub(crate) messages: Vec<Message>,
    /// Everything in front of this offset was told, as the node says.
    pub(crate) reached: u64,
    /// What the node said that it does not keep.
    pub(crate) refused: Vec<Range<u64>>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A follower was told an offset that is not behind the one before.
    NotRising { by: String, offset: u64 },
    /// Two followers were told different things at one offset.
    Differs { by: String, told: Box<[Message; 2]> },
    /// A follower was told what is behind a message, and not the message.
    Missing { by: String, offset: u64 },
    /// Nobody published it.
    Unknown { offset: u64 },
    /// It counts more than once.
    Twice { session: SessionId, sequence: u64 },
    /// A topic's numbers do not go on by one.
    Gap { topic: String, expected: u64, found: u64 },
    /// Messages of one session do not stand in the order in which they were published.
    SessionOrder { session: SessionId, sequence: u64 },
    /// It was acknowledged, and stands nowhere, or elsewhere.
    NotAsAcknowledged { session: SessionId, sequence: u64, offset: u64 },
    /// It was sent after another had been acknowledged, and stands in front of that.
    RealTime { session: SessionId, sequence: u64 },
}

/// Checks every promise. Returns how many messages the order has.
pub(crate) fn check(publications: &[Publication], followers: &[Told]) -> Result<usize, Violation> {
    let order = one_order(followers)?;
    let published: BTreeMap<(SessionId, u64), &Publication> =
        publications.iter().map(|each| ((each.session, each.sequence), each)).collect();
    let mut places = BTreeMap::new();
    let mut numbers: BTreeMap<&Name, u64> = BTreeMap::new();
    let mut last: BTreeMap<SessionId, u64> = BTreeMap::new();
    for (&offset, message) in &order {
        let unknown = Violation::Unknown { offset };
        let (session, Some(sequence)) = (message.origin, sequence_of(message)) else { return Err(unknown) };
        let Some(publication) = published.get(&(session, sequence)) else { return Err(unknown) };
        if publication.topic != message.name {
            return Err(unknown);
        }
        if places.insert((session, sequence), (offset, message.number)).is_some() {
            return Err(Violation::Twice { session, sequence });
        }
        let next = numbers.entry(&message.name).or_default();
        if *next != message.number {
            let topic = message.name.as_str().to_owned();
            return Err(Violation::Gap { topic, expected: *next, found: message.number });
        }
        *next += 1;
        // A session has one sequence for all that it says, so its messages may leave numbers out, but never go back.
        if last.insert(session, sequence).is_some_and(|before| before >= sequence) {
            return Err(Violation::SessionOrder { session, sequence });
        }
    }
    for publication in publications {
        let Some(promised) = publication.acknowledged else { continue };
        let (session, sequence) = (publication.session, publication.sequence);
        if places.get(&(session, sequence)) != Some(&(promised.offset, promised.number)) {
            return Err(Violation::NotAsAcknowledged { session, sequence, offset: promised.offset });
        }
    }
    real_time(publications, &places)?;
    Ok(order.len())
}

/// What all followers together were told; each was told all of it, as far as it came.
fn one_order(followers: &[Told]) -> Result<BTreeMap<u64, &Message>, Violation> {
    let mut order = BTreeMap::new();
    for follower in followers {
        let by = || follower.by.clone();
        let mut next = 0;
        for message in &follower.messages {
            let offset = message.offset;
            if offset < next {
                return Err(Violation::NotRising { by: by(), offset });
            }
            next = offset + 1;
            let first = *order.entry(offset).or_insert(message);
            if first != message {
                let told = Box::new([first.clone(), message.clone()]);
                return Err(Violation::Differs { by: by(), told });
            }
        }
    }
    for follower in followers {
        let reached = follower.messages.last().map_or(0, |last| last.offset + 1).max(follower.reached);
        let mut told = follower.messages.iter();
        let is_refused = |offset: &u64| follower.refused.iter().any(|refused| refused.contains(offset));
        let mut due = order.range(..reached).filter(|(offset, _)| !is_refused(offset));
        if let Some((&offset, _)) = due.find(|(offset, _)| told.next().map(|message| message.offset) != Some(**offset))
        {
            return Err(Violation::Missing { by: follower.by.clone(), offset });
        }
    }
    Ok(order)
}

/// Whoever was sent after an acknowledgement stands behind what was acknowledged. One that nobody acknowledged has a place
/// too, if it counts.
fn real_time(publications: &[Publication], places: &BTreeMap<(SessionId, u64), (u64, u64)>) -> Result<(), Violation> {
    let mut ends: Vec<(Duration, u64)> = publications
        .iter()
        .filter_map(|each| each.acknowledged.map(|promised| (promised.at, promised.offset)))
        .collect();
    ends.sort_unstable();
    let mut begins: Vec<&Publication> = publications.iter().collect();
    begins.sort_by_key(|publication| publication.sent);
    let (mut ends, mut behind) = (ends.into_iter().peekable(), 0);
    for publication in begins {
        while let Some((_, offset)) = ends.next_if(|(at, _)| *at < publication.sent) {
            behind = behind.max(offset + 1);
        }
        let (session, sequence) = (publication.session, publication.sequence);
        if places.get(&(session, sequence)).is_some_and(|(offset, _)| *offset < behind) {
            return Err(Violation::RealTime { session, sequence });
        }
    }
    Ok(())
}

fn sequence_of(message: &Message) -> Option<u64> {
    message.data.as_ref()?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

mod tests {
    use super::*;

    const ONE: SessionId = SessionId::from_bytes([1; 16]);
    const OTHER: SessionId = SessionId::from_bytes([2; 16]);

    fn topic() -> Name {
        Name::new("t").expect("a topic")
    }

    fn publication(session: SessionId, sequence: u64, sent: u64, acknowledged: Option<(u64, u64, u64)>) -> Publication {
        let acknowledged = acknowledged.map(|(at, offset, number)| {
            let at = Duration::from_millis(at);
            Acknowledged { at, offset, number }
        });
        Publication { session, sequence, topic: topic(), sent: Duration::from_millis(sent), acknowledged }
    }

    fn message(offset: u64, number: u64, origin: SessionId, sequence: u64) -> Message {
        let data = Some(sequence.to_be_bytes().to_vec());
        Message { offset, name: topic(), number, origin, time_s: 9, data }
    }

    fn told(by: &str, messages: &[Message]) -> Told {
        let reached = messages.last().map_or(0, |last| last.offset + 1);
        Told { by: by.to_owned(), messages: messages.to_vec(), reached, refused: Vec::new() }
    }

    /// Three messages of two sessions, with a place in between that belongs to somebody else.
    fn good() -> (Vec<Publication>, Vec<Message>) {
        let publications = vec![
            publication(ONE, 1, 10, Some((20, 3, 0))),
            publication(OTHER, 1, 15, None),
            publication(ONE, 2, 30, Some((40, 6, 2))),
            publication(OTHER, 2, 50, None),
        ];
        (publications, vec![message(3, 0, ONE, 1), message(4, 1, OTHER, 1), message(6, 2, ONE, 2)])
    }

    fn found(publications: &[Publication], messages: &[Message]) -> Violation {
        check(publications, &[told("a", messages)]).expect_err("a promise is broken")
    }

    #[test]
    fn a_good_history_is_good_as_far_as_each_follower_came() {
        let (publications, messages) = good();
        let followers = [told("a", &messages), told("b", &messages[..1]), told("c", &[])];
        assert_eq!(check(&publications, &followers), Ok(3));
    }

    #[test]
    fn a_lost_acknowledgement_is_found() {
        let (publications, messages) = good();
        let lost = Violation::NotAsAcknowledged { session: ONE, sequence: 2, offset: 6 };
        assert_eq!(found(&publications, &messages[..2]), lost);
        let (mut publications, messages) = good();
        publications[2] = publication(ONE, 2, 30, Some((40, 7, 2)));
        assert!(matches!(found(&publications, &messages), Violation::NotAsAcknowledged { offset: 7, .. }));
    }

    #[test]
    fn a_message_that_counts_twice_is_found() {
        let (publications, mut messages) = good();
        messages.push(message(8, 3, OTHER, 1));
        assert_eq!(found(&publications, &messages), Violation::Twice { session: OTHER, sequence: 1 });
    }

    #[test]
    fn a_gap_is_found_in_the_numbers_and_between_followers() {
        let (publications, mut messages) = good();
        let short = [messages[0].clone(), messages[2].clone()];
        let followers = [told("a", &messages), told("b", &short)];
        assert_eq!(check(&publications, &followers), Err(Violation::Missing { by: "b".to_owned(), offset: 4 }));
        let mut early = told("b", &messages[..2]);
        early.reached = 9;
        let followers = [told("a", &messages), early];
        assert_eq!(check(&publications, &followers), Err(Violation::Missing { by: "b".to_owned(), offset: 6 }));
        // One that was said is none.
        let mut said = told("b", &messages[2..]);
        said.refused.push(0..5);
        assert_eq!(check(&publications, &[told("a", &messages), said.clone()]), Ok(3));
        said.refused.clear();
        said.refused.push(0..4);
        let missing = Violation::Missing { by: "b".to_owned(), offset: 4 };
        assert_eq!(check(&publications, &[told("a", &messages), said]), Err(missing));
        messages.remove(1);
        let gap = Violation::Gap { topic: "t".to_owned(), expected: 1, found: 2 };
        assert_eq!(found(&publications, &messages), gap);
    }

    #[test]
    fn two_orders_are_found() {
        let (publications, messages) = good();
        let swapped = [message(3, 0, OTHER, 1), message(4, 1, ONE, 1), messages[2].clone()];
        let followers = [told("a", &messages), told("b", &swapped)];
        let told = Box::new([messages[0].clone(), swapped[0].clone()]);
        assert_eq!(check(&publications, &followers), Err(Violation::Differs { by: "b".to_owned(), told }));
        let back = [messages[1].clone(), messages[0].clone()];
        assert_eq!(found(&publications, &back), Violation::NotRising { by: "a".to_owned(), offset: 3 });
    }

    #[test]
    fn what_nobody_said_is_found() {
        let (publications, mut messages) = good();
        messages[1].data = Some(b"other".to_vec());
        assert_eq!(found(&publications, &messages), Violation::Unknown { offset: 4 });
        messages[1] = message(4, 1, OTHER, 3);
        assert_eq!(found(&publications, &messages), Violation::Unknown { offset: 4 });
    }

    #[test]
    fn a_session_and_time_that_go_back_are_found() {
        let (mut publications, mut messages) = good();
        messages.insert(2, message(5, 2, OTHER, 2));
        messages[3].number = 3;
        publications[2] = publication(ONE, 2, 30, Some((40, 6, 3)));
        assert_eq!(found(&publications, &messages), Violation::RealTime { session: OTHER, sequence: 2 });
        messages.swap(1, 2);
        messages[1].offset = 4;
        messages[2].offset = 5;
        messages[1].number = 1;
        messages[2].number = 2;
        assert_eq!(found(&publications, &messages), Violation::SessionOrder { session: OTHER, sequence: 1 });
    }
}
