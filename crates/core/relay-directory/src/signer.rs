//! What a member checks before it signs an edition, and what it must remember to be honest.

use crate::command::{Command, Tick, Vote};
use crate::directory::{DESCRIBES_MAX, Directory};
use crate::refusal::Refusal;
use identity::{NodeId, NodeSecret};
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{
    ANNOUNCEMENT_BYTES_MAX, EDITION_RELAYS_MAX, Edition, EditionName, EncodingError, NetworkId, SignedAnnouncement,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

const MAGIC: [u8; 8] = *b"HWSIGN01";
/// Relays whose descriptors a member holds at most: all that may be. Those of a further one are refused.
pub const HELD_MAX: usize = EDITION_RELAYS_MAX;
/// Descriptors of one relay that a member holds at most: one for an interval, and as many as count in the next. A further one
/// takes the place of the newest.
pub const HELD_OF_RELAY_MAX: usize = 1 + DESCRIBES_MAX as usize;

/// Why a member does not sign. Only [`SignRefusal::LeavesOut`] says that somebody lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignRefusal {
    /// There is none, or it is signed already.
    #[error("there is no edition that waits for this member's signature")]
    Nothing,
    /// It is not one of the members who sign it.
    #[error("the edition is signed by other members")]
    NotMember,
    /// It has signed another edition of the same index, or a later one.
    #[error("this member has signed an edition of index {promised} already")]
    Promised {
        /// Of which index.
        promised: u64,
    },
    /// It knows a published edition that this one does not follow.
    #[error("the edition follows number {follows}, and this member knows that number {known} was published")]
    Skips {
        /// What it says comes before it.
        follows: u64,
        /// What comes before it.
        known: u64,
    },
    /// It lacks a descriptor that this member has held for an interval.
    #[error("the edition leaves out a relay whose descriptor this member has held for a whole interval")]
    LeavesOut(NodeId),
}

/// What a member has bound itself to. It must be on disk before the signature leaves, or a member that starts again could sign
/// two editions of one index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Promise {
    /// The newest edition that it signed.
    pub signed: Option<EditionName>,
    /// The newest edition that it knows to be published.
    pub published: Option<EditionName>,
}

/// A signature to send once its promise is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vow {
    /// Write this first, and sync it.
    pub promise: Promise,
    /// Then submit this.
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    announcement: Arc<SignedAnnouncement>,
    since_ms: u64,
}

/// A member's own part of the directory.
///
/// Feed it descriptors that relays hand this member with [`Signer::hold`], whoever else takes them to the log. When the directory
/// has made an edition, [`Signer::consider`] gives the signature or says why not.
#[derive(Debug)]
pub struct Signer {
    network: NetworkId,
    secret: NodeSecret,
    promise: Promise,
    /// By relay, the oldest first.
    held: BTreeMap<NodeId, Vec<Held>>,
    /// How often that changed.
    changes: u64,
}

impl Signer {
    /// With what it promised in earlier runs.
    pub fn new(network: NetworkId, secret: NodeSecret, promise: Promise) -> Self {
        Self { network, secret, promise, held: BTreeMap::new(), changes: 0 }
    }

    /// Who it is.
    pub fn member(&self) -> NodeId {
        self.secret.node_id()
    }

    /// What it is bound to.
    pub fn promise(&self) -> Promise {
        self.promise
    }

    /// Of how many relays it holds descriptors that no edition has shown yet.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// A number that is another one whenever what is held has changed: when to write [`Signer::encode_held`].
    pub fn held_changes(&self) -> u64 {
        self.changes
    }

    /// What this member says the time is: `utc_ms` by its own clock, in milliseconds since 1970.
    pub fn tick(&self, directory: &Directory, utc_ms: u64) -> Command {
        let sequence = directory.next_tick(&self.member());
        Command::Tick(Tick::new(self.network, &self.secret, sequence, utc_ms))
    }

