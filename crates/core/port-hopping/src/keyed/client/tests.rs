use super::*;
use crate::Pair;
use crate::causes::ByteBudget;
use crate::keyed::{Datagram, Schedule, Server};
use crate::targets::TargetAddress;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const UNIX: Duration = Duration::from_secs(1_800_000_007);
const ONE_WAY: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_millis(1);

fn key() -> HopKey {
    HopKey::from_bytes([7; 32])
}

/// A client, a server that opens the ports of its time, and packets on their way. A program sends one packet of 1200
/// bytes in 5 ms; the target's answers come at the same rate.
struct World {
    start: Instant,
    time: Duration,
    slept: Duration,
    /// The client's calendar minus the server's, milliseconds.
    skew_ms: i64,
    client: Client,
    server: Server,
    schedule: Schedule,
    open: BTreeSet<u16>,
    sockets: BTreeMap<SocketId, (u16, SocketAddr)>,
    wire: Vec<(Duration, Way)>,
    /// A translator that has forgotten what it knew maps ports elsewhere.
    shift: u16,
    answers: bool,
    /// Of a hundred packets so many are lost on a pair, upwards and downwards, so long after its first one.
    loss: [u64; 2],
    loss_after: Duration,
    seen: BTreeMap<Pair, Duration>,
    dropped: u64,
    drawn: u64,
    sent: u64,
    forwarded: u64,
    answered: u64,
    returned: u64,
    switches: Vec<(Duration, SocketAddr)>,
}

enum Way {
    Up(Pair, Vec<u8>),
    Down(Pair, Vec<u8>),
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new(seed: u8, skew_ms: i64) -> Self {
        let start = Instant::now();
        let ports: crate::ports::PortSet = "20000-50000".parse().expect("ports");
        let targets = Targets::new(vec![TargetAddress::One([192, 0, 2, 1].into())], ports.clone()).expect("one");
        let budget = ByteBudget::new(u64::MAX, u64::MAX).expect("in order");
        let timers = Timers::new(Timers::default().interval(), budget).expect("20 to 40 s");
        let config = ClientConfig { key: key(), targets: Arc::new(targets), timers, seed: [seed; 32] };
        Self {
            start,
            time: Duration::ZERO,
            slept: Duration::ZERO,
            skew_ms,
            client: Client::new(start, config),
            server: Server::new(&key(), Duration::from_secs(60), [seed; 32]),
            schedule: Schedule::new(&key(), ports),
            open: BTreeSet::new(),
            sockets: BTreeMap::new(),
            wire: Vec::new(),
            shift: 0,
            answers: true,
            loss: [0, 0],
            loss_after: Duration::ZERO,
            seen: BTreeMap::new(),
            dropped: 0,
            drawn: 0,
            sent: 0,
            forwarded: 0,
            answered: 0,
            returned: 0,
            switches: Vec::new(),
        }
    }

    fn server_unix(&self) -> Duration {
        UNIX + self.slept + self.time
    }

    fn client_unix(&self) -> Duration {
        let off = Duration::from_millis(self.skew_ms.unsigned_abs());
        if self.skew_ms < 0 { self.server_unix() - off } else { self.server_unix() + off }
    }

    fn run(&mut self, time: Duration) {
        let until = self.time + time;
        while self.time < until {
            self.tick();
        }
    }

    fn tick(&mut self) {
        self.time += TICK;
        let (now, unix) = (self.start + self.time, self.client_unix());
        for (_, way) in self.wire.extract_if(.., |(at, _)| *at <= self.time).collect::<Vec<_>>() {
            if self.is_lost(&way) {
                self.dropped += 1;
                continue;
            }
            match way {
                Way::Up(pair, datagram) => self.arrive_at_server(pair, &datagram),
                Way::Down(pair, datagram) => self.arrive_at_client(pair, &datagram),
            }
        }
        let open = self.schedule.open_at(self.server_unix());
        for port in self.open.iter().filter(|port| !open.contains(port)) {
            self.server.admission_mut().close_port(*port);
        }
        self.open = open;
        if now >= self.client.poll_timeout() {
            self.client.handle_timeout(now, unix);
        }
        self.drain();
        while let Some((id, datagram)) = self.client.poll_knock(now, unix) {
            self.send_up(id, datagram);
        }
        assert!(self.client.poll_timeout() > now, "what is due is done");
        if self.time.as_millis().is_multiple_of(5) {
            if let Some((id, _)) = self.client.present() {
                self.sent += 1;
                self.client.handle_sent(now, 1, 1_200);
                self.send_up(id, vec![0x17; 1_200]);
            }
            let flow = self.client.flow();
            if let Some(pair) = self.server.admission().answers_of(flow).filter(|_| self.answers) {
                self.answered += 1;
                self.server.admission_mut().note_sent(now, &pair, 1);
                self.wire.push((self.time + ONE_WAY, Way::Down(pair, vec![0x18; 1_200])));
            }
        }
        assert!(self.client.sockets() <= SOCKETS_MAX && self.sockets.len() <= SOCKETS_MAX);
    }

