//! A network to test with: operators, members and relays whose secrets are numbers.

#![allow(dead_code, reason = "the benchmark and each test use a part of it")]

use identity::{DoorKey, LinkSecret, NodeId, NodeSecret, OnionKey, OperatorSecret};
use network_document::{Announcement, Charter, Descriptor, Electorate, Founding, Label, Roles, SignedAnnouncement};
use onion::Interval;
use relay_directory::{
    Admission, Command, Directory, Event, Order, ServiceRecord, SignedOrder, SponsoredService, Tick, Vote,
};
use shaping::RateClass;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// When interval 0 begins.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// A minute.
pub(crate) const INTERVAL_MS: u64 = 60_000;
/// An hour: relays change their onion keys so often.
pub(crate) const KEY_INTERVALS: u64 = 60;

/// 32 bytes of a number, of one kind.
pub(crate) fn seed(kind: u8, number: u32) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    seed
}

pub(crate) fn operator(number: u32) -> OperatorSecret {
    OperatorSecret::from_seed(seed(1, number))
}

pub(crate) fn member(number: u32) -> NodeSecret {
    NodeSecret::from_seed(seed(2, number))
}

pub(crate) fn relay(number: u32) -> NodeSecret {
    NodeSecret::from_seed(seed(3, number))
}

pub(crate) fn label(text: &str) -> Label {
    Label::new(text, "operator").expect("a label")
}

/// Members from 1 to `members`.
pub(crate) fn electorate(term: u64, members: u32, liars: u8) -> Electorate {
    Electorate::new(term, (1..=members).map(|number| member(number).node_id()).collect(), liars).expect("enough")
}

/// Two of three operators, and so many members.
pub(crate) fn charter(members: u32, liars: u8) -> Arc<Charter> {
    let operators = (1..=3).map(|number| operator(number).operator_key()).collect();
    let charter = Charter::new(label("example"), Default::default(), operators, 2).expect("a charter");
    let mut founding = Founding::new(START_MS, electorate(1, members, liars));
    founding.interval_ms = INTERVAL_MS;
    founding.key_intervals = KEY_INTERVALS;
    founding.valid_intervals = 3;
    Arc::new(charter.with_directory(founding).expect("a founding"))
}

/// What operators vouch for by default.
pub(crate) fn admission() -> Admission {
    let roles = Roles { guard: true, middle: true, exit: true, directory: false };
    Admission { roles, bandwidth: RateClass::FASTEST, operator: label("alice") }
}

/// A relay without exit. Onion keys of `interval` and the next are derived from its number and theirs, so that no two are alike.
pub(crate) fn announcement(number: u32, interval: u64, published_ms: u64) -> Announcement {
    let onion = |interval: u64| {
        let mut key = seed(5, number);
        key[8..16].copy_from_slice(&interval.to_be_bytes());
        (Interval(interval), OnionKey(key))
    };
    let [_, b, c, d] = number.to_be_bytes();
    Announcement {
        descriptor: Descriptor {
            node_id: relay(number).node_id(),
            link_key: LinkSecret::from_bytes(seed(4, number)).link_key(),
            door_key: DoorKey::from_bytes(seed(6, number)),
            onion_keys: vec![onion(interval), onion(interval + 1)],
            addresses: vec![SocketAddr::from((Ipv4Addr::new(100, b, c, d), 4433))],
            hop_ports: "40000-49999".parse().ok(),
            roles: Roles { guard: true, middle: true, exit: false, directory: false },
            operator: label("alice"),
            bandwidth: RateClass::at_least(20_000_000).expect("a class"),
        },
        next_link_key: None,
        next_door_key: None,
        exit_ports: None,
        published_ms,
        expires_ms: published_ms + 2 * KEY_INTERVALS * INTERVAL_MS,
    }
}

/// A directory with the secrets of everybody.
pub(crate) struct Network {
    pub(crate) charter: Arc<Charter>,
    pub(crate) directory: Directory,
    pub(crate) members: u32,
}

impl Network {
    pub(crate) fn new(members: u32, liars: u8) -> Self {
        let charter = charter(members, liars);
        let directory = Directory::new(Arc::clone(&charter)).expect("a directory");
        Self { charter, directory, members }
    }

    pub(crate) fn sign(&self, announcement: Announcement, number: u32) -> Arc<SignedAnnouncement> {
        let signed = announcement.sign(self.charter.network_id(), &relay(number));
        Arc::new(signed.expect("a good announcement"))
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Vec<Event> {
        self.directory.apply(&command.encode())
    }

    /// An order of two operators.
    pub(crate) fn order(&self, order: Order) -> Command {
        let mut signed = SignedOrder::new(self.directory.next_order(), order);
        signed.sign(self.charter.network_id(), &operator(1));
        signed.sign(self.charter.network_id(), &operator(2));
        Command::Govern(Box::new(signed))
    }

    pub(crate) fn admit(&mut self, number: u32) -> Vec<Event> {
        let order = Order::Admit { node: relay(number).node_id(), admission: admission() };
        let command = self.order(order);
        self.apply(&command)
    }

    pub(crate) fn describe(&mut self, announcement: Announcement, number: u32) -> Vec<Event> {
        let command = Command::Describe(self.sign(announcement, number));
        self.apply(&command)
    }

    /// A relay as it is by default, at the directory's present time.
    pub(crate) fn join(&mut self, number: u32) {
        self.admit(number);
        let now_ms = self.directory.time_ms();
        let interval = (now_ms - START_MS) / INTERVAL_MS / KEY_INTERVALS;
        let events = self.describe(announcement(number, interval, now_ms + 1), number);
        assert_eq!(events, [Event::Described(relay(number).node_id())]);
    }

    pub(crate) fn tick(&mut self, number: u32, utc_ms: u64) -> Vec<Event> {
        let sequence = self.directory.next_tick(&member(number).node_id());
        let tick = Tick::new(self.charter.network_id(), &member(number), sequence, utc_ms);
        self.apply(&Command::Tick(tick))
    }

    /// All members say this time.
    pub(crate) fn time(&mut self, utc_ms: u64) -> Vec<Event> {
        (1..=self.members).flat_map(|number| self.tick(number, utc_ms)).collect()
    }

    /// The next interval begins.
    pub(crate) fn turn(&mut self) -> Vec<Event> {
        let index = (self.directory.time_ms() - START_MS) / INTERVAL_MS + 1;
        self.time(START_MS + index * INTERVAL_MS)
    }

    pub(crate) fn vote(&mut self, number: u32) -> Vec<Event> {
        let name = self.directory.pending().expect("an edition").edition().name();
        let vote = Vote::new(self.charter.network_id(), &member(number), name);
        self.apply(&Command::Sign(vote))
    }

    /// Enough members sign.
    pub(crate) fn publish(&mut self) -> Vec<u8> {
        let quorum = self.directory.electorate().quorum() as u32;
        (1..=quorum).for_each(|number| drop(self.vote(number)));
        assert!(self.directory.is_published());
        self.directory.published().expect("an edition").encode()
    }

    pub(crate) fn service(&self, owner: u32, sponsor: u32, revision: u64, content: Vec<u8>) -> Command {
        let secret = NodeSecret::from_seed(seed(7, owner));
        let NodeId(key) = secret.node_id();
        let expires_ms = self.directory.time_ms() + 5 * INTERVAL_MS;
        let mut record = ServiceRecord { key, revision, expires_ms, content, signature: [0; 64] };
        let network = self.charter.network_id();
        record.signature = secret.sign(&record.message(network));
        let service = SponsoredService::new(network, record, &member(sponsor)).expect("a record");
        Command::PublishService(Box::new(service))
    }
}
