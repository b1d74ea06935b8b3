//! The newest editions as clients have them: verified once for all, with what an answer to each of them costs.

use crate::members::Members;
use crate::population::Relay;
use crate::run::RunError;
use identity::NodeId;
use network_document::{Edition, EditionDiff, NetworkId, Problem};
use relay_directory::{Answer, DirectoryClient, EDITIONS_KEPT, Request};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tunnel_plan::{Place, Relays};

/// An edition, as every client has it whose newest one it is. Such clients are in the same state but for the names of older
/// editions, so one [`DirectoryClient`] stands for all of them.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) index: u64,
    client: DirectoryClient,
    /// For tunnels.
    pub(crate) relays: Relays,
    /// For directory tunnels: whoever serves documents may be the last hop, and nobody else.
    pub(crate) mirrors: Relays,
    /// For each adversary: the part of all draws for guards, and for exits, that falls on its relays.
    pub(crate) hostile: Vec<(f64, f64)>,
}

impl Issue {
    fn new(client: DirectoryClient, now_ms: u64, relays: &[Relay], adversaries: usize) -> Result<Self, RunError> {
        let document = client.document(now_ms).ok_or(RunError::NoDocument)?;
        let by_name: BTreeMap<NodeId, &Relay> = relays.iter().map(|relay| (relay.node_id, relay)).collect();
        let as_exits: Vec<_> = document.relays().cloned().collect();
        let as_exits = as_exits.into_iter().map(|mut descriptor| {
            descriptor.roles.exit = by_name.get(&descriptor.node_id).is_some_and(|relay| relay.is_mirror);
            descriptor
        });
        let as_exits: Vec<_> = as_exits.collect();
        let plan = Relays::new(document);
        let mut hostile = vec![(0.0, 0.0); adversaries];
        for relay in relays.iter().filter(|relay| relay.hostile != 0) {
            let (guard, exit) = (plan.share(&relay.node_id, Place::Guard), plan.share(&relay.node_id, Place::Exit));
            for (bit, sums) in hostile.iter_mut().enumerate() {
                if relay.hostile & 1 << bit != 0 {
                    *sums = (sums.0 + guard, sums.1 + exit);
                }
            }
        }
        Ok(Self { index: client.index(), mirrors: Relays::from_descriptors(&as_exits), relays: plan, hostile, client })
    }

    /// Whether anybody may still go by it.
    pub(crate) fn is_valid(&self, now_ms: u64) -> bool {
        self.client.document(now_ms).is_some()
    }

    /// When to ask for the next one.
    pub(crate) fn fetch_at_ms(&self, random: u64, spread_ms: u64) -> u64 {
        self.client.fetch_at_ms(random, spread_ms)
    }

    fn edition(&self) -> Option<&Edition> {
        Some(self.client.newest()?.as_edition()?.edition())
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.edition().map_or([0; 32], Edition::hash)
    }
}

/// What an answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Current,
    Diff,
    Full,
}

/// What clients get, and its cost in bytes, request included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
}

/// The newest editions, and answers to the newest one.
#[derive(Debug)]
pub(crate) struct Editions {
    network: NetworkId,
    /// As many as keepers have, the newest at the end.
    issues: VecDeque<Arc<Issue>>,
    /// By the hash of what is asked from.
    answers: BTreeMap<Option<[u8; 32]>, Answered>,
    /// Bytes of whole editions, and of differences from one to the next.
    pub(crate) full_bytes: Vec<f64>,
    pub(crate) next_bytes: Vec<f64>,
}

impl Editions {
    pub(crate) fn new(network: NetworkId) -> Self {
        let (issues, answers) = Default::default();
        Self { network, issues, answers, full_bytes: Vec::new(), next_bytes: Vec::new() }
    }

    /// Takes a new edition from whoever keeps it, as a client that has nothing.
    pub(crate) fn take(
        &mut self,
        members: &mut Members,
        now_ms: u64,
        relays: &[Relay],
        adversaries: usize,
    ) -> Result<(), RunError> {
        let mut client = DirectoryClient::new(self.network);
        let answer = members.answer(&client.poll_request()).encode();
        client.handle_answer(now_ms, &answer)?;
        self.answers.clear();
        let before = self.issues.back().map(|issue| issue.hash());
        self.issues.push_back(Arc::new(Issue::new(client, now_ms, relays, adversaries)?));
        if self.issues.len() > EDITIONS_KEPT {
            self.issues.pop_front();
        }
        self.full_bytes.push(answer.len() as f64);
        if before.is_some() {
            let next = self.answer(members, before)?;
            self.next_bytes.push(next.bytes as f64);
        }
        Ok(())
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Issue>> {
        self.issues.back()
    }

    /// The one of so many editions ago, if it is kept.
    pub(crate) fn ago(&self, editions: usize) -> Option<&Arc<Issue>> {
        self.issues.iter().rev().nth(editions)
    }

    /// Whether whoever has this edition has one that keepers know.
    pub(crate) fn knows(&self, index: u64) -> bool {
        self.issues.front().is_some_and(|oldest| oldest.index <= index)
    }

    /// What whoever has `base` gets. Each difference is applied once, to see that it makes the newest edition.
    pub(crate) fn answer(&mut self, members: &mut Members, base: Option<[u8; 32]>) -> Result<Answered, RunError> {
        if let Some(answered) = self.answers.get(&base) {
            return Ok(*answered);
        }
        let request = base.map_or(Request::Full, |base| Request::Diff { base });
        let answer = members.answer(&request);
        let kind = match &answer {
            Answer::Current => Kind::Current,
            Answer::Full(_) => Kind::Full,
            Answer::Diff(bytes) => {
                let find = |issue: &&Arc<Issue>| base == Some(issue.hash());
                let old = self.issues.iter().find(find).and_then(|issue| issue.edition());
                let diff = EditionDiff::decode(bytes).map_err(RunError::Encoding)?;
                let new = diff.apply(old.ok_or(Problem::OtherDocument)?)?;
                if self.newest().map(|newest| newest.hash()) != Some(new.edition().hash()) {
                    return Err(Problem::OtherDocument.into());
                }
                Kind::Diff
            }
            Answer::Unknown | Answer::Successions(_) => return Err(RunError::NoDocument),
        };
        let bytes = (request.encode().len() + answer.encode().len()) as u64;
        self.answers.insert(base, Answered { kind, bytes });
        Ok(Answered { kind, bytes })
    }
}
