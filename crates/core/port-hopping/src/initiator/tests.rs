use super::*;
use crate::causes::{ByteBudget, UnsafeTimers};
use crate::targets::TargetAddress;

const RTT: Duration = Duration::from_millis(20);

struct Bench {
    initiator: Initiator,
    now: Instant,
    outputs: Vec<InitiatorOutput>,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new() -> Self {
        let now = Instant::now();
        let address = TargetAddress::One([192, 0, 2, 1].into());
        let targets = Targets::new(vec![address], "20000-50000".parse().expect("ports")).expect("an address");
        let (interval, budget) = ("30s".parse().expect("a time"), ByteBudget::new(1_000, 1_000).expect("in order"));
        let config = InitiatorConfig {
            secret: HopSecret::of_link(&[1; 16]),
            targets: Arc::new(targets),
            door: ([192, 0, 2, 1], 443).into(),
            rtt: RTT,
            timers: Timers::below_floor(interval, budget, UnsafeTimers),
            seed: [7; 32],
        };
        Self { initiator: Initiator::new(now, config).0, now, outputs: Vec::new() }
    }

    /// Takes the outputs, and says of each socket that it was opened.
    fn drain(&mut self) {
        while let Some(output) = self.initiator.poll_output() {
            if let InitiatorOutput::Open { id, local_port, .. } = output {
                let local = SocketAddr::from(([192, 0, 2, 2], local_port.expect("ports below the range")));
                self.initiator.handle_opened(self.now, id, local);
            }
            self.outputs.push(output);
            assert!(self.initiator.sockets().count() <= SOCKETS_MAX);
        }
    }

    /// Lets `millis` pass, in steps of one; the probes that went out, with their time in milliseconds.
    fn pass(&mut self, millis: u64) -> Vec<(u64, Probe)> {
        let mut probes = Vec::new();
        for step in 0..=millis {
            if step > 0 {
                self.now += Duration::from_millis(1);
            }
            if self.initiator.poll_timeout().is_some_and(|at| self.now >= at) {
                self.initiator.handle_timeout(self.now);
            }
            self.drain();
            while let Some(probe) = self.initiator.poll_probe(self.now) {
                probes.push((step, probe));
            }
        }
        probes
    }

    /// The other end answers the probe on `id`, and follows.
    fn answer(&mut self, id: SocketId, index: u64) {
        for _ in 0..5 {
            self.initiator.handle_packet(self.now, id, index);
        }
        assert_eq!((self.initiator.present(), self.initiator.index()), (id, index));
        self.drain();
    }

    fn opened(&self) -> Vec<(SocketId, SocketAddr)> {
        let open = |output: &InitiatorOutput| match output {
            InitiatorOutput::Open { id, remote, .. } => Some((*id, *remote)),
            _ => None,
        };
        self.outputs.iter().filter_map(open).collect()
    }

    fn candidates(&self, index: u64) -> Vec<SocketAddr> {
        self.initiator.targets.candidates(&self.initiator.secret, index)
    }

    fn through_door(&self) -> bool {
        self.outputs.iter().any(|output| matches!(output, InitiatorOutput::ThroughDoor { .. }))
    }
}

#[test]
fn a_hop_opens_one_candidate_probes_it_and_switches_when_it_answers() {
    let mut bench = Bench::new();
    let door = bench.initiator.present();
    bench.initiator.hop(bench.now);
    let probes = bench.pass(10);
    let [(id, remote)] = bench.opened()[..] else { panic!("{:?}", bench.outputs) };
    assert_eq!(remote, bench.candidates(1)[0]);
    assert_eq!(probes, [(0, Probe { id, index: 1 })]);
    assert_eq!((bench.initiator.index(), bench.initiator.present()), (0, door), "nothing moves before the answer");
    bench.initiator.handle_packet(bench.now, id, 0);
    assert_eq!(bench.initiator.index(), 0, "a packet for another index is no answer");
    bench.initiator.handle_packet(bench.now, id, 1);
    bench.drain();
    assert_eq!((bench.initiator.index(), bench.initiator.present()), (1, id));
    assert_eq!(bench.outputs.last(), Some(&InitiatorOutput::Switch { id, index: 1, cause: Cause::OperatorAsked }));
    bench.pass(1_999);
    assert_eq!(bench.initiator.sockets().count(), 2);
    bench.pass(1);
    assert_eq!(bench.outputs.last(), Some(&InitiatorOutput::Close { id: door }), "the door pair was heard for 2 s");
}

