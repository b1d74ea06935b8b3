//! Where a link's packets go: the last address that proved itself, and one that has yet to
//! (docs/spec/link.md, "Roaming").

use crate::route::Route;
use std::time::{Duration, Instant};

/// Bytes of a challenge.
pub(crate) const CHALLENGE_LEN: usize = 8;
/// Bytes that prove an address when they come back.
pub(crate) type Challenge = [u8; CHALLENGE_LEN];
/// Least time that an address has to prove itself; three round trips if that is longer.
const PROOF_TIME: Duration = Duration::from_secs(2);
/// How long an address that did not prove itself is not looked at again.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// One slot of this many goes to the unproven address.
const SLOTS_A_CHALLENGE: u8 = 3;
/// Time between challenges where there are no slots.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(100);
/// Challenges of the peer waiting for their answer. When full, the older one goes: it is overtaken.
const ANSWERS_MAX: usize = 2;

/// A route, and the hop that packets on it are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) route: Route,
    pub(crate) hop: u64,
}

/// The far address of one link.
pub(crate) struct Path {
    valid: Place,
    candidate: Option<Candidate>,
    refused: Option<(Route, Instant)>,
    answers: Vec<Challenge>,
}

struct Candidate {
    place: Place,
    challenge: Challenge,
    until: Instant,
    next: Instant,
    /// Packets that went to the valid address since the last challenge.
    others: u8,
}

impl Path {
    pub(crate) fn new(valid: Place) -> Self {
        Self { valid, candidate: None, refused: None, answers: Vec::new() }
    }

    /// Where everything but a challenge goes.
    pub(crate) fn route(&self) -> Route {
        self.valid.route
    }

    /// The same, with the hop.
    pub(crate) fn place(&self) -> Place {
        self.valid
    }

    /// The peer has answered on this place: everything goes there.
    pub(crate) fn set_valid(&mut self, place: Place) {
        self.valid = place;
        self.candidate = None;
    }

    /// The newest authenticated packet came from here. `challenge` is used if this is a new candidate.
    pub(crate) fn heard(&mut self, now: Instant, rtt: Duration, from: Place, challenge: impl FnOnce() -> Challenge) {
        if from.route == self.valid.route {
            // A hop between the same ports has nothing to prove.
            self.set_valid(from);
            return;
        }
        let known = self.candidate.as_ref().is_some_and(|candidate| candidate.place == from);
        let refused = self.refused.is_some_and(|(route, until)| route == from.route && now < until);
        if !known && !refused {
            let until = now + PROOF_TIME.max(3 * rtt);
            let others = SLOTS_A_CHALLENGE - 1;
            self.candidate = Some(Candidate { place: from, challenge: challenge(), until, next: now, others });
        }
    }

    /// The peer sent these bytes back; the new place if they prove one.
    pub(crate) fn handle_answer(&mut self, answer: &Challenge) -> Option<Place> {
        let proven = self.candidate.take_if(|candidate| candidate.challenge == *answer)?;
        self.valid = proven.place;
        Some(self.valid)
    }

    /// Gives up on a candidate whose time is over.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(late) = self.candidate.take_if(|candidate| now >= candidate.until) {
            self.refused = Some((late.place.route, now + REFUSED_FOR));
        }
    }

    /// When [`Path::handle_timeout`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.candidate.as_ref().map(|candidate| candidate.until)
    }

    /// When a challenge may go out, where there are no slots.
    pub(crate) fn challenge_due(&self) -> Option<Instant> {
        self.candidate.as_ref().map(|candidate| candidate.next)
    }

    /// A challenge and where it goes, if this slot is one for it.
    pub(crate) fn poll_challenge(&mut self, now: Instant, gridded: bool) -> Option<(Challenge, Place)> {
        let candidate = self.candidate.as_mut()?;
        let due = if gridded { candidate.others + 1 >= SLOTS_A_CHALLENGE } else { now >= candidate.next };
        if !due || now >= candidate.until {
            return None;
        }
        candidate.others = 0;
        candidate.next = now + CHALLENGE_INTERVAL;
        Some((candidate.challenge, candidate.place))
    }

    /// A packet went to the valid address.
    #[inline]
    pub(crate) fn count_sent(&mut self) {
        if let Some(candidate) = &mut self.candidate {
            candidate.others = (candidate.others + 1).min(SLOTS_A_CHALLENGE);
        }
    }

    /// The peer wants these bytes back.
    pub(crate) fn handle_challenge(&mut self, challenge: Challenge) {
        if self.answers.contains(&challenge) {
            return;
        }
        if self.answers.len() >= ANSWERS_MAX {
            self.answers.remove(0);
        }
        self.answers.push(challenge);
    }

    /// True when an answer waits.
    pub(crate) fn owes_answer(&self) -> bool {
        !self.answers.is_empty()
    }

    /// An answer that is owed.
    pub(crate) fn poll_answer(&mut self) -> Option<Challenge> {
        self.answers.pop()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn address(port: u16) -> Place {
        Place { route: std::net::SocketAddr::from(([192, 0, 2, 1], port)).into(), hop: 0 }
    }

    #[test]
    fn one_slot_of_three_goes_to_a_candidate_until_it_answers() {
        let now = Instant::now();
        let mut path = Path::new(address(1));
        path.heard(now, RTT, address(2), || [7; 8]);
        let mut slots = Vec::new();
        for _ in 0..7 {
            match path.poll_challenge(now, true) {
                Some((challenge, to)) => {
                    assert_eq!((challenge, to), ([7; 8], address(2)));
                    slots.push('c');
                }
                None => {
                    path.count_sent();
                    slots.push('.');
                }
            }
        }
        assert_eq!(slots.into_iter().collect::<String>(), "c..c..c");
        assert_eq!(path.handle_answer(&[8; 8]), None, "other bytes prove nothing");
        assert_eq!(path.place(), address(1));
        assert_eq!(path.handle_answer(&[7; 8]), Some(address(2)));
        assert_eq!(path.place(), address(2));
        assert_eq!(path.poll_challenge(now, true), None);
    }

    #[test]
    fn a_candidate_is_dropped_when_the_peer_speaks_from_its_old_place() {
        let now = Instant::now();
        let mut path = Path::new(address(1));
        path.heard(now, RTT, address(2), || [7; 8]);
        path.heard(now, RTT, address(1), || [8; 8]);
        assert_eq!(path.poll_challenge(now, true), None);
        assert_eq!(path.handle_answer(&[7; 8]), None);
    }

    #[test]
    fn a_candidate_that_stays_silent_is_refused_for_a_while() {
        let now = Instant::now();
        let mut path = Path::new(address(1));
        path.heard(now, RTT, address(2), || [7; 8]);
        let late = path.deadline().expect("a candidate");
        assert_eq!(late, now + PROOF_TIME);
        path.handle_timeout(late);
        path.heard(late, RTT, address(2), || [8; 8]);
        assert_eq!(path.deadline(), None, "refused");
        path.heard(late, RTT, address(3), || [9; 8]);
        assert!(path.deadline().is_some(), "another one is looked at");
        path.heard(late + REFUSED_FOR, RTT, address(2), || [8; 8]);
        assert_eq!(path.poll_challenge(late + REFUSED_FOR, false), Some(([8; 8], address(2))));
    }

    #[test]
    fn answers_are_bounded_and_the_newest_goes_first() {
        let mut path = Path::new(address(1));
        for byte in [1, 2, 2, 3] {
            path.handle_challenge([byte; 8]);
        }
        assert_eq!([path.poll_answer(), path.poll_answer(), path.poll_answer()], [Some([3; 8]), Some([2; 8]), None]);
    }
}
