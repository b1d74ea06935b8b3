//! What a client, or a relay, believes of what it is given.

use crate::fetch::{Answer, Request};
use crate::succession::{Succession, SuccessionError};
use identity::{NodeId, SIGNATURE_LEN};
use network_document::{
    Charter, EditionDiff, EditionName, Electorate, EncodingError, NetworkDocument, NetworkId, Problem, SignedEdition,
    UnsignedError,
};
use std::collections::{BTreeMap, VecDeque};
use thiserror::Error;

mod cache;

pub use cache::EVIDENCE_BYTES_MAX;

/// Editions whose names are remembered; the oldest goes for a new one.
pub const HISTORY_MAX: usize = 64;
/// Proofs of forks that are kept, each once, the first ones: a further one is refused and not kept.
pub const EVIDENCE_MAX: usize = 4;
/// How far behind an edition's beginning this client's clock may be, in milliseconds: a day, beyond which no relay answers it.
pub const CLOCK_BEHIND_MAX_MS: u64 = 86_400_000;

/// Why something was not taken. The last good edition stays good as long as it is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ClientRefusal {
    /// Cut, altered, or nothing of the kind.
    #[error("this is no edition of a directory: {0}")]
    Malformed(EncodingError),
    /// A difference to another edition.
    #[error("the difference does not fit: {0}")]
    Diff(Problem),
    /// Of another network.
    #[error("the edition is of another network than the invitation")]
    OtherNetwork,
    /// Not enough members signed.
    #[error("the edition does not count: {0}")]
    Unsigned(UnsignedError),
    /// Its members are not known yet.
    #[error(
        "the edition was signed by the members of term {needed}, and this node knows those of term {known}: it asks for \
         the changes in between"
    )]
    LaterMembers {
        /// The term that is known.
        known: u64,
        /// The term that signed.
        needed: u64,
    },
    /// Its members are members no more.
    #[error("the edition was signed by the members of term {found}, who are followed by those of term {known}")]
    EarlierMembers {
        /// The term that is known.
        known: u64,
        /// The term that signed.
        found: u64,
    },
    /// It is older than what is known.
    #[error(
        "the edition is number {index}, and this node has seen number {known}: whoever gave it holds back what is new"
    )]
    RollBack {
        /// Its index.
        index: u64,
        /// The index that is known.
        known: u64,
    },
    /// It contradicts what is known, and enough members signed both.
    #[error(
        "the directory has forked at number {index}: its members signed two editions that contradict each other. More of \
         them lie than may. Ask the operators; both editions are kept as evidence"
    )]
    Fork {
        /// Where.
        index: u64,
    },
    /// It is not valid yet.
    #[error("the edition begins {} h ahead of this machine's clock: the clock is wrong", .ahead_ms / 3_600_000)]
    Ahead {
        /// By how much, in milliseconds.
        ahead_ms: u64,
    },
    /// It is not valid any more.
    #[error("the edition ended {} h ago: it is held back, or this machine's clock is wrong", .ago_ms / 3_600_000)]
    Expired {
        /// For how long, in milliseconds.
        ago_ms: u64,
    },
    /// Members do not follow others.
    #[error("the change of members does not count: {0}")]
    Succession(SuccessionError),
    /// The charter is not known yet: ask for an edition first.
    #[error("a change of members came before any edition")]
    NoCharter,
    /// Whoever was asked has nothing.
    #[error("whoever was asked has no such edition; ask another one")]
    Unknown,
}

/// What was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A newer edition.
    Edition(EditionName),
    /// What was known already.
    Known,
    /// So many changes of members.
    Members(usize),
}

/// The name of an edition with its signatures: proof that enough members said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedName {
    /// Which edition.
    pub name: EditionName,
    /// By member.
    pub signatures: BTreeMap<NodeId, [u8; SIGNATURE_LEN]>,
}

/// Two things that enough members signed and that cannot both be true: of one index, or the second says that the first one's index
/// has another edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What was known.
    pub known: SignedName,
    /// What contradicts it, as [`SignedEdition::encode`] writes it.
    pub other: Vec<u8>,
}

