//! The end of a link that listens on the candidates and follows (docs/spec/hops.md, "Hops of a link").

use crate::causes::Cause;
use crate::detector::{Delivery, Detector};
use crate::initiator::{SOCKETS_MAX, drain_time};
use crate::pair::Pair;
use crate::ports::PortSet;
use crate::secret::HopSecret;
use crate::targets::CANDIDATES;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Time between two hops that an operator asks for at this end.
const ASK_MIN: Duration = Duration::from_secs(5);
/// Time between two asks for the same hop: the pair that is to be left may lose most packets.
const ASK_REPEAT: Duration = Duration::from_millis(20);
/// How long a hop is asked for. Then the detector must find the pair bad once more.
const ASK_PATIENCE: Duration = Duration::from_secs(1);
/// Time after which a port that could not be opened is tried again.
const OPEN_RETRY: Duration = Duration::from_secs(5);
/// Answers to probes that wait for a slot: one for each candidate. When full, the oldest is forgotten; probes repeat.
const OWED_MAX: usize = 3;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponderOutput {
    /// Listen on this port, on all addresses of the link. Several links may want one port: the shell counts them.
    Open {
        /// The port.
        port: u16,
    },
    /// This link needs the port no more.
    Close {
        /// The port.
        port: u16,
    },
    /// Send to this pair, under this index, from the next packet on. If only the other end's address is another one, the
    /// link's rule about addresses that have not been validated applies; after a hop it does too.
    Switch {
        /// Where packets go, and from which port.
        pair: Pair,
        /// The hop index.
        index: u64,
    },
}

/// A packet that a probe is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Where to send it, and from where.
    pub pair: Pair,
    /// The hop index that it is made for.
    pub index: u64,
}

/// The hops of one link, at the end that was dialled.
///
/// After each call take [`Responder::poll_output`] until it is empty; whenever a packet can leave, ask
/// [`Responder::poll_answer`] first and then [`Responder::poll_ask`]; call [`Responder::handle_timeout`] at [`Responder::poll_timeout`].
#[derive(Debug)]
pub struct Responder {
    secret: HopSecret,
    /// The one before a rekey, while the other end may still use it.
    last_secret: Option<(HopSecret, Instant)>,
    ports: PortSet,
    rtt: Duration,
    index: u64,
    present: Pair,
    /// The present port is a door, which this link neither opens nor closes.
    at_door: bool,
    /// Ports that were left, newest first.
    old: VecDeque<(u16, Instant)>,
    open: BTreeSet<u16>,
    /// Ports that the system refused, and when to try again. A part of the wanted ones.
    refused: BTreeMap<u16, Instant>,
    owed: VecDeque<ProbeAnswer>,
    moved: bool,
    asked_at: Option<Instant>,
    asking: Option<Asking>,
    /// Judges what this end sends.
    detector: Detector,
    /// What it has found on the present pair.
    found: Option<Cause>,
}

/// A hop that is asked for.
#[derive(Debug, Clone, Copy)]
struct Asking {
    next_at: Instant,
    until: Instant,
}

impl Responder {
    /// The hops of a link whose first authenticated packet has come, on `door`. `ports` are the ports of this end.
    pub fn new(now: Instant, secret: HopSecret, ports: PortSet, rtt: Duration, door: Pair) -> Self {
        Self {
            secret,
            last_secret: None,
            ports,
            rtt,
            index: 0,
            present: door,
            at_door: true,
            old: VecDeque::new(),
            open: BTreeSet::new(),
            refused: BTreeMap::new(),
            owed: VecDeque::new(),
            moved: false,
            asked_at: None,
            asking: None,
            detector: Detector::new(now, rtt),
            found: None,
        }
    }

    /// The hop index of the present pair.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Where packets go.
    pub fn present(&self) -> Pair {
        self.present
    }

    /// The ports that this link has open. At most eight, doors not counted.
    pub fn open_ports(&self) -> impl Iterator<Item = u16> {
        self.open.iter().copied()
    }

