//! Remembers accepted ephemeral keys for as long as a message 1 with them could be opened, and recent answers.

use crate::door::{Tag, accepted_days};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Ephemeral keys remembered at most (about 5 MB). When full, everybody is asked for a cookie, and the oldest goes:
/// a message 1 that was recorded before carries no cookie that is still good.
pub(crate) const EPHEMERALS_MAX: usize = 65_536;
/// How long the same bytes are answered again.
pub(crate) const ANSWER_LIFETIME: Duration = Duration::from_secs(10);
/// Answers kept at most (about 0.7 MB). When full, the oldest goes: its message 1, if repeated, meets silence.
pub(crate) const ANSWERS_MAX: usize = 512;

type Ephemeral = [u8; 32];

/// The replay filter of message 1.
pub(crate) struct Replays {
    /// Ephemeral key and the day whose seal key its message was made with.
    seen: BTreeMap<Ephemeral, u32>,
    /// The same keys, oldest first.
    order: VecDeque<Ephemeral>,
    answers: VecDeque<Answer>,
    purged_day: u32,
}

struct Answer {
    ephemeral: Ephemeral,
    tag: Tag,
    from: SocketAddr,
    at: Instant,
    packet: Vec<u8>,
}

/// What an ephemeral key that came before leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cached<'a> {
    /// The same packet from the same place, just now: this was its answer.
    Answer(&'a [u8]),
    /// Anything else: silence.
    Nothing,
}

impl Replays {
    pub(crate) fn new() -> Self {
        Self { seen: BTreeMap::new(), order: VecDeque::new(), answers: VecDeque::new(), purged_day: 0 }
    }

    /// True when nothing more can be remembered without forgetting.
    pub(crate) fn is_full(&self) -> bool {
        self.seen.len() >= EPHEMERALS_MAX
    }

    /// Forgets keys whose messages no longer open. Cheap unless the day changed.
    pub(crate) fn purge(&mut self, today: u32) {
        if self.purged_day == today {
            return;
        }
        self.purged_day = today;
        let days = accepted_days(today);
        self.seen.retain(|_, day| days.contains(day));
        let seen = &self.seen;
        self.order.retain(|key| seen.contains_key(key));
    }

    /// None for an ephemeral key that was never accepted.
    pub(crate) fn look_up(
        &self,
        now: Instant,
        ephemeral: &Ephemeral,
        tag: &Tag,
        from: SocketAddr,
    ) -> Option<Cached<'_>> {
        self.seen.get(ephemeral)?;
        let fresh = |answer: &&Answer| now.saturating_duration_since(answer.at) < ANSWER_LIFETIME;
        let same = |answer: &&Answer| answer.ephemeral == *ephemeral && answer.tag == *tag && answer.from == from;
        let answer = self.answers.iter().rev().take_while(fresh).find(same);
        Some(answer.map_or(Cached::Nothing, |answer| Cached::Answer(&answer.packet)))
    }

    /// Remembers an accepted key.
    pub(crate) fn remember(&mut self, ephemeral: Ephemeral, day: u32) {
        if self.seen.insert(ephemeral, day).is_some() {
            return;
        }
        self.order.push_back(ephemeral);
        if self.order.len() > EPHEMERALS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }

    /// Keeps the answer that was given to a message 1.
    pub(crate) fn keep_answer(
        &mut self,
        now: Instant,
        ephemeral: Ephemeral,
        tag: Tag,
        from: SocketAddr,
        packet: Vec<u8>,
    ) {
        while self.answers.front().is_some_and(|old| now.saturating_duration_since(old.at) >= ANSWER_LIFETIME)
            || self.answers.len() >= ANSWERS_MAX
        {
            self.answers.pop_front();
        }
        self.answers.push_back(Answer { ephemeral, tag, from, at: now, packet });
    }

    /// Keys remembered.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;

    fn key(number: u32) -> Ephemeral {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn an_answer_is_repeated_to_the_same_packet_from_the_same_place_for_ten_seconds() {
        let (now, here) = (Instant::now(), SocketAddr::from(([192, 0, 2, 1], 1)));
        let mut replays = Replays::new();
        replays.remember(key(1), 100);
        replays.keep_answer(now, key(1), [1; 16], here, vec![7]);
        let again = |seconds, tag, from| {
            let at = now + Duration::from_secs(seconds);
            replays.look_up(at, &key(1), &[tag; 16], from).expect("a known key")
        };
        assert_eq!(again(9, 1, here), Cached::Answer(&[7]));
        assert_eq!(again(10, 1, here), Cached::Nothing, "later");
        assert_eq!(again(0, 2, here), Cached::Nothing, "other bytes");
        assert_eq!(again(0, 1, SocketAddr::from(([192, 0, 2, 1], 2))), Cached::Nothing, "another port");
        assert_eq!(replays.look_up(now, &key(2), &[1; 16], here), None);
    }

    #[test]
    fn keys_are_remembered_while_their_message_opens_and_no_longer() {
        let (now, here) = (Instant::now(), SocketAddr::from(([192, 0, 2, 1], 1)));
        let mut replays = Replays::new();
        replays.remember(key(1), 100);
        for (today, known) in [(99, true), (100, true), (101, true), (102, false)] {
            replays.purge(today);
            assert_eq!(replays.look_up(now, &key(1), &[1; 16], here).is_some(), known, "day {today}");
        }
        assert_eq!(replays.len(), 0);
    }

    #[test]
    fn it_is_bounded() {
        let (now, here) = (Instant::now(), SocketAddr::from(([192, 0, 2, 1], 1)));
        let mut replays = Replays::new();
        for number in 0..EPHEMERALS_MAX as u32 + 10 {
            replays.remember(key(number), 100);
            replays.remember(key(number), 100);
            replays.keep_answer(now, key(number), [1; 16], here, vec![7]);
        }
        assert!(replays.is_full());
        assert_eq!((replays.seen.len(), replays.order.len()), (EPHEMERALS_MAX, EPHEMERALS_MAX));
        assert_eq!(replays.answers.len(), ANSWERS_MAX);
        assert_eq!(replays.look_up(now, &key(9), &[1; 16], here), None, "the oldest went");
    }
}