#[test]
fn source_ports_lie_below_and_are_not_the_same_again() {
    let mut bench = Bench::new();
    let mut ports = std::collections::BTreeSet::new();
    for index in 1..=100 {
        bench.outputs.clear();
        bench.initiator.hop(bench.now);
        bench.pass(RTT.as_millis().try_into().expect("small"));
        let Some(&InitiatorOutput::Open { id, local_port: Some(port), .. }) = bench.outputs.first() else {
            panic!("{:?}", bench.outputs)
        };
        assert!((1_024..20_000).contains(&port));
        ports.insert(port);
        bench.answer(id, index);
        bench.pass(2_100);
    }
    assert!(ports.len() >= 97, "{} ports in 100 hops", ports.len());
}

#[test]
fn blocked_candidates_cost_less_than_three_round_trips_and_50_ms() {
    let mut bench = Bench::new();
    bench.initiator.hop(bench.now);
    let probes = bench.pass(80);
    let ids: Vec<SocketId> = bench.opened().into_iter().map(|(id, _)| id).collect();
    assert_eq!(bench.opened().into_iter().map(|(_, remote)| remote).collect::<Vec<_>>(), bench.candidates(1));
    let first: Vec<u64> = ids
        .iter()
        .map(|id| probes.iter().find(|(_, probe)| probe.id == *id).map(|(at, _)| *at).expect("each was probed"))
        .collect();
    assert!(first[1] + 20 <= 2 * 20 + 25 && first[2] + 20 <= 3 * 20 + 50, "{first:?}");
    // The third answers; the two others are tried last from here on.
    bench.initiator.handle_packet(bench.now, ids[2], 1);
    bench.drain();
    assert_eq!(bench.initiator.present(), ids[2]);
    let mut blocked: Vec<SocketAddr> = bench.initiator.blocked().iter(bench.now).map(|(port, _)| port).collect();
    blocked.sort();
    let mut expected = bench.candidates(1);
    expected.truncate(2);
    expected.sort();
    assert_eq!(blocked, expected);
}

#[test]
fn a_link_without_an_answer_stays_and_then_goes_through_a_door() {
    let mut bench = Bench::new();
    bench.initiator.hop(bench.now);
    let door = bench.initiator.present();
    for _ in 0..20 {
        bench.pass(50);
        bench.initiator.handle_packet(bench.now, door, 0);
    }
    assert_eq!((bench.initiator.present(), bench.initiator.index()), (door, 0));
    assert_eq!(bench.initiator.sockets().count(), 1, "the candidates are closed");
    assert_eq!(bench.initiator.blocked().iter(bench.now).count(), 3);
    assert!(!bench.through_door());
    for _ in 0..130 {
        bench.pass(50);
        bench.initiator.handle_packet(bench.now, door, 0);
    }
    assert!(bench.through_door());
    assert_eq!(bench.opened().len(), 6, "the same three once more, and then none for a while");
    bench.initiator.handle_door_opened(bench.now, HopSecret::of_link(&[2; 16]), ([192, 0, 2, 1], 443).into());
    bench.initiator.hop(bench.now);
    bench.pass(45);
    assert_eq!(bench.opened().last().map(|(_, remote)| *remote), bench.candidates(1).first().copied());
}

#[test]
fn a_dead_link_goes_through_a_door_after_one_step() {
    let mut bench = Bench::new();
    bench.initiator.handle_sent(bench.now, 20);
    bench.pass(2_000);
    assert!(bench.through_door());
    assert_eq!(bench.initiator.blocked().iter(bench.now).count(), 0, "dead paths say nothing about ports");
}

#[test]
fn sockets_that_cannot_be_opened_are_passed_over_and_do_not_spin() {
    let mut bench = Bench::new();
    bench.initiator.hop(bench.now);
    let mut opens = 0;
    for _ in 0..20_000 {
        bench.now += Duration::from_millis(1);
        bench.initiator.handle_timeout(bench.now);
        while let Some(output) = bench.initiator.poll_output() {
            if let InitiatorOutput::Open { id, .. } = output {
                opens += 1;
                bench.initiator.handle_open_failed(bench.now, id);
            }
        }
    }
    assert_eq!(opens, 6, "two steps of three, and then a door");
}

