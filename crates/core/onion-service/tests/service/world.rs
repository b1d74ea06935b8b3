//! The world of a service: a directory that keeps records by its rules, relays that pass introductions on, clients that come and go.
//! And the reference: what must be true of all of it, whatever happened.

use identity::{AccessKey, AccessSecret, NodeId, ServiceSecret};
use network_document::NetworkId;
use onion_service::{
    Action, ClientConfig, ClientError, ClientIntroduction, Day, DayKey, DaySecret, Descriptor, INTRODUCED_MAX,
    IntroductionPoint, IntroductionRefusal, Meeting, POINTS_TRACKED_MAX, PointId, PointOrder, ServiceAddress,
    ServiceConfig, ServiceCore,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use relay_directory::ServiceRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

pub(crate) const NETWORK: NetworkId = NetworkId([1; 32]);
/// 8 in the morning of a day.
pub(crate) const START_MS: u64 = 20_000 * onion_service::DAY_MS + 8 * 3_600_000;
fn secret() -> ServiceSecret {
    ServiceSecret::from_seed([2; 32])
}

pub(crate) fn address() -> ServiceAddress {
    ServiceAddress(secret().public_key())
}

pub(crate) fn day_key(address: ServiceAddress, day: Day) -> DayKey {
    address.day_key(NETWORK, day).expect("a service's address")
}

#[derive(Default)]
pub(crate) struct Directory {
    /// How long an interval is, in which it takes four records under a key.
    interval_ms: u64,
    pub(crate) records: BTreeMap<[u8; 32], ServiceRecord>,
    revisions: BTreeMap<([u8; 32], u64), u32>,
    /// Takes nothing.
    pub(crate) down: bool,
    pub(crate) refused: u32,
    pub(crate) taken: u32,
}

impl Directory {
    fn publish(&mut self, now_ms: u64, record: ServiceRecord) -> bool {
        assert!(NodeId(record.key).verify(&record.message(NETWORK), &record.signature), "signed by the day's key");
        assert!(record.expires_ms > now_ms && record.expires_ms <= now_ms + onion_service::DAY_MS, "it lasts a while");
        let made = self.revisions.entry((record.key, now_ms / self.interval_ms)).or_default();
        let newer = self.records.get(&record.key).is_none_or(|known| known.revision < record.revision);
        let taken = !self.down && newer && *made < 4;
        *made += u32::from(taken);
        self.refused += u32::from(!taken);
        self.taken += u32::from(taken);
        if taken {
            self.records.insert(record.key, record);
        }
        taken
    }

    pub(crate) fn get(&self, now_ms: u64, key: &[u8; 32]) -> Option<ServiceRecord> {
        self.records.get(key).filter(|record| record.expires_ms > now_ms).cloned()
    }
}

/// An introduction point at a relay.
pub(crate) struct Waiting {
    pub(crate) point: PointId,
    pub(crate) relay: NodeId,
}

pub(crate) struct World {
    start: Instant,
    /// By how much the directory's time was put forward.
    pub(crate) jumped_ms: u64,
    pub(crate) now: Instant,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) directory: Directory,
    pub(crate) service: ServiceCore,
    /// By name.
    pub(crate) waiting: BTreeMap<[u8; 32], Waiting>,
    /// Relays that do not answer.
    pub(crate) dead: BTreeSet<NodeId>,
    /// Introductions that the relays have seen: for whoever wants to send them again.
    pub(crate) seen: Vec<(PointId, Vec<u8>)>,
    pub(crate) opened: u32,
    met: BTreeMap<[u8; 32], Meeting>,
    pub(crate) meetings: u32,
    /// Introductions that clients have sent.
    pub(crate) introductions: u32,
    /// Off for a service whose machine is.
    pub(crate) running: bool,
}

