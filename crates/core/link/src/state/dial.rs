//! The initiator's side of a link: whom it dials, how often, with what.

use crate::admission::SECRET_LIFETIME;
use crate::config::Parameters;
use crate::door::{COOKIE_LEN, Cookie, Tag};
use crate::handshake::{Initiation, Local};
use crate::route::Via;
use crate::schedule::DayKeys;
use identity::DoorKey;
use rand_chacha::rand_core::Rng;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Wait after the first message 1; doubles with each.
const BACKOFF_FIRST: Duration = Duration::from_millis(300);
/// Longest wait, without the random part of up to a third: 1.5 s in all. Flows are to work within 2 s of the return of a
/// network that was away for however long, and between two tries nothing tells that it is back. Peers that all dial a
/// restarted node at once are met by cookies, not by long waits.
const BACKOFF_MAX: Duration = Duration::from_millis(1125);
/// Messages 1 without an answer until the caller is told.
const UNANSWERED_MAX: u32 = 5;

/// A dial goes on until the link is closed.
pub(crate) struct Dial {
    /// The socket that it leaves from.
    pub(crate) via: Via,
    pub(crate) address: SocketAddr,
    /// The key that it has for itself; none: the endpoint's.
    pub(crate) own: Option<Local>,
    pub(crate) door_key: DoorKey,
    pub(crate) parameters: Parameters,
    /// When the next message 1 may go out.
    pub(crate) next_at: Instant,
    /// The newest message 1; a later one replaces it.
    pub(crate) pending: Option<Box<PendingDoor>>,
    /// True while the peer's own dial carries the link.
    pub(crate) parked: bool,
    tries: u32,
    cookie: Option<(Cookie, Instant)>,
    /// A cookie reply brings the next try forward, but only once a back-off step: forged ones must not keep a
    /// handshake from its message 2.
    cookie_honoured: bool,
    hastened: bool,
}

/// A message 1 that waits for its message 2.
pub(crate) struct PendingDoor {
    pub(crate) initiation: Initiation,
    pub(crate) keys: DayKeys,
    pub(crate) tag: Tag,
    pub(crate) sent_at: Instant,
    pub(crate) reads_left: u8,
}

impl Dial {
    pub(crate) fn new(now: Instant, address: SocketAddr, door_key: DoorKey, parameters: Parameters) -> Self {
        Self {
            via: Via::DOOR,
            address,
            own: None,
            door_key,
            parameters,
            next_at: now,
            pending: None,
            parked: false,
            tries: 0,
            cookie: None,
            cookie_honoured: false,
            hastened: false,
        }
    }

    /// Begins again at the shortest wait, with a try at once.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.next_at = now;
        self.tries = 0;
        self.hastened = false;
    }

    /// A message 1 goes out now; true when the caller should learn that nobody answers.
    pub(crate) fn count_try(&mut self, now: Instant, rng: &mut impl Rng) -> bool {
        let wait = BACKOFF_FIRST.saturating_mul(1 << self.tries.min(8)).min(BACKOFF_MAX);
        let jitter = wait / 3 * (rng.next_u32() >> 16) / (1 << 16);
        self.next_at = now + wait + jitter;
        self.tries = self.tries.saturating_add(1);
        self.cookie_honoured = std::mem::take(&mut self.hastened);
        self.tries == UNANSWERED_MAX
    }

    /// The cookie for the next message 1; zeros when there is none.
    pub(crate) fn cookie(&self, now: Instant) -> Cookie {
        let fresh = self.cookie.filter(|(_, since)| now.saturating_duration_since(*since) < SECRET_LIFETIME);
        fresh.map_or([0; COOKIE_LEN], |(cookie, _)| cookie)
    }

    /// Takes a cookie reply to the newest message 1.
    pub(crate) fn handle_cookie(&mut self, now: Instant, cookie: Cookie) {
        self.cookie = Some((cookie, now));
        if !self.cookie_honoured {
            self.next_at = now;
            self.tries = self.tries.saturating_sub(1);
            self.hastened = true;
            self.cookie_honoured = true;
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn dial(now: Instant) -> Dial {
        Dial::new(now, SocketAddr::from(([192, 0, 2, 1], 1)), DoorKey::from_bytes([1; 32]), [0; 7])
    }

    #[test]
    fn waits_double_up_to_a_second_and_a_half_and_go_on() {
        let (mut now, mut rng) = (Instant::now(), ChaCha20Rng::from_seed([1; 32]));
        let mut dial = dial(now);
        let mut told = 0;
        for try_number in 0..1000 {
            told += u32::from(dial.count_try(now, &mut rng));
            let wait = dial.next_at - now;
            let least = Duration::from_millis((300 << try_number.min(6)).min(1125));
            assert!(wait >= least && wait <= least * 4 / 3, "{try_number}: {wait:?}");
            now = dial.next_at;
        }
        assert_eq!(told, 1, "the caller is told once");
        dial.restart(now);
        assert_eq!(dial.next_at, now);
    }

    #[test]
    fn a_cookie_hastens_one_try_and_grows_old() {
        let (now, mut rng) = (Instant::now(), ChaCha20Rng::from_seed([1; 32]));
        let mut dial = dial(now);
        dial.count_try(now, &mut rng);
        dial.handle_cookie(now, [7; 16]);
        assert_eq!((dial.next_at, dial.cookie(now)), (now, [7; 16]));
        dial.count_try(now, &mut rng);
        let next = dial.next_at;
        dial.handle_cookie(now, [8; 16]);
        assert_eq!(dial.next_at, next, "once a back-off step");
        dial.count_try(next, &mut rng);
        dial.handle_cookie(next, [9; 16]);
        assert_eq!(dial.next_at, next, "the next step may be hastened again");
        assert_eq!(dial.cookie(next + SECRET_LIFETIME), [0; 16]);
    }
}