#[test]
fn a_socket_that_cannot_send_is_left() {
    let mut bench = Bench::new();
    let door = bench.initiator.present();
    bench.initiator.handle_sent(bench.now, 2);
    bench.initiator.handle_send_refused(bench.now, door, 2);
    bench.pass(5);
    assert_eq!(bench.opened(), [], "two packets are few");
    for _ in 0..1_000 {
        bench.now += Duration::from_millis(1);
        bench.initiator.handle_sent(bench.now, 1);
        bench.initiator.handle_send_refused(bench.now, door, 1);
    }
    bench.pass(5);
    let [(id, _)] = bench.opened()[..] else { panic!("one step: {:?}", bench.outputs) };
    bench.initiator.handle_packet(bench.now, id, 1);
    bench.drain();
    assert_eq!(bench.outputs.last(), Some(&InitiatorOutput::Switch { id, index: 1, cause: Cause::SocketFailed }));
}

#[test]
fn without_any_way_out_few_sockets_are_opened() {
    // An hour without an interface, 200 packets a second: every packet is refused, probes too.
    let mut bench = Bench::new();
    let door = bench.initiator.present();
    let mut opens = 0;
    for _ in 0..720_000 {
        bench.now += Duration::from_millis(5);
        bench.initiator.handle_sent(bench.now, 1);
        bench.initiator.handle_send_refused(bench.now, door, 1);
        while let Some(probe) = bench.initiator.poll_probe(bench.now) {
            bench.initiator.handle_send_refused(bench.now, probe.id, 1);
        }
        opens += std::iter::from_fn(|| bench.initiator.poll_output())
            .filter_map(|output| match output {
                InitiatorOutput::Open { id, local_port, .. } => Some((id, local_port)),
                _ => None,
            })
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(id, port)| {
                let local = SocketAddr::from(([192, 0, 2, 2], port.expect("ports below the range")));
                bench.initiator.handle_opened(bench.now, id, local);
            })
            .count();
    }
    // A step of three in a minute.
    assert!((150..=200).contains(&opens), "{opens} sockets in an hour");
    assert_eq!(bench.initiator.present(), door);
}

#[test]
fn bytes_and_time_and_the_other_end_make_hops() {
    let mut bench = Bench::new();
    bench.initiator.handle_bytes(bench.now, 999);
    bench.pass(100);
    assert_eq!(bench.opened(), []);
    bench.initiator.handle_bytes(bench.now, 1);
    bench.pass(1);
    assert_eq!(bench.opened().len(), 1);
    let mut bench = Bench::new();
    bench.pass(29_999);
    assert_eq!(bench.opened(), []);
    bench.pass(1);
    assert_eq!(bench.opened().len(), 1);
    let mut bench = Bench::new();
    bench.initiator.handle_peer_asked(bench.now);
    bench.pass(1);
    let (id, _) = bench.opened()[0];
    bench.answer(id, 1);
    for _ in 0..4 {
        bench.initiator.handle_peer_asked(bench.now);
        bench.pass(100);
    }
    assert_eq!(bench.opened().len(), 1, "the other end asks too often");
    bench.pass(100);
    bench.initiator.handle_peer_asked(bench.now);
    bench.pass(1);
    assert_eq!(bench.opened().len(), 2);
}

#[test]
fn many_hops_in_a_row_wait_for_room() {
    let mut bench = Bench::new();
    let start = bench.now;
    for index in 1..=40 {
        let before = bench.opened().len();
        bench.initiator.hop(bench.now);
        while bench.opened().len() == before {
            bench.pass(1);
        }
        let (id, _) = bench.opened()[before];
        while bench.pass(1).is_empty() {}
        bench.answer(id, index);
    }
    // Five in the time that an old pair is heard.
    assert!(bench.now - start >= Duration::from_secs(2) * (40 / 5 - 1), "{:?}", bench.now - start);
}

#[test]
fn a_jump_of_the_clock_costs_one_hop() {
    let mut bench = Bench::new();
    bench.now += Duration::from_secs(86_400 * 365);
    bench.pass(5);
    let [(id, _)] = bench.opened()[..] else { panic!("one step: {:?}", bench.outputs) };
    bench.now += Duration::from_secs(86_400);
    bench.pass(10);
    assert!(!bench.outputs.is_empty());
    bench.initiator.handle_packet(bench.now, id, 1);
    bench.pass(100);
    assert!(bench.initiator.sockets().count() <= 4);
}