/// A client's side of the directory: it believes what k of n members signed, going forward only.
///
/// [`DirectoryClient::poll_request`] says what to fetch; whatever comes goes into [`DirectoryClient::handle_answer`];
/// [`DirectoryClient::document`] is what to go by.
#[derive(Debug)]
pub struct DirectoryClient {
    network: NetworkId,
    known: Option<Known>,
    /// The newest edition that was taken.
    good: Option<NetworkDocument>,
    /// The newest at the end.
    history: VecDeque<SignedName>,
    evidence: Vec<Evidence>,
    /// A later term that signs.
    missing_members: bool,
    /// The last difference did not fit.
    wants_whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    charter: Charter,
    electorate: Electorate,
}

impl DirectoryClient {
    /// Of the network of an invitation: nothing else is known, or needs to be.
    pub fn new(network: NetworkId) -> Self {
        Self {
            network,
            known: None,
            good: None,
            history: VecDeque::new(),
            evidence: Vec::new(),
            missing_members: false,
            wants_whole: false,
        }
    }

    /// Which network.
    pub fn network_id(&self) -> NetworkId {
        self.network
    }

    /// What to go by; `None` when there is none or it has ended.
    pub fn document(&self, now_ms: u64) -> Option<&NetworkDocument> {
        self.newest().filter(|document| valid_until_ms(document) > now_ms)
    }

    /// The newest edition that was taken, ended or not.
    pub fn newest(&self) -> Option<&NetworkDocument> {
        self.good.as_ref()
    }

    /// The members that it believes, once it knows the charter.
    pub fn electorate(&self) -> Option<&Electorate> {
        self.known.as_ref().map(|known| &known.electorate)
    }

    /// Proofs that the directory has forked.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// The newest index that it has seen; 0 before any.
    pub fn index(&self) -> u64 {
        self.history.back().map_or(0, |last| last.name.index)
    }

    /// When to ask again, in milliseconds since 1970 UTC: within `spread_ms` after the next edition is due, where `random` says.
    /// The moment depends on nothing else, so it tells nothing.
    pub fn fetch_at_ms(&self, random: u64, spread_ms: u64) -> u64 {
        let due_ms = self.newest().map_or(0, |document| edition(document).map_or(0, |of| of.fresh_until_ms()));
        due_ms.saturating_add(random % spread_ms.max(1))
    }

    /// What to ask for now.
    pub fn poll_request(&self) -> Request {
        if self.missing_members {
            return Request::Successions { after: self.electorate().map_or(0, Electorate::term) };
        }
        match &self.good {
            Some(document) if !self.wants_whole => Request::Diff { base: document.hash() },
            _ => Request::Full,
        }
    }

    /// Takes what came, if it is to be believed. `now_ms` is this machine's clock, in milliseconds since 1970 UTC.
    ///
    /// # Errors
    /// [`ClientRefusal`]; nothing that was believed before is lost.
    pub fn handle_answer(&mut self, now_ms: u64, bytes: &[u8]) -> Result<Taken, ClientRefusal> {
        self.handle_decoded(now_ms, Answer::decode(bytes).map_err(ClientRefusal::Malformed)?)
    }

    /// The same for an answer that somebody read already.
    ///
    /// # Errors
    /// [`ClientRefusal`]; nothing that was believed before is lost.
    pub fn handle_decoded(&mut self, now_ms: u64, answer: Answer) -> Result<Taken, ClientRefusal> {
        match answer {
            Answer::Unknown => Err(ClientRefusal::Unknown),
            Answer::Current => self.good.as_ref().map(|_| Taken::Known).ok_or(ClientRefusal::Unknown),
            Answer::Full(bytes) => self.handle_full(now_ms, &bytes),
            Answer::Diff(bytes) => self.handle_diff(now_ms, &bytes),
            Answer::Successions(successions) => self.handle_successions(&successions),
        }
    }

    /// A whole edition.
    ///
    /// # Errors
    /// [`ClientRefusal`].
    pub fn handle_full(&mut self, now_ms: u64, bytes: &[u8]) -> Result<Taken, ClientRefusal> {
        let signed = SignedEdition::decode(bytes).map_err(ClientRefusal::Malformed)?;
        self.take(now_ms, signed)
    }

    /// A difference to the newest edition.
    ///
    /// # Errors
    /// [`ClientRefusal`]. After one that does not fit, the whole is asked for.
    pub fn handle_diff(&mut self, now_ms: u64, bytes: &[u8]) -> Result<Taken, ClientRefusal> {
        self.wants_whole = true;
        let base = self.good.as_ref().and_then(edition).ok_or(ClientRefusal::Diff(Problem::OtherDocument))?;
        let diff = EditionDiff::decode(bytes).map_err(ClientRefusal::Malformed)?;
        let signed = diff.apply(base).map_err(ClientRefusal::Diff)?;
        self.take(now_ms, signed)
    }

