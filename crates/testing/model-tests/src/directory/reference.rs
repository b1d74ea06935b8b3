//! The directory as a person would write it down: numbers in place of keys, lists in place of indices, no signature.

use super::{INTERVAL_MS, KEY_INTERVALS, START_MS, Said, THRESHOLD};
use relay_directory::{CLOCK_SKEW_MAX_MS, DESCRIBES_MAX, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// What somebody says to the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Describe { said: Said, forged: bool },
    Withdraw { relay: u32, until_ms: u64 },
    Admit { relay: u32, class: u8, number: u64, operators: Vec<u32> },
    Expel { relay: u32, number: u64, operators: Vec<u32> },
    Members { members: Vec<u32>, liars: u8, term: u64, number: u64, operators: Vec<u32>, consenting: Vec<u32> },
    Tick { member: u32, sequence: u64, utc_ms: u64 },
    Vote { member: u32, other_hash: bool, late: bool },
}

#[derive(Debug, Clone)]
struct Admitted {
    class: u8,
    floor_ms: u64,
    described: u8,
}

/// An edition that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) index: u64,
    pub(super) previous: u64,
    pub(super) relays: Vec<Said>,
    pub(super) votes: BTreeSet<u32>,
    members: Vec<u32>,
    quorum: usize,
}

/// All there is to know.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) time_ms: u64,
    clocks: BTreeMap<u32, (u64, u64)>,
    pub(super) orders: u64,
    pub(super) term: u64,
    pub(super) members: Vec<u32>,
    liars: usize,
    admitted: BTreeMap<u32, Admitted>,
    pub(super) relays: Vec<Said>,
    pub(super) index: u64,
    pub(super) waiting: Option<Waiting>,
    pub(super) published: u64,
}

impl Reference {
    pub(super) fn new(members: &[u32], liars: usize) -> Self {
        Self {
            time_ms: START_MS,
            clocks: BTreeMap::new(),
            orders: 0,
            term: 1,
            members: members.to_vec(),
            liars,
            admitted: BTreeMap::new(),
            relays: Vec::new(),
            index: 0,
            waiting: None,
            published: 0,
        }
    }

    pub(super) fn next_tick(&self, member: u32) -> u64 {
        self.clocks.get(&member).map_or(1, |clock| clock.0 + 1)
    }

    pub(super) fn apply(&mut self, step: &Step) -> Result<(), Refusal> {
        match step {
            Step::Describe { said, forged } => self.describe(*said, *forged),
            Step::Withdraw { relay, until_ms } => self.withdraw(*relay, *until_ms),
            Step::Admit { relay, class, number, operators } => {
                self.decided(*number, operators)?;
                self.admit(*relay, *class);
                self.orders += 1;
                Ok(())
            }
            Step::Expel { relay, number, operators } => {
                self.decided(*number, operators)?;
                self.admitted.remove(relay).ok_or(Refusal::NotAdmitted)?;
                self.relays.retain(|known| known.relay != *relay);
                self.orders += 1;
                Ok(())
            }
            Step::Members { members, liars, term, number, operators, consenting } => {
                self.decided(*number, operators)?;
                if *term != self.term + 1 {
                    return Err(Refusal::Term { expected: self.term + 1 });
                }
                let agree = consenting.iter().filter(|by| self.members.contains(by)).count();
                if agree < (self.members.len() + self.liars) / 2 + 1 {
                    return Err(Refusal::TooFewMembers);
                }
                (self.members, self.liars, self.term) = (members.clone(), usize::from(*liars), *term);
                self.clocks.retain(|member, _| members.contains(member));
                self.orders += 1;
                Ok(())
            }
            Step::Tick { member, sequence, utc_ms } => self.tick(*member, *sequence, *utc_ms),
            Step::Vote { member, other_hash, late } => self.vote(*member, *other_hash, *late),
        }
    }

    fn decided(&self, number: u64, operators: &[u32]) -> Result<(), Refusal> {
        if operators.iter().any(|by| *by > 3) {
            return Err(Refusal::Signature);
        }
        let (found, needed) = (operators.len(), usize::from(THRESHOLD));
        if found < needed {
            return Err(Refusal::TooFewOperators { found, needed });
        }
        let expected = self.orders + 1;
        if number == expected { Ok(()) } else { Err(Refusal::OrderNumber { expected }) }
    }

    fn admit(&mut self, relay: u32, class: u8) {
        let fresh = Admitted { class, floor_ms: 0, described: 0 };
        self.admitted.entry(relay).or_insert(fresh).class = class;
        self.relays.retain(|known| known.relay != relay || known.class <= class);
    }

