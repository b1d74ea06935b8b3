//! Slots, time, faults, and the loop.

use super::check::Checker;
use super::clients::{Client, client_of};
use super::dice::Dice;
use super::disk::Disk;
use super::network::Pair;
use super::{Planted, Schedule};
use identity::NodeId;
use replicated_log::apps::built_in;
use replicated_log::{
    Change, Checkpoint, ClusterId, Event, Members, Node, Now, Offset, SessionEpoch, Term, Token, Tuning, Turn,
};
use std::collections::BTreeMap;
use std::time::Duration;

const CLUSTER: ClusterId = ClusterId([0xc1; 32]);

const CLIENTS: u64 = 4;

/// Most steps until everything must have come to an end when nothing goes wrong any more.
const QUIET_STEPS: u32 = 40_000;

/// A client of this number is the operator.
const OPERATOR: Token = Token(u64::MAX);

/// What a run did, so that one can see that it was not idle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Entries of the log.
    pub entries: u64,
    /// Messages that took effect.
    pub messages: u64,
    /// Answers that clients had.
    pub answers: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Crashes.
    pub crashes: u64,
    /// The last term.
    pub terms: u64,
    /// Changes of members.
    pub changes: u64,
    /// Checkpoints that were fetched.
    pub fetched: u64,
    /// Virtual time, in milliseconds.
    pub time_ms: u64,
    /// The longest time in which no client had an answer, in milliseconds of virtual time.
    pub longest_silence_ms: u64,
}

struct Slot {
    id: NodeId,
    disk: Disk,
    node: Option<Node>,
    /// The offset of the next entry that the node must tell of.
    next: Offset,
    skew_ppm: u64,
    utc_offset_ms: u64,
    /// It has left; it may be taken away when the others are in its term.
    has_left: bool,
    is_gone: bool,
}

/// A change of members on its way.
struct Churn {
    change: Change,
    asked_ms: u64,
}

pub(super) struct World {
    schedule: Schedule,
    dice: Dice,
    now_us: u64,
    slots: Vec<Slot>,
    pairs: BTreeMap<(usize, usize), Pair>,
    clients: Vec<Client>,
    checker: Checker,
    epochs: u64,
    ids: u8,
    churn: Option<Churn>,
    is_quiet: bool,
    /// Until then nodes stop one after the other.
    power_fails_until_us: u64,
    /// When a client had an answer last.
    answered_us: u64,
    outcome: Outcome,
}

impl World {
    pub(super) fn new(seed: u64, schedule: Schedule) -> Self {
        let mut dice = Dice::new(seed);
        let clients = (0..CLIENTS).map(|number| Client::new(number, &mut dice)).collect();
        let mut world = Self {
            schedule,
            dice,
            now_us: 0,
            slots: Vec::new(),
            pairs: BTreeMap::new(),
            clients,
            checker: Checker::default(),
            epochs: 0,
            ids: 0,
            churn: None,
            is_quiet: false,
            power_fails_until_us: 0,
            answered_us: 0,
            outcome: Outcome::default(),
        };
        let ids: Vec<NodeId> = (0..schedule.members).map(|_| world.draw_id()).collect();
        let members = Members::new(ids.iter().copied()).expect("a schedule has 2 to 7 members");
        let checkpoint = Checkpoint::genesis(CLUSTER, members);
        ids.iter().for_each(|id| world.add_slot(*id, &checkpoint));
        world
    }

    fn draw_id(&mut self) -> NodeId {
        self.ids = self.ids.wrapping_add(1);
        let mut id = [self.ids; 32];
        // The order of ids has nothing to do with the order in which nodes came.
        id[0] = self.dice.bits() as u8;
        NodeId(id)
    }

