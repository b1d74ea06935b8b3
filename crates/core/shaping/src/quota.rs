//! The quota: at most Delta bytes of a client are let through in an epoch, so that a client moves an epoch's count by at
//! most Delta. This is what makes the sensitivity a fact and not a hope (invariant I3).
//!
//! It is not a token bucket: one with burst Delta lets Delta through before and Delta after a moment, twice as much in
//! a window of one epoch, wherever the window lies.

use std::collections::BTreeMap;

/// Most clients that have a bucket of their own in one epoch; further ones share one. About 0.4 MB when full.
pub const CLIENTS_MAX: usize = 8_192;

/// Who a flow belongs to, as the node that counts knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNumber(pub u64);

/// What each client has used of its Delta in the present epoch.
///
/// Clients beyond [`CLIENTS_MAX`], in the order in which they first send in an epoch, share one bucket of Delta. What a
/// client changes still moves the *sum* by at most Delta, even though its coming or going can move another client from
/// the shared bucket to one of its own: what that one gains there, the others of the shared bucket do not gain
/// as well. (Let f(x) = min(x, Delta), the client's bytes be x in one world and x' in the other, and B the client that
/// takes its place. The sums differ by -f(x) + f(B) + f(rest + x') - f(rest + B). That is at most Delta, because
/// f(B) <= f(rest + B), and at least -Delta, because f(rest + B) <= f(rest) + f(B).) What suffers is speed: those who share
/// have one Delta between them.
///
/// Nothing is remembered over an edge. Buckets kept for known clients would let one epoch's presence show in the next.
#[derive(Debug, Clone)]
pub struct Quota {
    delta_bytes: u64,
    clients_max: usize,
    used: BTreeMap<ClientNumber, u64>,
    shared: u64,
}

impl Quota {
    /// A quota of `delta_bytes` per client and epoch.
    pub fn new(delta_bytes: u64) -> Self {
        Self::with_clients_max(delta_bytes, CLIENTS_MAX)
    }

    fn with_clients_max(delta_bytes: u64, clients_max: usize) -> Self {
        Self { delta_bytes, clients_max, used: BTreeMap::new(), shared: 0 }
    }

    /// Delta in bytes.
    pub fn delta_bytes(&self) -> u64 {
        self.delta_bytes
    }

    /// Bytes that [`Quota::admit`] would let through now if the client wanted them.
    pub fn room(&self, client: ClientNumber) -> u64 {
        let used = match self.used.get(&client) {
            Some(&used) => used,
            None if self.used.len() < self.clients_max => 0,
            None => self.shared,
        };
        self.delta_bytes - used
    }

    /// Lets through as many of the `wanted` bytes as the client may still send in this epoch.
    pub fn admit(&mut self, client: ClientNumber, wanted: u64) -> u64 {
        let admitted = wanted.min(self.room(client));
        if admitted == 0 {
            return 0;
        }
        let own = self.used.contains_key(&client) || self.used.len() < self.clients_max;
        let bucket = if own { self.used.entry(client).or_insert(0) } else { &mut self.shared };
        *bucket += admitted;
        admitted
    }

