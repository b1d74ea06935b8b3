use super::*;
use std::collections::BTreeSet;

const TICK: Duration = Duration::from_millis(1);

/// What a program and its target do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traffic {
    /// Every so often a datagram, and the target sends it back.
    Echo(Duration),
    /// One question, its answer, then a pause.
    Questions(Duration),
    /// The program sends every 2 ms, the target by itself every so often.
    Feedback(Duration),
    /// The target sends every millisecond; the program every 4 ms.
    Download,
    /// The program sends every 2 ms and the target nothing.
    Upload,
}

/// A flow, a server that answers on the port that it heard last, and what is on its way.
struct World {
    start: Instant,
    time: Duration,
    one_way: Duration,
    watch: Watch,
    traffic: Traffic,
    blocked: BTreeSet<u16>,
    /// A server that answers from one port whatever it is asked on.
    answers_from: Option<u16>,
    port: u16,
    /// The port that the server heard last.
    server: Option<u16>,
    up: Vec<(Duration, u16)>,
    down: Vec<(Duration, u16)>,
    asked_at: Option<Duration>,
    last_heard: Duration,
    gap: Duration,
    lost: u64,
    held: BTreeSet<u16>,
    verdicts: Vec<Verdict>,
}

fn place(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new(round_trip_ms: u64, traffic: Traffic) -> Self {
        let start = Instant::now();
        let mut world = Self {
            start,
            time: Duration::ZERO,
            one_way: Duration::from_millis(round_trip_ms) / 2,
            watch: Watch::new(),
            traffic,
            blocked: BTreeSet::new(),
            answers_from: None,
            port: 0,
            server: None,
            up: Vec::new(),
            down: Vec::new(),
            asked_at: None,
            last_heard: Duration::ZERO,
            gap: Duration::ZERO,
            lost: 0,
            held: BTreeSet::new(),
            verdicts: Vec::new(),
        };
        world.hop();
        world
    }

    /// To the next port that is not held for blocked.
    fn hop(&mut self) {
        self.port += 1;
        while self.held.contains(&self.port) {
            self.port += 1;
        }
        self.watch.handle_hop(self.start + self.time, place(self.port));
    }

    fn run(&mut self, time: Duration) {
        let until = self.time + time;
        while self.time < until {
            self.tick();
        }
    }

    /// Hops every `every`, so often; the longest silence from the second hop on.
    fn hop_often(&mut self, hops: u32, every: Duration) -> Duration {
        self.run(every);
        self.gap = Duration::ZERO;
        for _ in 0..hops {
            self.hop();
            self.run(every);
        }
        self.gap
    }

    fn every(&self, time: Duration) -> bool {
        (self.time.as_millis()).is_multiple_of(time.as_millis())
    }

    fn tick(&mut self) {
        self.time += TICK;
        let now = self.start + self.time;
        let arrived = |way: &mut Vec<(Duration, u16)>, time: Duration| {
            way.extract_if(.., |(at, _)| *at <= time).map(|(_, port)| port).collect::<Vec<_>>()
        };
        for port in arrived(&mut self.up, self.time) {
            self.server = Some(port);
            if matches!(self.traffic, Traffic::Echo(_) | Traffic::Questions(_)) {
                self.answer();
            }
        }
        for port in arrived(&mut self.down, self.time) {
            (self.gap, self.last_heard) = (self.gap.max(self.time - self.last_heard), self.time);
            self.asked_at = None;
            self.watch.handle_heard(now, place(port));
            self.obey();
        }
        let (asks, tells) = match self.traffic {
            Traffic::Echo(every) => (self.every(every), false),
            // Asked again after two seconds, as resolvers do.
            Traffic::Questions(every) => {
                let again = self.asked_at.is_some_and(|at| self.time >= at + Duration::from_secs(2));
                (again || self.asked_at.is_none() && self.time >= self.last_heard + every, false)
            }
            Traffic::Feedback(every) => (self.every(2 * TICK), self.every(every)),
            Traffic::Download => (self.every(4 * TICK), true),
            Traffic::Upload => (self.every(2 * TICK), false),
        };
        if asks {
            self.asked_at = Some(self.time);
            self.watch.handle_sent(now, 1);
            if self.blocked.contains(&self.port) {
                self.lost += 1;
            } else {
                self.up.push((self.time + self.one_way, self.port));
            }
        }
        if tells {
            self.answer();
        }
        self.obey();
    }

    fn answer(&mut self) {
        if let Some(port) = self.answers_from.or(self.server) {
            self.down.push((self.time + self.one_way, port));
        }
    }

    fn obey(&mut self) {
        let now = self.start + self.time;
        while let Some(verdict) = self.watch.poll_verdict(now) {
            self.verdicts.push(verdict);
            match verdict {
                Verdict::GoBack(to) | Verdict::GoForward(to) => {
                    self.port = to.port();
                    self.held.remove(&to.port());
                }
                Verdict::Blocked(at) => {
                    self.held.insert(at.port());
                }
                Verdict::TryNext => {
                    self.port = self.held.iter().copied().max().unwrap_or(self.port).max(self.port);
                    self.hop();
                }
                Verdict::Silent => self.hop(),
            }
        }
        assert!(self.watch.poll_timeout().is_none_or(|at| at > now), "what is due is done");
    }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_blocked_next_port_costs_three_round_trips_and_50_ms() {
    for (round_trip, traffic) in [
        (4, Traffic::Echo(ms(2))),
        (20, Traffic::Echo(ms(2))),
        (150, Traffic::Echo(ms(2))),
        (20, Traffic::Download),
        (150, Traffic::Download),
        (20, Traffic::Feedback(ms(5))),
    ] {
        let mut world = World::new(round_trip, traffic);
        // Every second port.
        world.blocked = (1..500).map(|number| 2 * number).collect();
        let gap = world.hop_often(20, 2 * SECOND);
        assert!(gap <= 3 * ms(round_trip) + ms(50), "{gap:?} at a round trip of {round_trip} ms");
        let tried = world.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::GoBack(_))).count();
        assert!(tried >= 10 && world.held.is_subset(&world.blocked), "{tried} {:?}", world.held);
        assert_eq!(world.held.len(), tried, "each is found out once");
        assert!(!world.verdicts.contains(&Verdict::Silent));
    }
}

