//! Applying what is decided, and going from term to term.

use super::clients::Key;
use super::{Event, Fatal, Leading, Node, engine};
use crate::CHECKPOINT_BYTES_MAX;
use crate::checkpoint::{BEHAVIOUR, Checkpoint, CheckpointError, CheckpointHash, Members};
use crate::entry::{Command, Entry};
use crate::ids::{LogIndex, Offset};
use crate::machine::{Applied, Outcome, SubmitRefusal};
use crate::record::Header;

/// Entries are applied in portions: the engine's clock and peers come in between.
const APPLY_AT_ONCE: u64 = 1_024;

impl Node {
    pub(super) fn apply_decided(&mut self) {
        let until = self.decided().min(LogIndex(self.applied.0 + APPLY_AT_ONCE));
        let entries = self.store.entries(self.applied, until);
        let term = self.beginning.term;
        for entry in entries {
            let offset = Offset(self.beginning.base.0 + self.applied.0);
            let applied = self.machine.apply(offset, &entry);
            self.applied.0 += 1;
            self.handle_applied(applied, &entry);
            // Behind its end nothing of a term's log counts.
            if self.beginning.term != term || self.fatal.is_some() {
                return;
            }
        }
    }

    fn handle_applied(&mut self, applied: Applied, entry: &Entry) {
        let (offset, outcome) = (applied.offset, applied.outcome.clone());
        let events = &mut self.output.events;
        events.push(Event::Applied(applied));
        match outcome {
            Outcome::Started(hash) if hash != self.beginning.hash => {
                self.fail(Fatal::Diverged { term: self.beginning.term });
            }
            Outcome::Opened { session, refusal } => {
                self.clients.answer(Key::Session(session, 0), events, |token| Event::Opened { token, refusal });
            }
            Outcome::Done { session, sequence, result, .. } => {
                self.answer_message(Key::Session(session, sequence.0), offset, &result);
            }
            Outcome::Repeated { session, sequence, first, result } => {
                self.answer_message(Key::Session(session, sequence.0), first, &result);
            }
            Outcome::Refused { session, sequence, refusal } => {
                if let SubmitRefusal::Gap { expected } = refusal
                    && self.clients.resend_from(session, expected.0)
                {
                    return;
                }
                let key = Key::Session(session, sequence.0);
                self.clients.answer(key, events, |token| Event::Refused { token, refusal });
            }
            Outcome::Barrier { origin, incarnation, tag } if origin == self.own && incarnation == self.incarnation => {
                self.clients.answer(Key::Read(tag), events, |token| Event::ReadReady { token, offset });
            }
            Outcome::Planned(done) | Outcome::Unplanned(done) => self.answer_control(entry, done),
            Outcome::Ended { members, behaviour } => self.end_term_at(members, behaviour),
            Outcome::Ignored => {
                self.leading.is_ending = false;
                self.answer_control(entry, false);
            }
            Outcome::Started(_) | Outcome::Ticked | Outcome::Barrier { .. } => {}
        }
    }

    fn answer_message(&mut self, key: Key, offset: Offset, result: &[u8]) {
        self.clients.answer(key, &mut self.output.events, |token| Event::Acknowledged {
            token,
            offset,
            result: result.to_vec(),
        });
    }

    fn answer_control(&mut self, entry: &Entry, done: bool) {
        if let Some(key) = self.clients.control(entry) {
            self.clients.answer(key, &mut self.output.events, |token| Event::Controlled { token, done });
        }
    }

    fn end_term_at(&mut self, members: Members, behaviour: u16) {
        let checkpoint = Checkpoint {
            cluster: self.cluster,
            term: self.beginning.term.next(),
            base: Offset(self.beginning.base.0 + self.applied.0),
            behaviour,
            members,
            previous_members: self.beginning.members.clone(),
            machine: self.machine.snapshot(),
        };
        let bytes = checkpoint.encode();
        if bytes.len() > CHECKPOINT_BYTES_MAX {
            self.fail(Fatal::TooLarge);
        } else if behaviour > BEHAVIOUR {
            self.fail(Fatal::Checkpoint(CheckpointError::TooNew { needed: behaviour }));
        } else {
            self.begin_term(checkpoint, bytes, false);
        }
    }

    /// Goes to a later term whose beginning was fetched.
    pub(super) fn install(&mut self, bytes: Vec<u8>) -> Result<(), CheckpointError> {
        let checkpoint = match Checkpoint::decode(&bytes, self.cluster) {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                if let CheckpointError::TooNew { .. } = error {
                    self.fail(Fatal::Checkpoint(error));
                }
                return Err(error);
            }
        };
        if let Err(error) = self.machine.replace(&checkpoint) {
            self.fail(Fatal::Checkpoint(error));
            return Err(error);
        }
        self.begin_term(checkpoint, bytes, true);
        Ok(())
    }

    fn begin_term(&mut self, checkpoint: Checkpoint, bytes: Vec<u8>, skipped: bool) {
        // What the old instance still has to say tells the others that the term is over.
        self.drain_engine();
        self.save();
        let voted = self.engine.is_some();
        let Checkpoint { term, base, members, previous_members, .. } = checkpoint;
        let (hash, length) = (CheckpointHash::of(&bytes), bytes.len() as u64);
        let header = Header { cluster: self.cluster, node: self.own, term };
        self.output.begin_term(term, bytes, header.encode());
        self.store.begin_term(term);
        self.engine = engine(self.own, &members, term, &self.tuning, &self.store);
        let event = Event::TermBegan { term, base, members: members.clone(), skipped };
        self.beginning = super::Beginning { term, base, members, previous_members, hash, length, is_saved: false };
        self.applied = LogIndex(0);
        (self.leading, self.learner, self.fetch) = (Leading::default(), None, None);
        // What was wanted of the term before cannot be done any more, but for its end, whoever proposed that.
        for (key, entry) in self.clients.controls() {
            let done = matches!(Command::decode(&entry), Ok(Command::EndTerm { .. }));
            self.clients.answer(key, &mut self.output.events, |token| Event::Controlled { token, done });
        }
        self.clients.resend_all();
        self.peers.values_mut().for_each(|peer| peer.noticed = None);
        self.output.events.push(event);
        if voted && self.engine.is_none() {
            self.output.events.push(Event::Left);
        }
    }
}