    fn add_slot(&mut self, id: NodeId, checkpoint: &Checkpoint) {
        let disk = Disk::new(CLUSTER, id, checkpoint.term, checkpoint.encode());
        let (skew_ppm, utc_offset_ms) = if self.schedule.skew {
            let offsets = [0, 5, 2_000, 3_600_000, 30 * 3_600_000];
            (self.dice.below(100_000), offsets[self.dice.index(offsets.len())])
        } else {
            (0, 0)
        };
        let next = Offset(0);
        let slot = Slot { id, disk, node: None, next, skew_ppm, utc_offset_ms, has_left: false, is_gone: false };
        let place = self.slots.iter().position(|slot| slot.is_gone).unwrap_or(self.slots.len());
        if place == self.slots.len() {
            (0..place).for_each(|other| drop(self.pairs.insert((other, place), Pair::default())));
            self.slots.push(slot);
        } else {
            self.slots[place] = slot;
        }
    }

    /// The noisy phase, then the quiet one.
    pub(super) fn play(mut self) -> Result<Outcome, String> {
        for step in 0..self.schedule.steps {
            self.step().map_err(|error| format!("step {step}: {error}"))?;
        }
        self.is_quiet = true;
        self.pairs.values_mut().for_each(|pair| pair.blocked = [false; 2]);
        for step in 0..QUIET_STEPS {
            self.step().map_err(|error| format!("quiet step {step}: {error}"))?;
            if step % 64 == 0 && self.is_done() {
                return self.finish();
            }
        }
        Err(format!("no progress: {}", self.describe()))
    }