#[test]
fn nothing_is_left_that_passes() {
    for traffic in [
        Traffic::Echo(ms(2)),
        Traffic::Questions(ms(1)),
        Traffic::Questions(ms(700)),
        Traffic::Feedback(ms(5)),
        Traffic::Feedback(ms(250)),
        Traffic::Feedback(ms(1_000)),
        Traffic::Download,
        Traffic::Upload,
    ] {
        for round_trip in [4, 20, 150] {
            let mut world = World::new(round_trip, traffic);
            world.hop_often(30, ms(2_300));
            assert_eq!(world.verdicts, [], "round trip {round_trip} ms");
        }
    }
}

#[test]
fn a_target_that_speaks_seldom_is_waited_for_although_new_ports_were_quick() {
    let mut world = World::new(20, Traffic::Feedback(ms(1_000)));
    // Each hop 25 ms before the target speaks: a new port seems to answer within 45 ms.
    world.run(ms(2_975));
    for _ in 0..20 {
        world.hop();
        world.run(2 * SECOND);
    }
    // And then one just after it has spoken.
    world.run(ms(40));
    world.hop();
    world.run(2 * SECOND);
    assert_eq!(world.verdicts, []);
}

#[test]
fn a_program_that_is_never_answered_is_not_judged() {
    let mut world = World::new(20, Traffic::Upload);
    world.blocked = (2..500).collect();
    world.hop_often(10, 5 * SECOND);
    assert_eq!(world.verdicts, []);
}

#[test]
fn a_queue_that_fills_is_taken_for_a_block_once_at_most_and_loses_nothing() {
    for traffic in [Traffic::Echo(ms(2)), Traffic::Download] {
        let mut world = World::new(20, traffic);
        world.hop_often(5, 2 * SECOND);
        world.one_way = ms(100);
        world.hop_often(20, 2 * SECOND);
        let back = world.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::GoBack(_))).count();
        let forward = world.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::GoForward(_))).count();
        assert!(back == forward && back <= 2, "{:?}", world.verdicts);
        assert_eq!((world.held.len(), world.lost), (0, 0), "{:?}", world.verdicts);
    }
}

#[test]
fn a_server_that_stands_still_is_not_held_against_its_ports() {
    let mut world = World::new(20, Traffic::Echo(ms(2)));
    world.hop_often(5, 2 * SECOND);
    let blocked = (1..u16::MAX).collect();
    let open = std::mem::replace(&mut world.blocked, blocked);
    world.hop();
    world.run(ms(2_500));
    assert_eq!(world.held.len(), 0, "{:?}", world.verdicts);
    world.blocked = open;
    world.run(4 * SECOND);
    world.gap = Duration::ZERO;
    world.run(SECOND);
    assert!(world.gap <= ms(5), "it is found again");
}

#[test]
fn a_server_that_answers_from_one_port_is_left_alone() {
    let mut world = World::new(20, Traffic::Echo(ms(2)));
    world.answers_from = Some(20);
    world.hop_often(30, 5 * SECOND);
    assert_eq!(world.verdicts, []);
}

#[test]
fn silence_is_told_only_where_answers_were_usual() {
    let mut world = World::new(20, Traffic::Echo(ms(2)));
    world.run(SECOND);
    world.blocked = (1..3).collect();
    world.hop();
    world.run(SECOND);
    assert_eq!(world.verdicts, [Verdict::GoBack(place(1))], "the place before is silent too");
    world.run(4 * SECOND);
    assert_eq!(world.verdicts, [Verdict::GoBack(place(1)), Verdict::Silent]);
}
