//! What must be true, at every entry of every node.

use replicated_log::{Applied, Offset, Outcome, Sequence, SessionId};
use std::collections::BTreeMap;

/// The newest entries that are kept to compare: a node that is farther behind than a term fetches a checkpoint.
const KEPT: usize = 200_000;

/// The one log that there is, as the first node that applied an entry told it.
#[derive(Debug, Default)]
pub(super) struct Checker {
    chosen: BTreeMap<Offset, Applied>,
    /// Entries that are not kept any more.
    forgotten: u64,
    /// The offset behind the last one that anybody told of.
    end: u64,
    /// What clients ever submitted, so that nothing is in the log that nobody said.
    submitted: BTreeMap<(SessionId, Sequence), Vec<u8>>,
    done: BTreeMap<(SessionId, Sequence), Offset>,
    /// The next number of each topic.
    topics: BTreeMap<Vec<u8>, u64>,
    /// The greatest offset of an answer that a client has.
    pub(super) answered: Option<Offset>,
}

impl Checker {
    pub(super) fn length(&self) -> u64 {
        self.end
    }

    pub(super) fn done(&self) -> usize {
        self.done.len()
    }

    pub(super) fn handle_submit(&mut self, session: SessionId, sequence: Sequence, data: &[u8]) {
        self.submitted.insert((session, sequence), data.to_vec());
    }

    /// A node has begun a term whose first entry has this offset: everything before it is decided.
    pub(super) fn handle_base(&mut self, base: Offset) {
        self.end = self.end.max(base.0);
    }

    /// A node has applied an entry.
    pub(super) fn handle_applied(&mut self, node: usize, applied: &Applied) -> Result<(), String> {
        match self.chosen.get(&applied.offset) {
            Some(known) if known == applied => Ok(()),
            Some(known) => Err(format!("agreement: node {node} has {applied:?} where another has {known:?}")),
            None => self.handle_first(applied),
        }
    }

    fn handle_first(&mut self, applied: &Applied) -> Result<(), String> {
        if applied.offset.0 < self.end {
            // Told of later than what stands behind it: it is compared from here on.
            if let Outcome::Done { session, sequence, .. } = applied.outcome {
                self.done.entry((session, sequence)).or_insert(applied.offset);
            }
            for notice in &applied.notices {
                let next = self.topics.entry(notice.channel.clone()).or_default();
                *next = (*next).max(notice.sequence + 1);
            }
            self.chosen.insert(applied.offset, applied.clone());
            return Ok(());
        }
        if let Outcome::Done { session, sequence, .. } = &applied.outcome {
            let key = (*session, *sequence);
            let data = self.submitted.get(&key).ok_or_else(|| format!("validity: nobody said {key:?}"))?;
            if applied.notices.first().is_none_or(|notice| notice.body != *data) {
                return Err(format!("validity: {key:?} is in the log with other data"));
            }
            if let Some(first) = self.done.insert(key, applied.offset) {
                return Err(format!("exactly once: {key:?} counts at {first:?} and at {:?}", applied.offset));
            }
        }
        let has_hole = self.chosen.len() as u64 + self.forgotten != applied.offset.0;
        for notice in &applied.notices {
            let next = self.topics.entry(notice.channel.clone()).or_default();
            // Whoever applied the end of a term first may stop before it told anybody, and the rest take its checkpoint.
            if notice.sequence < *next || (!has_hole && notice.sequence != *next) {
                return Err(format!("subscription: number {} where {next} comes next", notice.sequence));
            }
            *next = notice.sequence + 1;
        }
        self.chosen.insert(applied.offset, applied.clone());
        self.end = applied.offset.0 + 1;
        if self.chosen.len() > KEPT {
            self.chosen.pop_first();
            self.forgotten += 1;
        }
        Ok(())
    }

    /// A client has an answer to a message that it sent first when `floor` was the greatest offset anybody had.
    pub(super) fn handle_answer(
        &mut self,
        key: (SessionId, Sequence),
        offset: Offset,
        result: &[u8],
        floor: Option<Offset>,
    ) -> Result<(), String> {
        match self.chosen.get(&offset).map(|applied| &applied.outcome) {
            // Nobody has told of that place yet.
            None if offset.0 < self.end => {}
            Some(Outcome::Done { session, sequence, result: first, .. }) if (*session, *sequence) == key => {
                if first != result {
                    return Err(format!("{key:?} was answered differently than it was the first time"));
                }
            }
            other => return Err(format!("loss: {key:?} was acknowledged at {offset:?}, where {other:?} stands")),
        }
        if floor.is_some_and(|floor| offset <= floor) {
            return Err(format!("real time: {key:?} began after {floor:?} was acknowledged and stands at {offset:?}"));
        }
        self.answered = self.answered.max(Some(offset));
        Ok(())
    }

    /// A read that was asked for when `floor` was the greatest acknowledged offset reflects the log up to `offset`.
    pub(super) fn handle_read(&self, offset: Offset, floor: Option<Offset>) -> Result<(), String> {
        match floor {
            Some(floor) if offset < floor => Err(format!("an old read: {offset:?} after {floor:?} was acknowledged")),
            _ => Ok(()),
        }
    }
}
