//! What a server with a key lets through.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use identity::HopKey;
use os_net::datagram::Train;
use port_hopping::Pair;
use port_hopping::keyed::{Datagram, FlowId, KNOCK_LEN_MAX, Schedule, Server};
use port_hopping::ports::PortSet;

use super::CLOCK_LOOK;
use crate::engine::Moment;

/// The schedule of ports and the table of pairs that have knocked.
#[derive(Debug)]
pub(super) struct Keyed {
    schedule: Schedule,
    server: Server,
    open: BTreeSet<u16>,
    look_at: Option<Instant>,
}

/// What is to be done with datagrams of one train.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They go to the target.
    Forward { flow: FlowId, first: usize, count: usize },
    /// It was a knock.
    Answer { flow: FlowId, new_flow: bool, answer: Vec<u8> },
    /// Nothing.
    Silent { datagrams: u64 },
}

impl Keyed {
    /// Most ports that are open at a time: [`Schedule::open_at`].
    pub(super) const OPEN_PORTS_MAX: u8 = 8;

    pub(super) fn new(key: &HopKey, ports: &PortSet, idle_timeout: Duration, seed: [u8; 32]) -> Self {
        let schedule = Schedule::new(key, ports.clone());
        let server = Server::new(key, idle_timeout, seed);
        Self { schedule, server, open: BTreeSet::new(), look_at: None }
    }

    /// The ports to hear at a time.
    pub(super) fn ports_at(&self, unix: Duration) -> BTreeSet<u16> {
        self.schedule.open_at(unix)
    }

    /// The ports to hear, if they are others than before. Looks at most once a second, whatever the clock does.
    pub(super) fn ports_if_changed(&mut self, moment: Moment) -> Option<BTreeSet<u16>> {
        if self.look_at.is_some_and(|at| at > moment.now) {
            return None;
        }
        let until_change = self.schedule.next_change(moment.unix).saturating_sub(moment.unix);
        self.look_at = Some(moment.now + until_change.clamp(Duration::from_millis(1), CLOCK_LOOK));
        let open = self.schedule.open_at(moment.unix);
        (open != self.open).then(|| self.open.clone_from(&open)).map(|()| open)
    }

    pub(super) fn close_port(&mut self, port: u16) {
        self.server.admission_mut().close_port(port);
    }

    /// Judges the datagrams of a train.
    pub(super) fn judge(&mut self, pair: Pair, train: &Train<'_>, moment: Moment) -> Vec<Verdict> {
        let (datagrams, segment) = (train.datagrams(), train.segment_bytes());
        let mut verdicts: Vec<Verdict> = Vec::new();
        let mut at = 0;
        while let Some(rest) = train.without_first(at).filter(|_| at < datagrams) {
            let first = rest.iter().next().unwrap_or_default();
            // Longer ones are no knocks, so one look at the pair is enough for all that are as long.
            let full = train.bytes().len() / segment;
            let count = if segment > KNOCK_LEN_MAX && at < full { full - at } else { 1 };
            let verdict = self.one(pair, first, moment, at, count);
            at += count;
            match (verdicts.last_mut(), verdict) {
                (Some(Verdict::Forward { flow, count, .. }), Verdict::Forward { flow: same, count: more, .. })
                    if *flow == same =>
                {
                    *count += more;
                }
                (Some(Verdict::Silent { datagrams }), Verdict::Silent { datagrams: more }) => *datagrams += more,
                (_, verdict) => verdicts.push(verdict),
            }
        }
        verdicts
    }

    fn one(&mut self, pair: Pair, datagram: &[u8], moment: Moment, first: usize, count: usize) -> Verdict {
        match self.server.handle_datagrams(moment.now, moment.unix, pair, datagram, count as u64) {
            Datagram::Forward(flow) => Verdict::Forward { flow, first, count },
            Datagram::Answer { flow, new_flow, answer } => Verdict::Answer { flow, new_flow, answer },
            Datagram::Silent => Verdict::Silent { datagrams: count as u64 },
        }
    }

    /// The pair on which a flow's answers go.
    pub(super) fn answers_of(&self, flow: FlowId) -> Option<Pair> {
        self.server.admission().answers_of(flow)
    }

    /// Answers went on a pair, which is in use by that.
    pub(super) fn note_sent(&mut self, now: Instant, pair: &Pair, datagrams: u64) {
        self.server.admission_mut().note_sent(now, pair, datagrams);
    }

    /// A flow without pairs.
    pub(super) fn ended_flow(&mut self, now: Instant) -> Option<FlowId> {
        self.server.admission_mut().poll_ended_flow(now)
    }

    pub(super) fn end_flow(&mut self, flow: FlowId) {
        self.server.admission_mut().end_flow(flow);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.look_at, self.server.admission().poll_timeout()].into_iter().flatten().min()
    }
}