    /// Knocks and answers are lost as packets are.
    fn is_lost(&mut self, way: &Way) -> bool {
        let (Way::Up(pair, _) | Way::Down(pair, _)) = way;
        let loss = self.loss[usize::from(matches!(way, Way::Down(..)))];
        let since = *self.seen.entry(*pair).or_insert(self.time);
        // Not at random, but without a pattern that fits the packets': 37 is prime to 100.
        self.drawn = (self.drawn + 37) % 100;
        self.time >= since + self.loss_after && self.drawn < loss
    }

    fn drain(&mut self) {
        let now = self.start + self.time;
        while let Some(output) = self.client.poll_output() {
            match output {
                ClientOutput::Open { id, remote, local_port } => {
                    let port = local_port.expect("ports below the range");
                    assert!(port < 20_000);
                    self.sockets.insert(id, (port, remote));
                    self.client.handle_opened(now, id, ([192, 0, 2, 2], port).into());
                }
                ClientOutput::Close { id } => {
                    self.sockets.remove(&id);
                }
                ClientOutput::Switch { id, .. } => self.switches.push((self.time, self.sockets[&id].1)),
            }
        }
    }

    fn send_up(&mut self, id: SocketId, datagram: Vec<u8>) {
        let (port, remote) = self.sockets[&id];
        let pair = Pair { local: remote, remote: ([192, 0, 2, 2], port + self.shift).into() };
        self.wire.push((self.time + ONE_WAY, Way::Up(pair, datagram)));
    }

    fn arrive_at_server(&mut self, pair: Pair, datagram: &[u8]) {
        let (now, unix) = (self.start + self.time, self.server_unix());
        if !self.open.contains(&pair.local.port()) {
            return;
        }
        match self.server.handle_datagram(now, unix, pair, datagram) {
            Datagram::Forward(flow) => {
                assert_eq!(flow, self.client.flow());
                self.forwarded += 1;
            }
            Datagram::Answer { answer, .. } => self.wire.push((self.time + ONE_WAY, Way::Down(pair, answer))),
            Datagram::Silent => {}
        }
    }

    fn arrive_at_client(&mut self, pair: Pair, datagram: &[u8]) {
        let (now, unix) = (self.start + self.time, self.client_unix());
        let Some(port) = pair.remote.port().checked_sub(self.shift) else { return };
        let socket = self.sockets.iter().find(|(_, socket)| **socket == (port, pair.local));
        let Some((&id, _)) = socket else { return };
        if self.client.handle_datagram(now, unix, id, datagram) == FromServer::Program {
            self.returned += 1;
        }
        self.drain();
    }

    fn blocked_ports(&self) -> usize {
        self.client.blocked().iter(self.start + self.time).count()
    }