    fn finish(mut self) -> Result<Outcome, String> {
        // Who was removed may not know yet, and stay in its term.
        let newest = self.nodes().map(|node| node.status().term).max();
        let voters = self.nodes().filter(|node| node.status().votes && Some(node.status().term) == newest);
        let states: Vec<_> = voters.map(|node| (node.status().next, node.machine().snapshot())).collect();
        if states.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err("nodes that applied the same entries have different states".to_owned());
        }
        self.outcome.entries = self.checker.length();
        self.outcome.messages = self.checker.done() as u64;
        self.outcome.answers = self.clients.iter().map(|client| client.answers).sum();
        self.outcome.reads = self.clients.iter().map(|client| client.reads_done).sum();
        self.outcome.time_ms = self.now_us / 1_000;
        Ok(self.outcome)
    }

    fn is_done(&self) -> bool {
        let newest = self.nodes().map(|node| node.status().term).max();
        let next = Offset(self.checker.length());
        let mut voters = self.nodes().filter(|node| node.status().votes && Some(node.status().term) == newest);
        let members = voters.next().map_or(0, |node| node.members().count());
        let agreed = self.nodes().filter(|node| node.status().votes && node.status().next == next).count();
        self.clients.iter().all(Client::is_idle) && members > 0 && agreed == members && self.churn.is_none()
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.slots.iter().filter(|slot| !slot.is_gone).filter_map(|slot| slot.node.as_ref())
    }

    fn describe(&self) -> String {
        let states: Vec<_> =
            self.slots.iter().map(|slot| slot.node.as_ref().map(|node| (slot.id.0[1], node.status()))).collect();
        let idle = self.clients.iter().filter(|client| client.is_idle()).count();
        let open = self.pairs.values().filter(|pair| pair.is_open()).count();
        let churn = self.churn.as_ref().map(|churn| churn.change);
        format!(
            "{} entries, {idle} clients idle, {open} connections, churn {churn:?}: {states:?}",
            self.checker.length()
        )
    }

    fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }

    fn now(&self, slot: usize) -> Now {
        let slot = &self.slots[slot];
        let monotonic = Duration::from_micros(self.now_us + self.now_us / 1_000_000 * slot.skew_ppm);
        Now { monotonic, utc_ms: 1_700_000_000_000 + self.now_ms() + slot.utc_offset_ms }
    }

    fn step(&mut self) -> Result<(), String> {
        self.now_us += self.dice.below(self.schedule.step_ms_max * 1_000);
        let place = self.dice.index(self.slots.len());
        self.change_network();
        if self.schedule.churn && self.dice.once_in(16) {
            self.change_members();
        }
        if self.slots[place].is_gone {
            return Ok(());
        }
        if self.slots[place].node.is_none() {
            if self.is_quiet || self.dice.once_in(30) {
                self.start(place)?;
            }
            return Ok(());
        }
        self.give_input(place)?;
        for _ in 0..3 {
            let now = self.now(place);
            let Some(turn) = self.slots[place].node.as_mut().and_then(|node| node.poll_turn(now)) else { break };
            self.perform(place, turn)?;
        }
        Ok(())
    }

    fn give_input(&mut self, place: usize) -> Result<(), String> {
        let now = self.now(place);
        let new = !self.is_quiet;
        let reorder = self.schedule.planted == Some(Planted::Reordered);
        let ids: Vec<NodeId> = self.slots.iter().map(|slot| slot.id).collect();
        let Some(node) = &mut self.slots[place].node else { return Ok(()) };
        if node.poll_deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            node.handle_timeout(now);
        }
        for (ends, pair) in self.pairs.range_mut(..) {
            let (direction, from) = match *ends {
                (low, high) if high == place => (0, low),
                (low, high) if low == place => (1, high),
                _ => continue,
            };
            for _ in 0..self.dice.below(6) {
                let Some(frame) = pair.pop(direction, reorder && !self.is_quiet, &mut self.dice) else { break };
                node.handle_frame(now, ids[from], &frame.bytes)
                    .map_err(|error| format!("a frame was refused: {error}"))?;
            }
        }
        if self.dice.once_in(3) {
            let client = self.dice.index(self.clients.len());
            let now_ms = self.now_us / 1_000;
            self.clients[client].act(now_ms, node, &mut self.checker, &mut self.dice, new);
        }
        if self.schedule.short_terms && new && self.dice.once_in(2_000) {
            let _ = node.end_term(OPERATOR);
        }
        Ok(())
    }

    /// Does what a shell does at the end of a turn; the machine may stop before or after each part of it.
    fn perform(&mut self, place: usize, turn: Turn) -> Result<(), String> {
        let Turn { early, writes, sync, unsynced } = turn;
        let may_crash = self.schedule.crashes && !self.is_quiet;
        if may_crash && self.dice.once_in(1_000) {
            self.power_fails_until_us = self.now_us + 60_000;
        }
        let odds = if self.now_us < self.power_fails_until_us { 5 } else { 500 };
        let crash_at = if may_crash && self.dice.once_in(odds) { self.dice.below(4) } else { u64::MAX };
        self.send(place, early);
        if crash_at == 0 {
            self.crash(place);
            return Ok(());
        }
        writes.iter().for_each(|write| self.slots[place].disk.write(write));
        let skipped = self.schedule.planted == Some(Planted::SyncSkipped);
        if sync && !skipped && crash_at != 1 {
            self.slots[place].disk.sync();
        }
        if crash_at <= 2 && !(self.schedule.planted == Some(Planted::SentBeforeSync) && crash_at == 1) {
            self.crash(place);
            return Ok(());
        }
        let Some(node) = self.slots[place].node.as_mut() else { return Ok(()) };
        let released = node.handle_saved(unsynced);
        self.send(place, released.frames);
        if crash_at == 1 || crash_at == 3 {
            self.crash(place);
            return Ok(());
        }
        released.events.iter().try_for_each(|event| self.handle_event(place, event))
    }

    fn handle_event(&mut self, place: usize, event: &Event) -> Result<(), String> {
        match event {
            Event::Applied(applied) => {
                let next = self.slots[place].next;
                if applied.offset != next {
                    return Err(format!("node {place} tells of {:?} where {next:?} comes next", applied.offset));
                }
                self.slots[place].next.0 += 1;
                self.checker.handle_applied(place, applied)?;
            }
            Event::TermBegan { term, base, skipped, .. } => {
                self.checker.handle_base(*base);
                if *skipped {
                    self.slots[place].next = *base;
                    self.outcome.fetched += 1;
                } else if *base != self.slots[place].next {
                    return Err(format!("node {place} begins a term at {base:?}"));
                }
                self.outcome.terms = self.outcome.terms.max(term.0);
            }
            Event::Left => self.slots[place].has_left = true,
            Event::Stopped(fatal) => return Err(format!("node {place} stopped: {fatal}")),
            other => {
                if let Event::Acknowledged { .. } = other {
                    let silence_ms = (self.now_us - self.answered_us) / 1_000;
                    self.outcome.longest_silence_ms = self.outcome.longest_silence_ms.max(silence_ms);
                    self.answered_us = self.now_us;
                }
                if let Some(client) = client_of(other).and_then(|client| self.clients.get_mut(client)) {
                    client.handle_event(other, &mut self.checker, &mut self.dice)?;
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, place: usize, frames: Vec<replicated_log::Outgoing>) {
        for frame in frames {
            let to = self.slots.iter().position(|slot| slot.id == frame.to && !slot.is_gone);
            let Some(to) = to else { continue };
            let (ends, direction) = if place < to { ((place, to), 0) } else { ((to, place), 1) };
            if let Some(pair) = self.pairs.get_mut(&ends) {
                pair.push(direction, frame, &mut self.dice);
            }
        }
    }

    fn start(&mut self, place: usize) -> Result<(), String> {
        // Whatever was open before belongs to a process that is gone.
        let own = self.pairs.iter_mut().filter(|(ends, _)| ends.0 == place || ends.1 == place);
        own.for_each(|(_, pair)| pair.disconnect());
        let slot = &mut self.slots[place];
        let (checkpoint, recovered) = slot.disk.recover(CLUSTER, slot.id)?;
        slot.next = Checkpoint::decode(&checkpoint, CLUSTER).map_err(|error| error.to_string())?.base;
        // What its checkpoint has is decided, even if it stopped before it told anybody.
        self.checker.handle_base(slot.next);
        let tuning = Tuning {
            tick_ms: self.schedule.tick_ms,
            retry_ms: 400,
            log_time_ms: 500,
            term_entries_max: if self.schedule.short_terms { 150 } else { 1_000_000 },
            without_sessions: self.schedule.planted == Some(Planted::WithoutSessions),
            catch_up_entries: 32,
            window_entries_max: 16,
            ..Tuning::default()
        };
        let reader = Box::new(slot.disk.clone());
        let node =
            Node::open((CLUSTER, slot.id), self.dice.bits(), tuning, &checkpoint, (recovered, reader), built_in());
        slot.node = Some(node.map_err(|error| error.to_string())?);
        Ok(())
    }

    fn crash(&mut self, place: usize) {
        self.outcome.crashes += 1;
        self.slots[place].node = None;
        self.slots[place].disk.crash(&mut self.dice);
    }

    /// Connections come and go. One whose end has stopped is noticed after a while; what it had sent may still arrive.
    fn change_network(&mut self) {
        let place = self.dice.index(self.pairs.len());
        let Some(ends) = self.pairs.keys().nth(place).copied() else { return };
        let both_run = [ends.0, ends.1].iter().all(|end| self.slots[*end].node.is_some() && !self.slots[*end].is_gone);
        let noisy = self.schedule.partitions && !self.is_quiet;
        let Some(pair) = self.pairs.get_mut(&ends) else { return };
        if noisy && self.dice.once_in(60) {
            pair.blocked = [self.dice.once_in(3), self.dice.once_in(3)];
        }
        if pair.is_open() {
            let breaks = if both_run { noisy && self.dice.once_in(80) } else { self.dice.once_in(4) };
            if breaks {
                let epoch = pair.epoch;
                pair.disconnect();
                self.end_session(ends, epoch);
                return;
            }
            if !(both_run && noisy && self.dice.once_in(200)) {
                return;
            }
            // Both ends dialled: a second connection takes the place of the first.
        }
        let Some(pair) = self.pairs.get_mut(&ends) else { return };
        let is_blocked = pair.blocked != [false; 2];
        if both_run && !is_blocked && (pair.is_open() || self.dice.once_in(3)) {
            self.epochs += 1;
            let epoch = SessionEpoch(self.epochs);
            pair.connect(epoch);
            for (own, other) in [(ends.0, ends.1), (ends.1, ends.0)] {
                let (now, peer) = (self.now(own), self.slots[other].id);
                if let Some(node) = &mut self.slots[own].node {
                    node.handle_session(now, peer, epoch);
                }
            }
        }
    }

    fn end_session(&mut self, ends: (usize, usize), epoch: Option<SessionEpoch>) {
        for (own, other) in [(ends.0, ends.1), (ends.1, ends.0)] {
            let peer = self.slots[other].id;
            // One end may learn of it only by the next connection.
            if let (Some(node), Some(epoch), false) = (&mut self.slots[own].node, epoch, self.dice.once_in(3)) {
                node.handle_session_end(peer, epoch);
            }
        }
    }

    /// Plays the operator: at most one change at a time, and who has left is taken away when all others know.
    fn change_members(&mut self) {
        self.take_away();
        let now_ms = self.now_ms();
        let newest = self.nodes().filter(|node| node.status().votes).max_by_key(|node| node.status().term);
        let Some(members) = newest.map(|node| node.members().clone()) else { return };
        match &mut self.churn {
            Some(churn) => {
                let joined = churn.change.add.is_none_or(|id| members.contains(id));
                let left = churn.change.remove.is_none_or(|id| !members.contains(id));
                if joined && left {
                    self.churn = None;
                    self.outcome.changes += 1;
                } else if now_ms > churn.asked_ms + 1_000 {
                    churn.asked_ms = now_ms;
                    let change = churn.change;
                    let place = self.dice.index(self.slots.len());
                    if let Some(node) = &mut self.slots[place].node {
                        let _ = node.change_members(OPERATOR, change);
                    }
                }
            }
            None if !self.is_quiet && self.dice.once_in(8) => {
                let many = members.count() >= 5;
                let removes = many || self.dice.once_in(2);
                let remove = removes.then(|| members.iter().nth(self.dice.index(members.count()))).flatten();
                let add = (!many || self.dice.once_in(2)).then(|| self.draw_id());
                if add.is_none() && members.count() <= 3 {
                    return;
                }
                if let Some(id) = add {
                    self.add_slot(id, &Checkpoint::newcomer(CLUSTER, members));
                }
                self.churn = Some(Churn { change: Change { add, remove }, asked_ms: 0 });
            }
            None => {}
        }
    }

    /// Takes away who left, or was left behind, when every member is in the newest term and so needs it no more.
    fn take_away(&mut self) {
        let newest = self.nodes().filter(|node| node.status().votes).max_by_key(|node| node.status().term);
        let Some((term, members)) = newest.map(|node| (node.status().term, node.members().clone())) else { return };
        let is_settled = members.iter().all(|id| {
            let member = self.slots.iter().find(|slot| slot.id == id && !slot.is_gone);
            member.and_then(|slot| slot.node.as_ref()).is_some_and(|node| node.status().term == term)
        });
        if !is_settled {
            return;
        }
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let own = slot.node.as_ref().map(|node| node.status().term);
            let was_member = slot.has_left || own.is_some_and(|own| own > Term(0) && own < term);
            let is_joining = self.churn.as_ref().is_some_and(|churn| churn.change.add == Some(slot.id));
            if was_member && !slot.is_gone && !is_joining && !members.contains(slot.id) {
                (slot.node, slot.is_gone) = (None, true);
                let own = self.pairs.iter_mut().filter(|(ends, _)| ends.0 == place || ends.1 == place);
                own.for_each(|(_, pair)| pair.disconnect());
            }
        }
    }
}