    /// Changes of members, the oldest first. What follows from the first ones is kept when a later one is refused.
    ///
    /// # Errors
    /// [`ClientRefusal`].
    pub fn handle_successions(&mut self, successions: &[Succession]) -> Result<Taken, ClientRefusal> {
        self.missing_members = false;
        let known = self.known.as_mut().ok_or(ClientRefusal::NoCharter)?;
        for succession in successions {
            let after = succession.follow(&known.charter, &known.electorate);
            known.electorate = after.map_err(ClientRefusal::Succession)?;
        }
        Ok(Taken::Members(successions.len()))
    }

    fn take(&mut self, now_ms: u64, signed: SignedEdition) -> Result<Taken, ClientRefusal> {
        let edition = signed.edition();
        if edition.network_id() != self.network {
            return Err(ClientRefusal::OtherNetwork);
        }
        let electorate = self.check_members(&signed)?;
        let document = signed.clone().verify(&electorate).map_err(ClientRefusal::Unsigned)?;
        // From here on k members said so: whatever contradicts it is proof.
        let (name, previous) = (edition.name(), edition.previous());
        if let Some(known) = self.contradicted(&[name, previous]) {
            let index = known.name.index;
            let proof = Evidence { known: known.clone(), other: signed.encode() };
            if self.evidence.len() < EVIDENCE_MAX && !self.evidence.contains(&proof) {
                self.evidence.push(proof);
            }
            return Err(ClientRefusal::Fork { index });
        }
        let known = self.index();
        if name.index < known {
            return Err(ClientRefusal::RollBack { index: name.index, known });
        }
        check_window(now_ms, &document)?;
        self.wants_whole = false;
        if name.index == known {
            // After a start the edition itself may be gone while its name is known.
            let is_new = self.good.is_none();
            self.good = Some(document);
            return Ok(if is_new { Taken::Edition(name) } else { Taken::Known });
        }
        self.remember(&signed);
        self.good = Some(document);
        Ok(Taken::Edition(name))
    }

    /// The members that count for an edition. The charter of the first one is the network's, because its hash is.
    fn check_members(&mut self, signed: &SignedEdition) -> Result<Electorate, ClientRefusal> {
        let edition = signed.edition();
        let known = self.known.get_or_insert_with(|| {
            let electorate = edition.head().founding().electorate.clone();
            Known { charter: edition.charter().clone(), electorate }
        });
        let (found, term) = (edition.electorate().term(), known.electorate.term());
        if found > term {
            self.missing_members = true;
            return Err(ClientRefusal::LaterMembers { known: term, needed: found });
        }
        if found < term {
            return Err(ClientRefusal::EarlierMembers { known: term, found });
        }
        Ok(known.electorate.clone())
    }

    /// What is known under the index of one of these names, and has another hash.
    fn contradicted(&self, names: &[EditionName]) -> Option<&SignedName> {
        let contradicts = |known: &&SignedName| {
            names.iter().any(|name| name.index == known.name.index && name.hash != known.name.hash)
        };
        self.history.iter().find(contradicts)
    }

    fn remember(&mut self, signed: &SignedEdition) {
        let signatures = signed.signatures().map(|(by, bytes)| (by, *bytes)).collect();
        self.history.push_back(SignedName { name: signed.edition().name(), signatures });
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }
}

fn edition(document: &NetworkDocument) -> Option<&network_document::Edition> {
    document.as_edition().map(|signed| &**signed.edition())
}

fn valid_until_ms(document: &NetworkDocument) -> u64 {
    edition(document).map_or(0, |edition| edition.valid_until_ms())
}

fn check_window(now_ms: u64, document: &NetworkDocument) -> Result<(), ClientRefusal> {
    let begin_ms = edition(document).map_or(u64::MAX, |edition| edition.valid_after_ms());
    if begin_ms > now_ms.saturating_add(CLOCK_BEHIND_MAX_MS) {
        return Err(ClientRefusal::Ahead { ahead_ms: begin_ms - now_ms });
    }
    let end_ms = valid_until_ms(document);
    if end_ms <= now_ms { Err(ClientRefusal::Expired { ago_ms: now_ms - end_ms }) } else { Ok(()) }
}