    /// Packets sent and not arrived, upwards and downwards, those on their way not counted.
    fn lost(&self) -> (u64, u64) {
        let long = |datagram: &Vec<u8>| datagram.len() == 1_200;
        let up = self.wire.iter().filter(|(_, way)| matches!(way, Way::Up(_, datagram) if long(datagram))).count();
        let down = self.wire.iter().filter(|(_, way)| matches!(way, Way::Down(_, datagram) if long(datagram))).count();
        let count = |count: usize| u64::try_from(count).expect("small");
        (self.sent - self.forwarded - count(up), self.answered - self.returned - count(down))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn hops_over_many_windows_lose_nothing_whatever_the_clock_within_a_window(seed: u8, skew_ms in -30_000i64..=30_000) {
        let mut world = World::new(seed, skew_ms);
        world.run(Duration::from_secs(300));
        prop_assert_eq!(world.lost(), (0, 0));
        // The first port and, after its answer, another; then 20 to 40 s each, but for a port whose window ends before that.
        let hops = world.switches.len();
        prop_assert!((8..=2 + 300 / 20 + 300 / 30).contains(&hops), "{hops} hops in 300 s");
        prop_assert!(world.switches[0].0 < Duration::from_millis(600), "{:?}", world.switches[0]);
        prop_assert!((world.client.clock_error_ms() + skew_ms).abs() <= 2, "{}", world.client.clock_error_ms());
    }
}

#[test]
fn two_flows_do_not_hop_together() {
    let (mut one, mut other) = (World::new(1, 0), World::new(2, 0));
    one.run(Duration::from_secs(200));
    other.run(Duration::from_secs(200));
    let near =
        |time: Duration| other.switches[1..].iter().any(|(at, _)| at.abs_diff(time) < Duration::from_millis(500));
    let together = one.switches[1..].iter().filter(|(at, _)| near(*at)).count();
    assert!(together <= 2, "{together} of {} hops", one.switches.len());
}

#[test]
fn a_server_that_comes_late_is_found() {
    let mut world = World::new(3, 0);
    let schedule = std::mem::replace(&mut world.schedule, Schedule::new(&key(), "1-2".parse().expect("ports")));
    world.run(Duration::from_secs(100));
    assert_eq!(world.client.present(), None);
    world.schedule = schedule;
    world.run(Duration::from_secs(50));
    assert!(world.client.present().is_some() && world.forwarded > 0);
}

#[test]
fn a_translator_that_forgets_is_noticed() {
    let mut world = World::new(4, 0);
    world.run(Duration::from_secs(10));
    world.shift = 7;
    world.run(Duration::from_secs(3));
    let (forwarded, returned) = (world.forwarded, world.returned);
    world.run(Duration::from_secs(1));
    assert!(world.forwarded >= forwarded + 190 && world.returned >= returned + 190);
}

#[test]
fn a_program_that_is_never_answered_stays_where_it_is() {
    let mut world = World::new(5, 0);
    world.answers = false;
    world.run(Duration::from_secs(120));
    assert_eq!(world.lost().0, 0);
    assert!(world.switches.len() <= 8, "{} hops in two minutes", world.switches.len());
}

#[test]
fn a_restarted_server_is_knocked_at_again() {
    let mut world = World::new(6, 0);
    world.run(Duration::from_secs(10));
    world.server = Server::new(&key(), Duration::from_secs(60), [99; 32]);
    world.run(Duration::from_secs(2));
    let forwarded = world.forwarded;
    world.run(Duration::from_secs(1));
    assert!(world.forwarded >= forwarded + 190, "{} in a second", world.forwarded - forwarded);
}

#[test]
fn a_calendar_that_jumps_does_not_end_a_flow() {
    let mut world = World::new(7, 0);
    world.run(Duration::from_secs(10));
    for skew_ms in [3_600_000, -40_000_000, 0] {
        world.skew_ms = skew_ms;
        world.run(Duration::from_secs(80));
    }
    assert_eq!(world.lost(), (0, 0));
}

#[test]
fn a_sleep_does_not_end_a_flow() {
    let mut world = World::new(8, 0);
    world.run(Duration::from_secs(10));
    // The clock of `now` stands still, the calendar goes on, at both ends.
    world.slept += Duration::from_secs(5_000);
    world.run(Duration::from_secs(10));
    let forwarded = world.forwarded;
    world.run(Duration::from_secs(1));
    assert!(world.forwarded >= forwarded + 190);
}

#[test]
fn a_flow_needs_little_memory() {
    // What is not in the structures between two hops: sockets, 20 stretches, 90 used pairs.
    let heap = 8 * 40 + crate::detector::STRETCHES_LEN_MAX + 90 * 8;
    assert!(size_of::<Client>() + heap <= 4_096, "{} and {heap}", size_of::<Client>());
    let mut world = World::new(9, 0);
    world.run(Duration::from_secs(20));
    assert_eq!(world.client.keys.cached_windows(), 0, "keys of windows are made when they are needed");
}

/// The longest time that a pair was in use, from the second on.
fn longest_life(world: &World) -> Duration {
    world.switches[1..].windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap_or(Duration::MAX)
}

#[test]
fn a_pair_that_is_blocked_in_one_direction_is_left() {
    for loss in [[100, 0], [0, 100]] {
        let mut world = World::new(10, 0);
        (world.loss, world.loss_after) = (loss, Duration::from_secs(3));
        world.run(Duration::from_secs(30));
        let life = longest_life(&world);
        assert!(life <= Duration::from_millis(4_200), "{loss:?}: {life:?}");
        assert!(world.switches.len() >= 7 && world.blocked_ports() == 0, "{:?}", world.switches);
    }
}

#[test]
fn a_throttle_is_found_by_what_both_ends_count() {
    for loss in [[60, 0], [0, 60], [90, 90]] {
        let mut world = World::new(11, 0);
        (world.loss, world.loss_after) = (loss, Duration::from_secs(3));
        world.run(Duration::from_secs(60));
        let life = longest_life(&world);
        assert!(life <= Duration::from_millis(5_000), "{loss:?}: {life:?}");
    }
}

#[test]
fn a_bad_path_and_a_late_throttle_of_little_are_no_reason_to_hop() {
    for loss in [[7, 7], [15, 0]] {
        let mut world = World::new(12, 0);
        world.loss = loss;
        world.run(Duration::from_secs(120));
        assert!(world.dropped > 1_000 && world.switches.len() <= 8, "{loss:?}: {} hops", world.switches.len());
    }
}

#[test]
fn hops_that_do_not_help_become_rare() {
    let mut world = World::new(13, 0);
    world.loss = [60, 60];
    world.run(Duration::from_secs(120));
    assert!(world.switches.len() <= 16, "{} hops", world.switches.len());
}

#[test]
fn used_up_bytes_begin_a_hop_at_once() {
    let mut world = World::new(5, 0);
    world.client.timers = {
        let budget = ByteBudget::new(240_000, 240_000).expect("in order");
        Timers::new(Timers::default().interval(), budget).expect("20 to 40 s")
    };
    // 480 kB a second both ways: half a second a pair.
    world.run(Duration::from_secs(5));
    let between: Vec<Duration> = world.switches.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(between.iter().all(|time| (450..600).contains(&time.as_millis())), "{between:?}");
    assert!(between.len() >= 7 && world.lost() == (0, 0), "{between:?}");
}