    fn describe(&mut self, said: Said, forged: bool) -> Result<(), Refusal> {
        if forged {
            return Err(Refusal::Signature);
        }
        let admitted = self.admitted.get(&said.relay).ok_or(Refusal::NotAdmitted)?;
        let known_ms = self.relays.iter().find(|known| known.relay == said.relay).map_or(0, |known| known.published_ms);
        let present = (self.time_ms - START_MS) / INTERVAL_MS / KEY_INTERVALS;
        let shares = |same: fn(&Said, &Said) -> bool| {
            self.relays.iter().any(|known| known.relay != said.relay && same(known, &said))
        };
        let refusals = [
            (said.published_ms <= admitted.floor_ms || said.published_ms <= known_ms, Refusal::Old),
            (said.published_ms > self.time_ms + CLOCK_SKEW_MAX_MS, Refusal::Ahead),
            (said.expires_ms <= self.time_ms, Refusal::Expired),
            (said.expires_ms - said.published_ms > 2 * KEY_INTERVALS * INTERVAL_MS, Refusal::Lasting),
            (said.class > admitted.class, Refusal::NotVouchedFor),
            (said.interval + 1 < present || said.interval > present, Refusal::OnionKeys),
            (shares(|known, said| known.key == said.key), Refusal::SharedKey),
            (shares(|known, said| known.address == said.address), Refusal::SharedAddress),
            (admitted.described >= DESCRIBES_MAX, Refusal::Quota),
        ];
        if let Some((_, refusal)) = refusals.into_iter().find(|(refused, _)| *refused) {
            return Err(refusal);
        }
        self.relays.retain(|known| known.relay != said.relay);
        self.relays.push(said);
        self.admitted.entry(said.relay).and_modify(|admitted| admitted.described += 1);
        Ok(())
    }

    fn withdraw(&mut self, relay: u32, until_ms: u64) -> Result<(), Refusal> {
        let admitted = self.admitted.get_mut(&relay).ok_or(Refusal::NotAdmitted)?;
        let known = self.relays.iter().find(|known| known.relay == relay).ok_or(Refusal::NotDescribed)?;
        if until_ms <= admitted.floor_ms || until_ms < known.published_ms {
            return Err(Refusal::Old);
        }
        if until_ms > self.time_ms + CLOCK_SKEW_MAX_MS {
            return Err(Refusal::Ahead);
        }
        admitted.floor_ms = until_ms;
        self.relays.retain(|known| known.relay != relay);
        Ok(())
    }

    fn tick(&mut self, member: u32, sequence: u64, utc_ms: u64) -> Result<(), Refusal> {
        if !self.members.contains(&member) {
            return Err(Refusal::NotMember);
        }
        if self.clocks.get(&member).is_some_and(|clock| sequence <= clock.0) {
            return Err(Refusal::OldTick);
        }
        self.clocks.insert(member, (sequence, utc_ms));
        if self.clocks.len() > 2 * self.liars {
            // The lower median is what at least half of them have reached or not yet passed.
            let half = self.clocks.len().div_ceil(2);
            let reached = |time: u64| self.clocks.values().filter(|clock| clock.1 <= time).count() >= half;
            let median = self.clocks.values().map(|clock| clock.1).filter(|time| reached(*time)).min();
            self.advance(median.unwrap_or(0));
        }
        Ok(())
    }

    fn advance(&mut self, time_ms: u64) {
        self.time_ms = self.time_ms.max(time_ms);
        let index = (self.time_ms - START_MS) / INTERVAL_MS;
        if index <= self.index {
            return;
        }
        self.index = index;
        self.relays.retain(|known| known.expires_ms > self.time_ms);
        self.admitted.values_mut().for_each(|admitted| admitted.described = 0);
        let keys = index / KEY_INTERVALS;
        let usable = |said: &&Said| said.interval == keys || said.interval + 1 == keys;
        self.waiting = Some(Waiting {
            index,
            previous: self.published,
            relays: self.relays.iter().filter(usable).copied().collect(),
            votes: BTreeSet::new(),
            members: self.members.clone(),
            quorum: (self.members.len() + self.liars) / 2 + 1,
        });
    }

    fn vote(&mut self, member: u32, other_hash: bool, late: bool) -> Result<(), Refusal> {
        let waiting = self.waiting.as_mut().ok_or(Refusal::OtherIndex)?;
        if !waiting.members.contains(&member) {
            return Err(Refusal::NotMember);
        }
        if late {
            return Err(Refusal::OtherIndex);
        }
        if other_hash {
            return Err(Refusal::OtherEdition);
        }
        if !waiting.votes.insert(member) {
            return Err(Refusal::Old);
        }
        if waiting.votes.len() >= waiting.quorum {
            self.published = waiting.index;
        }
        Ok(())
    }
}
