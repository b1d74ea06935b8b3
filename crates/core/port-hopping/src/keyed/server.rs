//! The server's side in one value: what a datagram is, and what is to be done about it.

use super::admission::Admission;
use super::knock::{FlowId, KNOCK_LEN_MAX, KNOCK_LEN_MIN, KnockKeys, Purpose};
use super::replays::Replays;
use super::schedule::Window;
use crate::pair::Pair;
use identity::HopKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::{Duration, Instant};

/// What a datagram that came on an open port is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram {
    /// A packet of a flow, to be sent to the target as it is.
    Forward(FlowId),
    /// A knock; the answer goes back on the same pair.
    Answer {
        /// Whose pair it is.
        flow: FlowId,
        /// True if the flow is a new one and needs a socket towards the target.
        new_flow: bool,
        /// What to send.
        answer: Vec<u8>,
    },
    /// Anything else; nothing is done and nothing sent.
    Silent,
}

/// Tells knocks from packets of users and from everything else, and keeps the table of pairs that may pass.
///
/// Methods: [`Server::handle_datagram`] for what comes, [`Server::admission_mut`] for what goes, for expiry, and for every
/// port that the shell closes because [`super::Schedule::open_at`] does not have it any more.
#[derive(Debug)]
pub struct Server {
    keys: KnockKeys,
    replays: Replays,
    admission: Admission,
    rng: ChaCha20Rng,
}

impl Server {
    /// A server without flows. `seed` comes from a cryptographic random source.
    pub fn new(key: &HopKey, idle_timeout: Duration, seed: [u8; 32]) -> Self {
        let (keys, admission) = (KnockKeys::new(key), Admission::new(idle_timeout));
        Self { keys, replays: Replays::default(), admission, rng: ChaCha20Rng::from_seed(seed) }
    }

    /// Says what a datagram is. `unix` is the time since 1970 UTC; it may jump, `now` may not.
    ///
    pub fn handle_datagram(&mut self, now: Instant, unix: Duration, pair: Pair, datagram: &[u8]) -> Datagram {
        self.handle_datagrams(now, unix, pair, datagram, 1)
    }

    /// The same for several that came on one pair at once and are all longer than [`KNOCK_LEN_MAX`]; `datagram` is any of them.
    pub fn handle_datagrams(
        &mut self,
        now: Instant,
        unix: Duration,
        pair: Pair,
        datagram: &[u8],
        count: u64,
    ) -> Datagram {
        if (KNOCK_LEN_MIN..=KNOCK_LEN_MAX).contains(&datagram.len())
            && let Some((knock, window, nonce)) = self.keys.open_knock(unix, datagram)
        {
            // Counts are asked for often, and their numbers rise: they need no place among the nonces.
            let new_flow = match knock.purpose {
                Purpose::Count(number) if self.admission.accept_count(now, &pair, knock.flow, number) => false,
                Purpose::Try | Purpose::Take if self.replays.accept(Window::at(unix), window, nonce) => {
                    self.admission.admit(now, pair, knock.flow, knock.purpose).new_flow
                }
                _ => return Datagram::Silent,
            };
            let counts = self.admission.counts(&pair);
            let answer = self.keys.seal_answer(unix, (window, nonce), datagram.len(), counts, &mut self.rng);
            return Datagram::Answer { flow: knock.flow, new_flow, answer };
        }
        self.admission.note_received(now, &pair, count).map_or(Datagram::Silent, Datagram::Forward)
    }

    /// The pairs that may pass.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The pairs that may pass, to touch, to close and to expire.
    pub fn admission_mut(&mut self) -> &mut Admission {
        &mut self.admission
    }
}

#[cfg(test)]
mod tests {
    use super::super::knock::Knock;
    use super::*;

    const UNIX: Duration = Duration::from_secs(1_800_000_000);

    fn pair(remote: u16) -> Pair {
        Pair { local: ([192, 0, 2, 1], 5).into(), remote: ([198, 51, 100, 1], remote).into() }
    }

    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn server() -> (Server, KnockKeys, ChaCha20Rng, Instant) {
        let key = HopKey::from_bytes([7; 32]);
        let server = Server::new(&key, Duration::from_secs(60), [1; 32]);
        (server, KnockKeys::new(&key), ChaCha20Rng::seed_from_u64(1), Instant::now())
    }