impl World {
    pub(crate) fn new(seed: u64, config: ServiceConfig) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
        let start = Instant::now();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let interval_ms = config.interval.as_millis() as u64;
        let mut service = ServiceCore::new(start, config, random).expect("a configuration");
        service.handle_directory_time(start, START_MS);
        let mut world = Self {
            start,
            jumped_ms: 0,
            now: start,
            rng,
            directory: Directory { interval_ms, ..Directory::default() },
            service,
            waiting: BTreeMap::new(),
            dead: BTreeSet::new(),
            seen: Vec::new(),
            opened: 0,
            met: BTreeMap::new(),
            meetings: 0,
            introductions: 0,
            running: true,
        };
        world.run(Duration::from_secs(30));
        world
    }

    pub(crate) fn ms(&self) -> u64 {
        START_MS + self.jumped_ms + self.now.duration_since(self.start).as_millis() as u64
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.rng.next_u32() % bound
    }

    fn relay(&mut self) -> NodeId {
        NodeId([self.below(40) as u8 + 1; 32])
    }

    /// Lets time pass, from wake to wake.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        loop {
            self.settle();
            let wake = self.service.next_wake(self.now).map_or(end, |wake| wake.min(end));
            assert!(wake > self.now || self.now == end, "a wake that is past would turn for ever");
            if self.now == end {
                return;
            }
            self.now = wake;
            wakes += 1;
            assert!(wakes < 20_000, "few wakes");
        }
    }

    /// Does what the service wants, until it wants nothing.
    pub(crate) fn settle(&mut self) {
        if !self.running {
            return;
        }
        let mut turns = 0;
        while self.step() {
            turns += 1;
            assert!(turns < 200, "it comes to rest");
        }
        self.check();
    }

    fn step(&mut self) -> bool {
        if let Some(day) = self.service.poll_day_key(self.now) {
            self.service.handle_day_key(self.now, day_key(address(), day));
            return true;
        }
        if let Some(order) = self.service.poll_point(self.now) {
            self.order(order);
            return true;
        }
        if let Some(mut publication) = self.service.poll_publish(self.now) {
            let record = &mut publication.record;
            record.signature = DaySecret::new(&secret(), NETWORK, publication.day).sign(&record.message(NETWORK));
            let (now_ms, record) = (self.ms(), publication.record.clone());
            let taken = self.directory.publish(now_ms, record);
            self.service.handle_published(self.now, &publication, taken);
            return true;
        }
        let Some(introduced) = self.service.poll_introduced() else { return false };
        for meeting in introduced.meetings {
            self.meetings += 1;
            assert!(self.met.insert(meeting.cookie, meeting).is_none(), "nobody is met twice at one place");
        }
        true
    }

    fn order(&mut self, order: PointOrder) {
        match order {
            PointOrder::Close { point } => self.waiting.retain(|_, waiting| waiting.point != point),
            PointOrder::Open { point, secret, avoid } => {
                let mut relay = self.relay();
                while avoid.contains(&relay) {
                    relay = self.relay();
                }
                if self.dead.contains(&relay) {
                    self.service.handle_point_lost(self.now, point);
                } else {
                    self.waiting.insert(secret.node_id().0, Waiting { point, relay });
                    self.opened += 1;
                    self.service.handle_point_open(self.now, point, relay);
                }
            }
        }
    }

    /// What is true at each moment.
    fn check(&self) {
        assert!(self.waiting.len() <= POINTS_TRACKED_MAX + 1, "bounded points");
        let relays: BTreeSet<_> = self.waiting.values().map(|waiting| waiting.relay).collect();
        assert_eq!(relays.len(), self.waiting.len(), "each point at its own relay");
    }

    /// Whether the newest record that a client would find names a point that is there.
    pub(crate) fn is_reachable(&self) -> bool {
        let now_ms = self.ms();
        let keys = Day::sought_at(now_ms).into_iter().map(|day| day_key(address(), day));
        let mut found = keys.filter_map(|key| {
            let record = self.directory.get(now_ms, &key.blinded)?;
            Descriptor::open(NETWORK, &key, &record, now_ms, None).ok()
        });
        let waits = |point: &IntroductionPoint| {
            self.waiting.get(&point.name).is_some_and(|waiting| waiting.relay == point.relay)
        };
        found.next().is_some_and(|descriptor| descriptor.points.iter().any(waits))
    }

    /// Points at a relay go with it.
    pub(crate) fn kill(&mut self, relay: NodeId) {
        self.dead.insert(relay);
        let gone: Vec<_> =
            self.waiting.iter().filter(|(_, waiting)| waiting.relay == relay).map(|(name, _)| *name).collect();
        for name in gone {
            if let Some(waiting) = self.waiting.remove(&name) {
                self.service.handle_point_lost(self.now, waiting.point);
            }
        }
        self.settle();
    }

    /// Brings an introduction to the service.
    pub(crate) fn deliver(&mut self, point: PointId, message: &[u8]) -> Result<(), IntroductionRefusal> {
        self.service.handle_introduction(self.now, point, message)
    }

    pub(crate) fn client(&mut self, access: Option<AccessSecret>, off_ms: i64, legs: usize) -> ClientIntroduction {
        let clock_ms = self.ms().saturating_add_signed(off_ms);
        let days = Day::sought_at(clock_ms).map(|day| day_key(address(), day)).to_vec();
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let config = ClientConfig { network: NETWORK, legs, access, features: 0 };
        ClientIntroduction::new(self.now, config, days, clock_ms, seed)
    }

    /// A client from its beginning to its end: the legs over which it met the service.
    pub(crate) fn visit(&mut self, client: &mut ClientIntroduction) -> Result<usize, ClientError> {
        let mut legs = Vec::new();
        for _ in 0..200 {
            while let Some(action) = client.poll_action(self.now) {
                self.act(client, action, &mut legs);
            }
            self.settle();
            let met = self.collect(client, &legs);
            if met > 0 {
                assert!(client.is_met() && client.error().is_none() && client.next_wake().is_none());
                return Ok(met);
            }
            if let Some(error) = client.error() {
                return Err(error);
            }
            let wake = client.next_wake().expect("it waits for something");
            self.run(wake.saturating_duration_since(self.now));
        }
        panic!("a client comes to an end");
    }

    fn act(&mut self, client: &mut ClientIntroduction, action: Action, legs: &mut Vec<[u8; 32]>) {
        match action {
            Action::Fetch { key } => {
                let record = self.directory.get(self.ms(), &key);
                client.handle_record(self.now, &key, record.as_ref());
            }
            Action::Meet { cookies } => {
                let relays: Vec<_> = (0..cookies.len() as u8).map(|leg| NodeId([100 + leg; 32])).collect();
                *legs = cookies;
                client.handle_meeting(self.now, &relays);
            }
            Action::Work => while !client.work(self.now, 1_000) {},
            Action::Introduce { relay, name, message } => {
                self.introductions += 1;
                let waits = self.waiting.get(&name).filter(|waiting| waiting.relay == relay);
                let point = waits.map(|waiting| waiting.point).filter(|_| !self.dead.contains(&relay) && self.running);
                if let Some(point) = point {
                    self.seen.push((point, message.to_vec()));
                    // Refused or not, nobody tells the client.
                    let _ = self.deliver(point, message.as_slice());
                }
                client.handle_introduced(self.now, &name, point.is_some());
            }
        }
    }

    fn collect(&mut self, client: &mut ClientIntroduction, legs: &[[u8; 32]]) -> usize {
        let mut met = 0;
        for (leg, cookie) in legs.iter().enumerate() {
            let Some(meeting) = self.met.remove(cookie) else { continue };
            assert_eq!(meeting.relay, NodeId([100 + leg as u8; 32]), "where the client waits");
            let keys = client.handle_answer(leg, &meeting.answer).expect("the service's answer");
            assert_eq!(keys.initiator, meeting.keys.initiator, "both ends have the same keys");
            assert_eq!(keys.responder, meeting.keys.responder);
            met += 1;
        }
        met
    }
}

