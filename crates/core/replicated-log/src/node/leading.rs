//! Getting entries into the log: by oneself as the leader, through the leader otherwise.

use super::clients::Key;
use super::{Event, Node, Timer};
use crate::engine::{Class, Leader};
use crate::entry::{Command, Entry};
use crate::frame::Body;
use crate::ids::{LogIndex, Now};
use identity::NodeId;
use std::collections::VecDeque;
use std::time::Duration;

/// Most entries that a leader has in flight, undecided. Its own clients' wait; others' are told to come again.
const IN_FLIGHT_MAX: u64 = 8_192;

/// Most bytes that a leader has in flight.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;

/// How long entries gather at most while earlier ones are undecided.
const GATHER: Duration = Duration::from_millis(5);

/// Entries are forwarded in frames of about this many bytes.
const FORWARD_BYTES: usize = 256 << 10;

/// What a leader, or a follower of one, has to remember.
#[derive(Debug, Default)]
pub(super) struct Leading {
    seen: Option<Leader>,
    /// The log's time is to be written.
    pub(super) is_tick_due: bool,
    /// What waits has gathered for long enough.
    pub(super) is_gathered: bool,
    /// The end of the term is in the log, or on its way; what comes behind it would not count.
    pub(super) is_ending: bool,
    /// Lengths of entries in flight.
    in_flight: VecDeque<(LogIndex, usize)>,
    in_flight_bytes: usize,
}

impl Node {
    /// Does what there is to do for whoever leads.
    pub(super) fn advance(&mut self, now: Now) {
        let Some(engine) = &self.engine else { return };
        let leader = engine.leader().filter(|leader| leader.in_step);
        if leader != self.leading.seen {
            self.leading = Leading { seen: leader, is_tick_due: true, ..Leading::default() };
            self.timers.cancel(Timer::LogTime);
            self.clients.resend_all();
            let node = leader.and_then(|leader| self.beginning.members.node(leader.engine_id));
            self.output.events.push(Event::Leader(node));
        }
        let Some(leader) = leader else { return };
        self.gather_reads();
        match self.beginning.members.node(leader.engine_id) {
            Some(node) if node == self.own => self.lead(now),
            Some(node) => self.forward(now, node),
            None => {}
        }
    }

    fn gather_reads(&mut self) {
        let tokens = self.clients.take_reads();
        if !tokens.is_empty() {
            let tag = self.clients.next_number();
            let barrier = Command::Barrier { origin: self.own, incarnation: self.incarnation, tag };
            self.clients.insert(Key::Read(tag), barrier.encode(), tokens);
        }
    }

    fn lead(&mut self, now: Now) {
        if self.store.length() == LogIndex(0) {
            // Before anything else: whoever began the term with another state stops here.
            self.propose(Command::TermStart(self.beginning.hash).encode());
        }
        if std::mem::take(&mut self.leading.is_tick_due) {
            self.timers.set(Timer::LogTime, now.monotonic + Duration::from_millis(self.tuning.log_time_ms));
            self.propose(Command::Tick(now.utc_ms).encode());
        }
        if self.may_propose(now) {
            while !self.leading.is_ending && self.has_flight_room() {
                let Some((key, entry)) = self.clients.peek_unsent() else { break };
                let entry = entry.clone();
                self.clients.mark_sent(key, now.monotonic);
                self.propose(entry);
            }
        }
        self.end_if_due(now);
    }

    /// What waits goes into the log when it is two thirds of what is undecided there, or has waited for [`GATHER`]: what comes
    /// meanwhile shares its messages and syncs. With all of it, the disks of members rest while the last of a batch come in.
    fn may_propose(&mut self, now: Now) -> bool {
        let undecided = self.store.length().0 - self.decided().0;
        if 3 * self.clients.unsent() as u64 >= 2 * undecided || self.leading.is_gathered {
            self.leading.is_gathered = false;
            self.timers.cancel(Timer::Gather);
            return true;
        }
        if self.clients.unsent() > 0 && !self.timers.is_set(Timer::Gather) {
            self.timers.set(Timer::Gather, now.monotonic + GATHER);
        }
        false
    }

    fn propose(&mut self, entry: Entry) {
        let Some(engine) = &mut self.engine else { return };
        let (index, bytes) = (engine.length(), entry.as_bytes().len());
        let is_end = matches!(entry.as_bytes(), [8, ..]);
        if engine.propose(entry).is_ok() {
            self.leading.in_flight.push_back((index, bytes));
            self.leading.in_flight_bytes += bytes;
            self.leading.is_ending |= is_end;
        }
    }

    fn has_flight_room(&mut self) -> bool {
        let decided = self.decided();
        while let Some((index, bytes)) = self.leading.in_flight.front().copied()
            && index < decided
        {
            self.leading.in_flight.pop_front();
            self.leading.in_flight_bytes -= bytes;
        }
        self.store.length().0 - decided.0 < IN_FLIGHT_MAX && self.leading.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }

    fn end_if_due(&mut self, now: Now) {
        if self.leading.is_ending {
            return;
        }
        let planned = self.machine.plan().filter(|plan| match plan.add {
            None => true,
            Some(newcomer) => self.has_caught_up(now, newcomer),
        });
        let next = planned.and_then(|plan| self.beginning.members.changed(plan).ok());
        let is_full = self.store.length().0 >= self.tuning.term_entries_max
            || self.output.written() >= self.tuning.term_bytes_max;
        if next.is_some() || is_full {
            let members = next.unwrap_or_else(|| self.beginning.members.clone());
            let (term, behaviour) = (self.beginning.term, self.machine.behaviour());
            self.propose(Command::EndTerm { term, members, behaviour }.encode());
        }
    }

    fn forward(&mut self, now: Now, leader: NodeId) {
        if !self.peers.contains_key(&leader) {
            return;
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((key, entry)) = self.clients.peek_unsent() {
            bytes += entry.as_bytes().len();
            batch.push(entry.clone());
            self.clients.mark_sent(key, now.monotonic);
            if bytes >= FORWARD_BYTES {
                self.send(leader, Class::BeforeSync, Body::Forward(std::mem::take(&mut batch)));
                bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.send(leader, Class::BeforeSync, Body::Forward(batch));
        }
    }

    /// Entries of a follower's clients. Who does not lead any more says nothing: the sender finds out and sends them again.
    pub(super) fn handle_forward(&mut self, from: NodeId, entries: Vec<Entry>) {
        if !self.leads() || self.leading.is_ending || self.store.length() == LogIndex(0) {
            return;
        }
        let mut refused = Vec::new();
        for entry in entries {
            // The first entry and the time are the leader's own to write.
            let may_be_forwarded = matches!(entry.as_bytes(), [2 | 3 | 5..=8, ..]);
            if !may_be_forwarded || self.leading.is_ending {
                continue;
            }
            if self.has_flight_room() { self.propose(entry) } else { refused.push(entry) }
        }
        if !refused.is_empty() {
            self.send(from, Class::BeforeSync, Body::ForwardBusy(refused));
        }
    }
}