    #[test]
    fn a_pair_passes_after_its_knock_and_no_other_does() {
        let (mut server, mut keys, mut rng, now) = server();
        let flow = FlowId([1; 8]);
        assert_eq!(server.handle_datagram(now, UNIX, pair(1), b"early"), Datagram::Silent);
        let knock = keys.seal_knock(UNIX, Knock { flow, purpose: Purpose::Try }, &mut rng);
        let answered = server.handle_datagram(now, UNIX, pair(1), &knock.datagram);
        let Datagram::Answer { flow: named, new_flow: true, answer } = answered else { panic!("{answered:?}") };
        assert_eq!(named, flow);
        assert!(keys.open_answer(&knock, &answer).is_some());
        for length in [0, 1, 64, 100, 256, 1452] {
            assert_eq!(server.handle_datagram(now, UNIX, pair(1), &vec![0x17; length]), Datagram::Forward(flow));
            assert_eq!(server.handle_datagram(now, UNIX, pair(2), &vec![0x17; length]), Datagram::Silent);
        }
        assert_eq!(server.handle_datagram(now, UNIX, pair(2), &knock.datagram), Datagram::Silent, "a replay");
    }

    #[test]
    fn counts_are_told_on_the_pair_that_passes_and_on_no_other() {
        let (mut server, mut keys, mut rng, now) = server();
        let flow = FlowId([1; 8]);
        let count = |keys: &mut KnockKeys, rng: &mut ChaCha20Rng, number| {
            keys.seal_knock(UNIX, Knock { flow, purpose: Purpose::Count(number) }, rng)
        };
        let early = count(&mut keys, &mut rng, 1);
        assert_eq!(
            server.handle_datagram(now, UNIX, pair(1), &early.datagram),
            Datagram::Silent,
            "it lets nothing pass"
        );
        let knock = keys.seal_knock(UNIX, Knock { flow, purpose: Purpose::Try }, &mut rng);
        server.handle_datagram(now, UNIX, pair(1), &knock.datagram);
        server.handle_datagrams(now, UNIX, pair(1), &[0; 1_200], 40);
        server.admission_mut().note_sent(now, &pair(1), 3);
        let asked = count(&mut keys, &mut rng, 1);
        assert_eq!(server.handle_datagram(now, UNIX, pair(2), &asked.datagram), Datagram::Silent);
        let told = server.handle_datagram(now, UNIX, pair(1), &asked.datagram);
        let Datagram::Answer { new_flow: false, answer, .. } = told else { panic!("{told:?}") };
        let counts = keys.open_answer(&asked, &answer).map(|answer| answer.counts);
        assert_eq!(counts.map(|counts| (counts.received, counts.sent)), Some((40, 3)));
        assert_eq!(server.handle_datagram(now, UNIX, pair(1), &asked.datagram), Datagram::Silent, "a replay");
        // However often counts are asked for, there is room for knocks.
        for number in 2..20_000 {
            let asked = count(&mut keys, &mut rng, number);
            let told = server.handle_datagram(now, UNIX, pair(1), &asked.datagram);
            assert!(matches!(told, Datagram::Answer { .. }));
        }
        let knock = keys.seal_knock(UNIX, Knock { flow, purpose: Purpose::Take }, &mut rng);
        assert!(matches!(server.handle_datagram(now, UNIX, pair(2), &knock.datagram), Datagram::Answer { .. }));
    }

    #[test]
    fn ten_thousand_strangers_get_no_byte_and_take_no_room() {
        let (mut server, _, mut rng, now) = server();
        server.admission_mut().admit(now, pair(1), FlowId([1; 8]), Purpose::Take);
        for stranger in 0..10_000u16 {
            let mut datagram = vec![0; usize::from(stranger % 300)];
            rand_chacha::rand_core::Rng::fill_bytes(&mut rng, &mut datagram);
            let told = server.handle_datagram(now, UNIX, pair(stranger.wrapping_add(1_000)), &datagram);
            assert_eq!(told, Datagram::Silent);
        }
        assert_eq!(server.admission().len(), 1);
        assert_eq!(server.handle_datagram(now, UNIX, pair(1), b"user"), Datagram::Forward(FlowId([1; 8])));
    }
}