    /// The smoothed round trip is this.
    pub fn handle_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
        self.detector.handle_rtt(rtt);
    }

    /// A stretch of the packets that this end sent on the present pair has been counted. When the pair is bad, the other
    /// end is asked for a hop.
    pub fn handle_delivery(&mut self, now: Instant, delivery: Delivery) {
        self.detector.handle_delivery(now, delivery);
        if let Some(cause) = self.detector.poll_cause(now) {
            self.found = Some(cause);
            self.ask(now);
        }
    }

    /// A probe came, authenticated and made for this index: an answer is owed if it is for the next step.
    pub fn handle_probe(&mut self, pair: Pair, index: u64) {
        let next = self.next_index() == Some(index) && self.is_candidate(pair.local.port());
        // A probe on the present pair is one whose answer was late.
        let late = index == self.index && pair == self.present;
        if !(next || late) {
            return;
        }
        // The other end is about to hop.
        self.asking = self.asking.filter(|_| !next);
        self.owed.retain(|owed| owed.pair.local != pair.local);
        if self.owed.len() == OWED_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(ProbeAnswer { pair, index });
    }

    /// Any other authenticated packet came. `newest` says that its counter is above those of all packets before it.
    pub fn handle_packet(&mut self, now: Instant, pair: Pair, index: u64, newest: bool) {
        if self.next_index() == Some(index) && self.is_candidate(pair.local.port()) {
            self.follow(now, pair, index);
        } else if index == self.index
            && newest
            && pair != self.present
            && pair.local.port() == self.present.local.port()
        {
            // The translator on the way has another address or port for the other end.
            self.present = pair;
            self.moved = true;
        }
        self.handle_timeout(now);
    }

    /// A rekey has made another secret. Candidates of the one before stay open as long as old pairs do.
    pub fn handle_new_secret(&mut self, now: Instant, secret: HopSecret) {
        let last = std::mem::replace(&mut self.secret, secret);
        self.last_secret = Some((last, now + drain_time(self.rtt)));
        self.handle_timeout(now);
    }

    /// The link has come up again through a door, with another secret: hops begin at index 0.
    pub fn handle_door_opened(&mut self, now: Instant, secret: HopSecret, door: Pair) {
        self.leave_present(now);
        (self.secret, self.last_secret) = (secret, None);
        (self.index, self.present, self.at_door, self.moved) = (0, door, true, false);
        self.owed.clear();
        self.began(now, Cause::Silence);
        self.handle_timeout(now);
    }

    /// The system refused to open a port: taken by another program, or too many descriptors. It is tried again after
    /// five seconds as long as it is wanted; the other end meanwhile tries its next candidate.
    pub fn handle_open_failed(&mut self, now: Instant, port: u16) {
        if self.open.remove(&port) {
            self.refused.insert(port, now + OPEN_RETRY);
        }
    }

    /// Command: ask the other end for a hop. True if that is done: at most every five seconds.
    pub fn ask_hop(&mut self, now: Instant) -> bool {
        let may = self.asked_at.is_none_or(|last| now >= last + ASK_MIN);
        if may {
            self.asked_at = Some(now);
            self.ask(now);
        }
        may
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.old.retain(|(_, until)| now < *until);
        self.refused.retain(|_, retry_at| now < *retry_at);
        if self.last_secret.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.last_secret = None;
        }
    }

    /// When [`Responder::handle_timeout`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let old = self.old.iter().map(|(_, until)| *until).min();
        let refused = self.refused.values().min().copied();
        let secret = self.last_secret.as_ref().map(|(_, until)| *until);
        [old, refused, secret].into_iter().flatten().min()
    }

    /// True when [`Responder::poll_answer`] has one.
    pub fn owes_answer(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The answer to a probe that is owed; the caller sends it now.
    pub fn poll_answer(&mut self) -> Option<ProbeAnswer> {
        self.owed.pop_front()
    }

    /// When a packet that asks for a hop wants to be sent. On a grid it takes a slot.
    pub fn ask_at(&self) -> Option<Instant> {
        self.asking.map(|asking| asking.next_at)
    }

    /// True when the other end is to be asked for a hop; the caller sends that now.
    pub fn poll_ask(&mut self, now: Instant) -> bool {
        self.asking = self.asking.filter(|asking| now < asking.until);
        let Some(asking) = self.asking.as_mut().filter(|asking| now >= asking.next_at) else { return false };
        asking.next_at = now + ASK_REPEAT;
        true
    }

    /// The next thing to do: closing first, so that there are never more than eight.
    pub fn poll_output(&mut self) -> Option<ResponderOutput> {
        if std::mem::take(&mut self.moved) {
            return Some(ResponderOutput::Switch { pair: self.present, index: self.index });
        }
        let wanted = self.wanted();
        if let Some(port) = self.open.iter().copied().find(|port| !wanted.contains(port)) {
            self.open.remove(&port);
            return Some(ResponderOutput::Close { port });
        }
        self.refused.retain(|port, _| wanted.contains(port));
        let missing = |port: &u16| !self.open.contains(port) && !self.refused.contains_key(port);
        let port = wanted.iter().copied().find(missing)?;
        self.open.insert(port);
        Some(ResponderOutput::Open { port })
    }

    fn next_index(&self) -> Option<u64> {
        self.index.checked_add(1)
    }

    /// Ports of the next step, those of a secret that is going last.
    fn candidates(&self) -> impl Iterator<Item = u16> {
        let secrets = std::iter::once(&self.secret).chain(self.last_secret.as_ref().map(|(secret, _)| secret));
        let next = self.next_index();
        secrets.flat_map(move |secret| next.map(|next| secret.ports(&self.ports, next, CANDIDATES))).flatten()
    }

    fn is_candidate(&self, port: u16) -> bool {
        self.candidates().any(|candidate| candidate == port)
    }

    /// The ports to have open, at most eight: the present one, the candidates, then what was left, newest first.
    fn wanted(&self) -> Vec<u16> {
        let present = (!self.at_door).then(|| self.present.local.port());
        let old = self.old.iter().map(|(port, _)| *port);
        let mut wanted = Vec::with_capacity(SOCKETS_MAX);
        for port in present.into_iter().chain(self.candidates()).chain(old) {
            if wanted.len() < SOCKETS_MAX && !wanted.contains(&port) {
                wanted.push(port);
            }
        }
        wanted
    }

    fn follow(&mut self, now: Instant, pair: Pair, index: u64) {
        self.leave_present(now);
        (self.index, self.present, self.at_door, self.moved) = (index, pair, false, true);
        self.owed.retain(|owed| owed.pair == pair);
        // Why the other end has hopped is not said; what was found here is reason enough.
        let cause = self.found.unwrap_or(Cause::Interval);
        self.began(now, cause);
    }

    fn ask(&mut self, now: Instant) {
        self.asking = Some(Asking { next_at: now, until: now + ASK_PATIENCE });
    }

    /// The life of a pair begins.
    fn began(&mut self, now: Instant, cause: Cause) {
        (self.asking, self.found) = (None, None);
        self.detector.handle_hop(now, cause);
    }

    fn leave_present(&mut self, now: Instant) {
        if !self.at_door {
            self.old.push_front((self.present.local.port(), now + drain_time(self.rtt)));
            self.old.truncate(SOCKETS_MAX);
        }
    }
}

#[cfg(test)]
mod tests;