pub(crate) fn config() -> ServiceConfig {
    ServiceConfig::new(NETWORK)
}

pub(crate) fn closed(clients: &[AccessKey]) -> ServiceConfig {
    ServiceConfig { clients: clients.to_vec(), ..config() }
}

#[test]
fn clients_meet_the_service_over_one_leg_and_over_eight() {
    let mut world = World::new(1, config());
    assert_eq!((world.service.live_points(), world.directory.records.len()), (3, 2));
    for legs in [1, 2, 8] {
        let mut client = world.client(None, 0, legs);
        assert_eq!(world.visit(&mut client), Ok(legs));
    }
    assert_eq!((world.service.figures().accepted, world.meetings), (3, 11));
    assert!(INTRODUCED_MAX >= 3 && world.directory.refused == 0);
}

#[test]
fn for_a_week_everybody_gets_through_while_points_age_and_days_pass() {
    for seed in 0..3 {
        let mut world = World::new(seed, config());
        for hour in 0..7 * 24 {
            world.run(Duration::from_secs(3_600));
            // Up to six hours behind, one ahead: who is farther ahead takes records for expired.
            let off = i64::from(world.below(25_000_000)) - 21_500_000;
            let mut client = world.client(None, off, 1 + hour % 3);
            assert_eq!(world.visit(&mut client), Ok(1 + hour % 3), "seed {seed}, hour {hour}, off {off} ms");
            assert!(world.waiting.len() <= 7, "seed {seed}: drained points go");
        }
        assert!((21..=32).contains(&world.opened), "seed {seed}: {} points in a week", world.opened);
        assert_eq!((world.directory.refused, world.service.figures().forged), (0, 0), "seed {seed}");
    }
}