#[test]
fn another_secret_ends_the_step_and_begins_it_anew() {
    let mut bench = Bench::new();
    bench.initiator.hop(bench.now);
    bench.pass(5);
    bench.initiator.handle_new_secret(bench.now, HopSecret::of_link(&[9; 16]));
    bench.pass(5);
    assert_eq!(bench.opened().last().map(|(_, remote)| *remote), bench.candidates(1).first().copied());
    assert_eq!(bench.initiator.sockets().count(), 2);
}

#[test]
fn a_step_is_repeated_for_the_same_index_while_the_other_end_may_not_have_followed() {
    let mut bench = Bench::new();
    bench.initiator.hop(bench.now);
    bench.pass(40);
    let [(first, _), (second, _)] = bench.opened()[..] else { panic!("{:?}", bench.outputs) };
    bench.initiator.handle_packet(bench.now, first, 1);
    bench.drain();
    bench.initiator.handle_packet(bench.now, second, 1);
    assert_eq!(bench.initiator.present(), first, "the second answer is too late");
    // The second answer on the first pair may be one to the second probe: it says nothing.
    bench.initiator.handle_packet(bench.now, first, 1);
    bench.initiator.handle_sent(bench.now, 20);
    let probes = bench.pass(700);
    assert!(probes.iter().all(|(_, probe)| probe.index == 1), "{probes:?}");
    let retried: Vec<SocketAddr> = bench.opened()[2..].iter().map(|(_, remote)| *remote).collect();
    let mut others = bench.candidates(1);
    others.remove(0);
    others.sort();
    let mut sorted = retried.clone();
    sorted.sort();
    assert_eq!(sorted, others, "all but the pair it is on");
    // Nobody answers: the next index is tried at once.
    let probes = bench.pass(700);
    assert!(probes.iter().any(|(_, probe)| probe.index == 2), "{probes:?}");
}

#[test]
fn a_link_needs_little_memory() {
    // What is not in the structures: outputs and sockets of a step, 20 stretches, 90 used pairs and some blocked ports.
    let step = 8 * size_of::<InitiatorOutput>() + 4 * size_of::<Draining>() + 3 * size_of::<crate::step::Try>();
    let heap = step + crate::detector::STRETCHES_LEN_MAX + 90 * 8 + 4 * size_of::<(SocketAddr, Instant)>();
    assert!(size_of::<Initiator>() + heap <= 4_096, "{} and {heap}", size_of::<Initiator>());
    assert!(size_of::<crate::responder::Responder>() <= 2_048, "{}", size_of::<crate::responder::Responder>());
}

#[test]
fn a_link_that_is_down_has_no_socket_and_keeps_its_memory() {
    let mut bench = Bench::new();
    bench.initiator.hop(bench.now);
    bench.pass(500);
    let (candidates, closed) = (bench.initiator.sockets().count() - 1, |bench: &Bench| {
        bench.outputs.iter().filter(|output| matches!(output, InitiatorOutput::Close { .. })).count()
    });
    let before = closed(&bench);
    bench.initiator.handle_down();
    bench.drain();
    assert_eq!(closed(&bench) - before, candidates + 1, "the candidates and the present one");
    let used = bench.initiator.used.len();
    let door = ([192, 0, 2, 1], 443).into();
    bench.initiator.handle_door_opened(bench.now, HopSecret::of_link(&[2; 16]), door);
    assert_eq!((bench.initiator.index(), bench.initiator.used.len()), (0, used));
    assert!(used > 0);
}

#[test]
fn other_targets_end_what_is_tried_and_are_used_next() {
    let mut bench = Bench::new();
    bench.initiator.hop(bench.now);
    bench.drain();
    let address = TargetAddress::One([192, 0, 2, 7].into());
    let targets = Targets::new(vec![address], "4433".parse().expect("a port")).expect("an address");
    bench.initiator.handle_new_targets(bench.now, targets);
    bench.drain();
    let opened = bench.outputs.iter().rev().find_map(|output| match output {
        InitiatorOutput::Open { remote, .. } => Some(*remote),
        _ => None,
    });
    assert_eq!(opened, Some(([192, 0, 2, 7], 4_433).into()));
}