    /// Begins the next epoch: every client has all of Delta again. Call it when the count of an epoch is closed, and
    /// only then.
    pub fn start_epoch(&mut self) {
        self.used.clear();
        self.shared = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DELTA: u64 = 100;

    fn client(number: u8) -> ClientNumber {
        ClientNumber(u64::from(number))
    }

    proptest! {
        #[test]
        fn no_client_gets_more_than_delta_in_an_epoch(
            wishes in proptest::collection::vec((0u8..6, 0u64..3 * DELTA, proptest::bool::weighted(0.1)), 1..200),
        ) {
            let mut quota = Quota::new(DELTA);
            let mut sums = BTreeMap::new();
            for (number, wanted, edge) in wishes {
                if edge {
                    quota.start_epoch();
                    sums.clear();
                }
                let room = quota.room(client(number));
                let admitted = quota.admit(client(number), wanted);
                prop_assert_eq!(admitted, wanted.min(room));
                let sum = sums.entry(number).or_insert(0);
                *sum += admitted;
                prop_assert!(*sum <= DELTA);
                prop_assert_eq!(quota.room(client(number)), DELTA - *sum, "and it may have all of it");
            }
        }

        /// Any change of one client, with fewer buckets than clients.
        #[test]
        fn a_full_table_keeps_the_sensitivity(
            others in proptest::collection::vec((1u8..6, 1u64..2 * DELTA), 0..30),
            one in proptest::collection::vec((0usize..30, 1u64..2 * DELTA), 0..5),
            other in proptest::collection::vec((0usize..30, 1u64..2 * DELTA), 0..5),
            buckets in 1usize..4,
        ) {
            let count = |changed: &[(usize, u64)]| {
                let mut stream: Vec<_> = others.iter().map(|&(number, bytes)| (client(number), bytes)).collect();
                for &(at, bytes) in changed {
                    stream.insert(at.min(stream.len()), (client(0), bytes));
                }
                let mut quota = Quota::with_clients_max(DELTA, buckets);
                stream.into_iter().map(|(who, bytes)| quota.admit(who, bytes)).sum::<u64>()
            };
            prop_assert!(count(&one).abs_diff(count(&other)) <= DELTA);
        }
    }

    #[test]
    fn clients_beyond_the_bound_share_one_bucket_and_those_within_keep_theirs() {
        let mut quota = Quota::with_clients_max(DELTA, 2);
        assert_eq!([quota.admit(client(1), 60), quota.admit(client(2), 60)], [60, 60]);
        assert_eq!([quota.admit(client(3), 60), quota.admit(client(4), 60)], [60, 40], "one Delta between them");
        assert_eq!((quota.room(client(3)), quota.room(client(9))), (0, 0));
        assert_eq!([quota.admit(client(1), 60), quota.admit(client(2), 60)], [40, 40], "who was there is not touched");
        quota.start_epoch();
        assert_eq!([quota.admit(client(4), 60), quota.admit(client(3), 60)], [60, 60], "an epoch remembers nothing");
        assert_eq!(quota.admit(client(1), 2 * DELTA), DELTA, "nor does the shared bucket");
    }

    #[test]
    fn who_wants_nothing_takes_no_bucket() {
        let mut quota = Quota::with_clients_max(DELTA, 1);
        assert_eq!(quota.admit(client(1), 0), 0);
        assert_eq!(quota.admit(client(2), DELTA), DELTA);
        assert_eq!(quota.admit(client(3), DELTA), DELTA, "the shared bucket");
    }

    /// What a limiter with the same long-run rate and a burst of Delta does, for comparison.
    struct TokenBucket {
        tokens: u64,
    }

    impl TokenBucket {
        fn admit(&mut self, wanted: u64) -> u64 {
            let admitted = wanted.min(self.tokens);
            self.tokens -= admitted;
            admitted
        }

        /// One of the 10 steps of an epoch has passed.
        fn refill(&mut self) {
            self.tokens = (self.tokens + DELTA / 10).min(DELTA);
        }
    }

    #[test]
    fn a_token_bucket_of_burst_delta_lets_two_delta_pass_in_one_epoch_and_the_quota_does_not() {
        let (mut bucket, mut quota) = (TokenBucket { tokens: DELTA }, Quota::new(DELTA));
        let (mut by_bucket, mut by_quota) = ([0; 3], [0; 3]);
        for epoch in 0..3 {
            quota.start_epoch();
            for _ in 0..10 {
                // A client that always wants more than it gets.
                by_bucket[epoch] += bucket.admit(DELTA);
                by_quota[epoch] += quota.admit(client(1), DELTA);
                bucket.refill();
            }
        }
        assert_eq!(by_bucket, [190, 100, 100], "all but one refill of the second Delta");
        assert_eq!(by_quota, [DELTA; 3]);
    }
}
