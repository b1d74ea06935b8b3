//! The hops of one link (docs/spec/link.md, "Hops").

use crate::hops::{PAST_HOPS_MAX, PastHop};
use crate::offer::HopOffer;
use crate::path::{CHALLENGE_LEN, Challenge};
use crate::report::Stretch;
use crate::route::{Route, Via};
use port_hopping::causes::Cause;
use port_hopping::detector::{Delivery, Direction, Pace};
use port_hopping::initiator::Initiator;
use port_hopping::responder::Responder;
use port_hopping::{Pair, SocketId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Answers to probes whose challenge is remembered: one a candidate. When full, the oldest goes, and its pair is
/// challenged anew.
const ANSWERED_MAX: usize = 3;
/// Time between two offers that were not acknowledged.
pub(crate) const OFFER_INTERVAL: Duration = Duration::from_secs(1);

/// The hops of a link at either end.
pub(crate) enum Hops {
    Initiator(Box<InitiatorHops>),
    Responder(Box<ResponderHops>),
}

/// At the end that dialled.
pub(crate) struct InitiatorHops {
    pub(crate) core: Initiator,
    /// What the targets were made of.
    pub(crate) offer: HopOffer,
    /// The sockets of the core that are open or ordered.
    pub(crate) vias: BTreeMap<SocketId, Via>,
    pub(crate) record: HopRecord,
    /// Bytes of the present pair that the core was told of.
    told: u64,
    /// Packets that want an answer and that the core was not told of.
    sent: u64,
    /// Packets that the link had sent when it came to the present pair.
    sent_before: u64,
    /// The hop that the newest report came on.
    reported_on: Option<u64>,
    demand: Demand,
}

/// At the end that was dialled.
pub(crate) struct ResponderHops {
    pub(crate) core: Responder,
    pub(crate) record: HopRecord,
    /// Packets that the link had sent when it came to the present pair.
    sent_before: u64,
    demand: Demand,
    /// Routes on which probes were answered, and what will prove them.
    answered: VecDeque<(Route, Challenge)>,
}

/// Whether there was more to send than could be sent, all the time.
#[derive(Default)]
struct Demand {
    is_limited: bool,
    /// Never was it otherwise since the last stretch.
    always: bool,
}

impl Demand {
    fn note(&mut self, is_limited: bool) {
        self.is_limited = is_limited;
        self.always &= is_limited;
    }

    /// What decided how much was sent in the stretch that ends now.
    fn take(&mut self, is_scheduled: bool) -> Pace {
        let always = std::mem::replace(&mut self.always, self.is_limited);
        match (is_scheduled, always) {
            (true, _) => Pace::Schedule,
            (false, true) => Pace::HeldBack,
            (false, false) => Pace::Demand,
        }
    }
}

/// What a status page shows.
pub(crate) struct HopRecord {
    pub(crate) since: Instant,
    /// Bytes on the present pair.
    pub(crate) bytes: u64,
    pub(crate) past: VecDeque<PastHop>,
}

impl HopRecord {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, past: VecDeque::new() }
    }

    /// The link is on another pair.
    fn begin_pair(&mut self, now: Instant) {
        (self.since, self.bytes) = (now, 0);
    }

    fn note(&mut self, hop: PastHop) {
        if self.past.len() >= PAST_HOPS_MAX {
            self.past.pop_front();
        }
        self.past.push_back(hop);
        self.begin_pair(hop.at);
    }
}

impl Hops {
    pub(crate) fn initiator(&mut self) -> Option<&mut InitiatorHops> {
        if let Self::Initiator(hops) = self { Some(hops) } else { None }
    }

    pub(crate) fn responder(&mut self) -> Option<&mut ResponderHops> {
        if let Self::Responder(hops) = self { Some(hops) } else { None }
    }

    /// A packet was sealed for the link's own place.
    #[inline]
    pub(crate) fn count_sent(&mut self, bytes: usize, wants_answer: bool) {
        match self {
            Self::Initiator(hops) => {
                hops.record.bytes += bytes as u64;
                hops.sent += u64::from(wants_answer);
            }
            Self::Responder(hops) => hops.record.bytes += bytes as u64,
        }
    }

    /// A packet came from the link's own place, made for its hop.
    #[inline]
    pub(crate) fn count_received(&mut self, now: Instant, hop: u64, bytes: usize) {
        match self {
            Self::Initiator(hops) => {
                hops.record.bytes += bytes as u64;
                let present = hops.core.present();
                hops.core.handle_packet(now, present, hop);
            }
            Self::Responder(hops) => hops.record.bytes += bytes as u64,
        }
    }

    /// When the core has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Initiator(hops) => hops.core.poll_timeout(),
            Self::Responder(hops) => hops.core.poll_timeout(),
        }
    }

    /// When a packet of the core's can leave, where there are no slots; `at_once` is a time that is over.
    pub(crate) fn packet_due(&self, at_once: Instant) -> Option<Instant> {
        match self {
            Self::Initiator(hops) => hops.core.probe_at(),
            Self::Responder(hops) if hops.core.owes_answer() => Some(at_once),
            Self::Responder(hops) => hops.core.ask_at(),
        }
    }

    /// What is sent is limited by something else than what there is to send, or not.
    pub(crate) fn note_demand(&mut self, is_limited: bool) {
        match self {
            Self::Initiator(hops) => hops.demand.note(is_limited),
            Self::Responder(hops) => hops.demand.note(is_limited),
        }
    }

    pub(crate) fn record(&self) -> &HopRecord {
        match self {
            Self::Initiator(hops) => &hops.record,
            Self::Responder(hops) => &hops.record,
        }
    }
}