    /// Holds a descriptor that a relay handed to this member at `now_ms`, by any clock of this member's own.
    ///
    /// # Errors
    /// Why it does not count: the same as the directory would say, so only descriptors of admitted relays take room.
    pub fn hold(
        &mut self,
        now_ms: u64,
        directory: &Directory,
        announcement: Arc<SignedAnnouncement>,
    ) -> Result<(), Refusal> {
        if !announcement.is_for(self.network) {
            return Err(Refusal::Signature);
        }
        directory.judge(announcement.announcement())?;
        let node = announcement.node_id();
        if !self.held.contains_key(&node) && self.held.len() >= HELD_MAX {
            return Err(Refusal::TooManyRelays);
        }
        let held = self.held.entry(node).or_default();
        if held.last().is_some_and(|known| published_ms(known) >= announcement.announcement().published_ms) {
            return Err(Refusal::Old);
        }
        if held.len() >= HELD_OF_RELAY_MAX {
            held.pop();
        }
        held.push(Held { announcement, since_ms: now_ms });
        self.changes = self.changes.wrapping_add(1);
        Ok(())
    }

    /// Holds a descriptor no more: the log has refused it, for every member alike, so nobody left it out.
    ///
    /// Without this a relay that says more than counts in an interval could keep honest members from signing.
    pub fn forget(&mut self, node: &NodeId, published_ms: u64) {
        let Some(held) = self.held.get_mut(node) else { return };
        let before = held.len();
        held.retain(|held| held.announcement.announcement().published_ms != published_ms);
        if held.len() != before {
            self.changes = self.changes.wrapping_add(1);
        }
        if held.is_empty() {
            self.held.remove(node);
        }
    }

    /// Descriptors that this member has held since `until_ms` or longer, that count, and that the directory has never had: of each
    /// relay the newest, at most `most`. They were handed over while the log stood, or a leader who lies kept them out. The member
    /// takes them there, since their relay may be gone and no edition without them is signed.
    pub fn unordered(&self, directory: &Directory, until_ms: u64, most: usize) -> Vec<Arc<SignedAnnouncement>> {
        let newest = self.held.iter().filter_map(|(node, held)| {
            let held = held.iter().rfind(|held| held.since_ms <= until_ms)?;
            let known_ms = directory.relay(node).map_or(0, |known| known.announcement().published_ms);
            let is_wanted = published_ms(held) > known_ms
                && !directory.is_over_quota(node)
                && directory.judge(held.announcement.announcement()).is_ok();
            is_wanted.then(|| Arc::clone(&held.announcement))
        });
        newest.take(most).collect()
    }

    /// Signs the newest edition, or says why not. `now_ms` is by the clock of [`Signer::hold`].
    ///
    /// # Errors
    /// [`SignRefusal`].
    pub fn consider(&mut self, now_ms: u64, directory: &Directory) -> Result<Vow, SignRefusal> {
        self.note_published(directory);
        let pending = directory.pending().ok_or(SignRefusal::Nothing)?;
        let edition = pending.edition();
        if pending.signatures().any(|(member, _)| member == self.member()) {
            return Err(SignRefusal::Nothing);
        }
        if !edition.electorate().contains(&self.member()) || edition.network_id() != self.network {
            return Err(SignRefusal::NotMember);
        }
        let name = edition.name();
        match self.promise.signed {
            Some(promised) if promised.index >= name.index && promised != name => {
                return Err(SignRefusal::Promised { promised: promised.index });
            }
            _ => {}
        }
        if let Some(known) = self.promise.published.filter(|known| known.index < name.index) {
            let follows = edition.previous();
            if follows.index < known.index || (follows.index == known.index && follows != known) {
                return Err(SignRefusal::Skips { follows: follows.index, known: known.index });
            }
        }
        self.check_complete(now_ms, directory, edition)?;
        self.promise.signed = Some(name);
        let vote = Vote::new(self.network, &self.secret, name);
        Ok(Vow { promise: self.promise, command: Command::Sign(vote) })
    }

    /// Notes what the directory has published, for [`Signer::promise`].
    pub fn note_published(&mut self, directory: &Directory) {
        let Some(edition) = directory.published() else { return };
        let name = edition.edition().name();
        if self.promise.published.is_none_or(|known| known.index < name.index) {
            self.promise.published = Some(name);
        }
    }

