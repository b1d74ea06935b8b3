//! What is asked of a tunnel.

use identity::AccessSecret;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tunnel_plan::{PathRules, Relaxation, RulesError, Target};

/// How long is waited for a tunnel, if nothing else is said.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long is waited for a service, if nothing else is said: a record, an introduction and the meetings have a minute together.
pub const ONION_DEADLINE: Duration = Duration::from_secs(60);

/// What tunnels are for. Streams of two purposes never share one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Streams of an application's user.
    #[default]
    Streams,
    /// Streams of the program itself, such as looking for a newer version. Nobody who sees both at an exit is to connect the two.
    Own,
}

/// A name for what may share a tunnel. Two that were made apart are never equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IsolationToken(u64);

impl IsolationToken {
    /// A new one.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for IsolationToken {
    fn default() -> Self {
        Self::new()
    }
}

/// With whom a tunnel is shared. Streams of different isolation never share one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isolation {
    /// With all that ask for the same purpose and for no isolation.
    #[default]
    Shared,
    /// With all that have the same token.
    By(IsolationToken),
    /// With nobody: each request gets a tunnel of its own, which is retired when its last handle is dropped.
    Alone,
}

/// What is asked of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelParameters {
    /// What it is for.
    pub purpose: Purpose,
    /// Hops, number of legs, and what paths may share; none: as the manager's pool has them.
    pub rules: Option<PathRules>,
    /// With whom it is shared.
    pub isolation: Isolation,
    /// How long is waited for it.
    pub deadline: Duration,
}

impl Default for TunnelParameters {
    /// One of the pool's, shared with all that ask for the same, within [`DEADLINE`].
    fn default() -> Self {
        Self { purpose: Purpose::default(), rules: None, isolation: Isolation::default(), deadline: DEADLINE }
    }
}

/// What is asked of a directory tunnel. It always has one leg, and is shared with nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirParameters {
    /// Hops of its path, the directory node included: 1 to 3. With one, that node sees who asks: for whoever has an invitation and
    /// nothing else.
    pub hops: u8,
    /// What a path may have in a network that is too small.
    pub relaxation: Relaxation,
    /// How long is waited for it.
    pub deadline: Duration,
}

impl Default for DirParameters {
    /// Three hops, nothing relaxed, within [`DEADLINE`].
    fn default() -> Self {
        Self { hops: 3, relaxation: Relaxation::Nothing, deadline: DEADLINE }
    }
}

impl DirParameters {
    /// As the driver launches tunnels.
    pub(crate) fn tunnel(self) -> Result<TunnelParameters, RulesError> {
        let rules = PathRules::new(self.hops, 1)?.relaxed(self.relaxation).to(Target::Directory);
        let isolation = Isolation::Alone;
        Ok(TunnelParameters { purpose: Purpose::Own, rules: Some(rules), isolation, deadline: self.deadline })
    }
}

/// What is asked of a tunnel to a service.
#[derive(Debug, Clone)]
pub struct OnionParameters {
    /// The key for a service that lets in only those that it knows. It opens the service's record here, and is shown to nobody. What is
    /// asked with different keys is never one tunnel.
    pub access: Option<AccessSecret>,
    /// What it is for.
    pub purpose: Purpose,
    /// With whom it is shared. It is never shared with streams that go elsewhere.
    pub isolation: Isolation,
    /// How long is waited for it.
    pub deadline: Duration,
}

impl Default for OnionParameters {
    /// Without a key, shared with all that ask for the same, within [`ONION_DEADLINE`].
    fn default() -> Self {
        Self { access: None, purpose: Purpose::default(), isolation: Isolation::default(), deadline: ONION_DEADLINE }
    }
}