impl InitiatorHops {
    /// The core's own number of the socket that the link was dialled from, which is `via`, is `door`.
    pub(crate) fn new(now: Instant, core: Initiator, door: SocketId, via: Via, offer: HopOffer) -> Self {
        Self {
            core,
            offer,
            vias: BTreeMap::from([(door, via)]),
            record: HopRecord::new(now),
            told: 0,
            sent: 0,
            sent_before: 0,
            reported_on: None,
            demand: Demand::default(),
        }
    }

    /// The core's newest socket of this number.
    pub(crate) fn socket(&self, via: Via) -> Option<SocketId> {
        self.vias.iter().rev().find(|(_, of)| **of == via).map(|(id, _)| *id)
    }

    /// Tells the core what was counted, and does what is due.
    pub(crate) fn flush(&mut self, now: Instant) {
        let bytes = self.record.bytes - self.told;
        self.told = self.record.bytes;
        let sent = std::mem::take(&mut self.sent);
        if sent > 0 {
            self.core.handle_sent(now, sent);
        }
        if bytes > 0 {
            self.core.handle_bytes(now, bytes);
        }
        if self.core.poll_timeout().is_some_and(|at| now >= at) {
            self.core.handle_timeout(now);
        }
    }

    /// The link sends on another pair; `sent` packets it has sent before.
    pub(crate) fn switched(&mut self, now: Instant, sent: u64, index: u64, cause: Cause) {
        self.record.note(PastHop { at: now, index, cause: Some(cause) });
        (self.told, self.sent_before) = (0, sent);
    }

    /// The link came up through a door again; what it has sent is counted anew.
    pub(crate) fn door_opened(&mut self, now: Instant) {
        self.record.begin_pair(now);
        (self.told, self.sent_before, self.reported_on) = (0, 0, None);
    }

    /// A report came on a hop, and with it a stretch of each direction. Those that belong to the present pair alone are
    /// judged.
    pub(crate) fn handle_report(
        &mut self,
        now: Instant,
        hop: u64,
        rtt: Duration,
        [out, back]: [Option<Stretch>; 2],
        is_scheduled: bool,
    ) {
        let index = self.core.index();
        self.core.handle_rtt(rtt);
        let pace = self.demand.take(is_scheduled);
        if let Some(stretch) = out.filter(|stretch| stretch.since_packet >= self.sent_before) {
            self.core.handle_delivery(now, Direction::Out, stretch.delivery(pace));
        }
        if let Some(stretch) = back.filter(|_| self.reported_on == Some(index) && hop == index) {
            // Whether the peer had more to send is not known here: it judges its rate itself, and asks.
            let pace = if is_scheduled { Pace::Schedule } else { Pace::Demand };
            self.core.handle_delivery(now, Direction::Back, stretch.delivery(pace));
        }
        self.reported_on = Some(hop);
    }
}

impl Stretch {
    fn delivery(self, pace: Pace) -> Delivery {
        Delivery { span: self.span, sent: self.sent, received: self.received, pace }
    }
}

impl ResponderHops {
    pub(crate) fn new(now: Instant, core: Responder) -> Self {
        Self { core, record: HopRecord::new(now), sent_before: 0, demand: Demand::default(), answered: VecDeque::new() }
    }

    /// A probe is answered on this route: the bytes that will prove it.
    pub(crate) fn answer(&mut self, route: Route, fresh: Challenge) -> Challenge {
        if let Some(challenge) = self.challenge_of(route) {
            return challenge;
        }
        if self.answered.len() >= ANSWERED_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back((route, fresh));
        fresh
    }

    /// What was sent with the answer to a probe from here.
    pub(crate) fn challenge_of(&self, route: Route) -> Option<[u8; CHALLENGE_LEN]> {
        self.answered.iter().find(|(answered, _)| *answered == route).map(|(_, challenge)| *challenge)
    }

    /// The link has followed to another pair; `sent` packets it has sent before.
    pub(crate) fn followed(&mut self, now: Instant, sent: u64, index: u64) {
        self.record.note(PastHop { at: now, index, cause: None });
        self.sent_before = sent;
    }

    /// A report came, and with it what became of packets of this end. They are judged if they belong to the present pair
    /// alone.
    pub(crate) fn handle_report(&mut self, now: Instant, rtt: Duration, out: Option<Stretch>, is_scheduled: bool) {
        self.core.handle_rtt(rtt);
        let pace = self.demand.take(is_scheduled);
        if let Some(stretch) = out.filter(|stretch| stretch.since_packet >= self.sent_before) {
            self.core.handle_delivery(now, stretch.delivery(pace));
        }
    }

    /// The link came up through a door again.
    pub(crate) fn door_opened(&mut self, now: Instant) {
        self.record.begin_pair(now);
        self.sent_before = 0;
        self.answered.clear();
    }
}

/// The pair of a responder's port and a route. A near address that is left open is unspecified.
pub(crate) fn pair(local_port: u16, route: Route) -> Pair {
    let unspecified: IpAddr = match route.to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Pair { local: (route.from.unwrap_or(unspecified), local_port).into(), remote: route.to }
}