    /// The edition has to have what this member has held for an interval and still counts, or something newer.
    fn check_complete(&mut self, now_ms: u64, directory: &Directory, edition: &Edition) -> Result<(), SignRefusal> {
        let due_ms = now_ms.saturating_sub(edition.head().founding().interval_ms);
        let shown_ms: BTreeMap<NodeId, u64> =
            edition.relays().iter().map(|relay| (relay.node_id(), relay.announcement().published_ms)).collect();
        let mut missing = None;
        let count = |held: &BTreeMap<NodeId, Vec<Held>>| held.values().map(Vec::len).sum::<usize>();
        let before = count(&self.held);
        self.held.retain(|node, held| {
            let shown_ms = shown_ms.get(node).copied().unwrap_or(0);
            held.retain(|held| published_ms(held) > shown_ms && still_counts(directory, held));
            // Of several that were held for long enough the newest says most.
            let due = held.iter().rposition(|held| held.since_ms <= due_ms);
            held.drain(..due.unwrap_or(0));
            let usable = |held: &Held| held.announcement.descriptor().onion_key(edition.key_interval()).is_some();
            if due.is_some() && held.first().is_some_and(usable) {
                missing = missing.or(Some(*node));
            }
            !held.is_empty()
        });
        if count(&self.held) != before {
            self.changes = self.changes.wrapping_add(1);
        }
        missing.map_or(Ok(()), |node| Err(SignRefusal::LeavesOut(node)))
    }

    /// The descriptors that it holds, as bytes. They may be written from time to time: a member that forgets them is only less
    /// strict.
    pub fn encode_held(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.count(self.held.len());
        for held in self.held.values() {
            out.count(held.len());
            for held in held {
                out.u64(held.since_ms);
                out.bytes(&held.announcement.encode());
            }
        }
        out
    }

    /// Takes the descriptors that it held in an earlier run, if its clock goes on where it was.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn restore_held(&mut self, bytes: &[u8]) -> Result<(), EncodingError> {
        let mut input = Reader::new(bytes);
        let mut all: BTreeMap<NodeId, Vec<Held>> = BTreeMap::new();
        for _ in 0..input.count(HELD_MAX)? {
            let mut of_relay: Vec<Held> = Vec::new();
            for _ in 0..input.count(HELD_OF_RELAY_MAX)? {
                let since_ms = input.u64()?;
                let announcement = Arc::new(SignedAnnouncement::decode(input.bytes(ANNOUNCEMENT_BYTES_MAX)?)?);
                let held = Held { announcement, since_ms };
                let follows = |last: &Held| {
                    last.announcement.node_id() == held.announcement.node_id()
                        && published_ms(last) < published_ms(&held)
                };
                if !of_relay.last().is_none_or(follows) {
                    return Err(ReadError::Range.into());
                }
                of_relay.push(held);
            }
            let node = of_relay.first().ok_or(ReadError::Range)?.announcement.node_id();
            if all.last_key_value().is_some_and(|(last, _)| *last >= node) {
                return Err(ReadError::Range.into());
            }
            all.insert(node, of_relay);
        }
        input.end()?;
        self.held = all;
        Ok(())
    }
}

fn published_ms(held: &Held) -> u64 {
    held.announcement.announcement().published_ms
}

/// Whether a descriptor is in the directory, or would be if it came now. Not so if its relay was expelled or withdrew it, if it
/// has expired, or if another relay was faster.
fn still_counts(directory: &Directory, held: &Held) -> bool {
    let said = held.announcement.announcement();
    if said.expires_ms <= directory.time_ms() {
        return false;
    }
    let newest = directory.relay(&said.node_id());
    newest.is_some_and(|newest| newest.announcement().published_ms >= said.published_ms)
        || directory.judge(said).is_ok()
}

impl Promise {
    /// The bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.raw(&MAGIC);
        for name in [self.signed, self.published] {
            out.u8(u8::from(name.is_some()));
            let name = name.unwrap_or(EditionName { index: 0, hash: [0; 32] });
            out.u64(name.index);
            out.raw(&name.hash);
        }
        out
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// When they are not exactly as [`Promise::encode`] writes them. A member must not sign then: it may have promised anything.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut input = Reader::new(bytes);
        if input.array::<8>()? != MAGIC {
            return Err(ReadError::Range);
        }
        let mut names = [None; 2];
        for name in &mut names {
            let there = input.flag()?;
            let read = EditionName { index: input.u64()?, hash: input.array()? };
            if !there && read != (EditionName { index: 0, hash: [0; 32] }) {
                return Err(ReadError::Range);
            }
            *name = there.then_some(read);
        }
        input.end()?;
        let [signed, published] = names;
        Ok(Self { signed, published })
    }
}
