//! Packets that are garbled, replayed, of another size or random, sent to a link that works.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use adversary::Direction;
use anyhow::Context;
use lab::load::{Service, start};
use lab::pair::Role;
use lab::relay::Relay;
use os_net::udp::UdpSocket as BatchSocket;
use rustix::process::{Pid, Signal, kill_process};

use super::rig::{GoodPair, Noise, Outcome, PACKET, answers, fetch, say, stranger, take_turn, wait_until};

/// Sizes that no node sends.
const SIZES: [usize; 6] = [0, 1, 1349, 1351, 9000, 65_507];
/// Places of a packet in which one bit is turned: index, counter, sealed bytes, tag.
const PLACES: [usize; 5] = [0, 8, 16, 700, 1349];
/// How long the answer to a handshake is kept for the same address; later the same bytes meet silence there, too.
const ANSWER_KEPT: Duration = Duration::from_secs(11);

/// Packets by which an exact count may differ from rate times time: those of a slot on either end.
const BESIDE_SCHEDULE: f64 = 10.0;

/// Where a bad packet comes from.
#[derive(Clone, Copy, Debug)]
enum From<'a> {
    /// An address that the node has never seen.
    Stranger(&'a UdpSocket, SocketAddr),
    /// The address of the other node.
    Peer(&'a Relay, Direction),
}

impl From<'_> {
    fn send(self, packet: &[u8]) -> Outcome {
        match self {
            Self::Stranger(socket, to) => {
                socket.send_to(packet, to)?;
            }
            Self::Peer(relay, direction) => relay.inject(direction, packet),
        }
        Ok(())
    }
}

/// What an observer has kept: the first message that was answered, and transport packets of both directions.
struct Kept {
    message_1: Vec<u8>,
    outward: Vec<Vec<u8>>,
    inward: Vec<Vec<u8>>,
}

fn keep(relay: &Relay, packets: usize) -> anyhow::Result<Kept> {
    let recording = relay.recording();
    let records = recording.records();
    let answer = records.iter().position(|record| record.sighting.direction == Direction::Inward);
    let answer = answer.context("the exit answered")?;
    let message_1 = records[..answer].last().context("somebody asked before")?.bytes.clone();
    let newest = |direction| -> Vec<Vec<u8>> {
        let all = recording.payloads(direction);
        all[all.len().saturating_sub(packets)..].iter().map(|bytes| bytes.to_vec()).collect()
    };
    Ok(Kept { message_1, outward: newest(Direction::Outward), inward: newest(Direction::Inward) })
}

#[test]
fn garbled_replayed_and_other_packets_are_counted_and_change_nothing() -> Outcome {
    let _turn = take_turn();
    let good = GoodPair::recorded("2 Mbit/s")?;
    let began = Instant::now();
    let (relay, door, socket) = (good.relay()?, good.door()?, stranger()?);
    wait_until("packets to replay", || Ok(relay.recording().payloads(Direction::Outward).len() > 200))?;
    let kept = keep(relay, 100)?;
    let from_peer = From::Peer(relay, Direction::Outward);
    let attacked = Relay::now();
    for from in [From::Stranger(&socket, door), from_peer] {
        attack(&good, Role::Exit, from, &kept.outward)?;
        good.fetch()?;
    }
    attack(&good, Role::Entry, From::Peer(relay, Direction::Inward), &kept.inward)?;
    good.fetch()?;

    let before = good.count(Role::Exit, "replayed handshake")?;
    let strangers = good.count(Role::Exit, "stranger")?;
    From::Stranger(&socket, door).send(&kept.message_1)?;
    good.wait_for(Role::Exit, "replayed handshake", before + 1)?;
    // A first message that is cut short, and one with noise in the place of its end.
    let mut cut = kept.message_1[..PACKET / 2].to_vec();
    let sizes = good.count(Role::Exit, "wrong size")?;
    From::Stranger(&socket, door).send(&cut)?;
    good.wait_for(Role::Exit, "wrong size", sizes + 1)?;
    cut.extend(Noise::new(3).packet(PACKET / 2));
    From::Stranger(&socket, door).send(&cut)?;
    good.wait_for(Role::Exit, "stranger", strangers + 1)?;

    std::thread::sleep(ANSWER_KEPT.saturating_sub(began.elapsed()));
    from_peer.send(&kept.message_1)?;
    good.wait_for(Role::Exit, "replayed handshake", before + 2)?;
    assert_eq!(answers(&socket), 0, "a stranger got an answer");
    nothing_beside_the_schedule(&good, attacked)?;
    good.wait_for_log(Role::Exit, "replayed ")?;
    good.fetch()
}

/// The exit sent what its schedule says since then, and no packet more.
fn nothing_beside_the_schedule(good: &GoodPair, since: Duration) -> Outcome {
    let rate = good.pair.status(Role::Exit)?.schedule.send.context("a rate")?.packets_per_second;
    let until = Relay::now();
    let sent = good.relay()?.recording().between(Direction::Inward, since, until).len() as f64;
    let due = rate as f64 * (until - since).as_secs_f64();
    assert!(sent <= due + BESIDE_SCHEDULE, "{sent} packets where {due} were due");
    Ok(())
}

/// Sends bad packets of every kind from one place to one node, which must count each.
fn attack(good: &GoodPair, role: Role, from: From<'_>, packets: &[Vec<u8>]) -> Outcome {
    let count =
        |reasons: &[&str]| -> anyhow::Result<u64> { reasons.iter().map(|reason| good.count(role, reason)).sum() };
    let before = count(&["replayed"])?;
    packets.iter().try_for_each(|packet| from.send(packet))?;
    wait_until("replays are counted", || Ok(count(&["replayed"])? >= before + packets.len() as u64))
        .with_context(|| format!("{role:?}, {from:?}"))?;

    // A garbled tag or index names no link, a garbled counter does not fit the seal; with whole ones the counter is
    // one that was seen, before anything is opened.
    let garbled = ["forged", "stranger", "replayed"];
    let before = count(&garbled)?;
    for packet in packets {
        for place in PLACES {
            let mut packet = packet.clone();
            packet[place] ^= 1;
            from.send(&packet)?;
        }
    }
    let sent = (packets.len() * PLACES.len()) as u64;
    wait_until("garbled packets are counted", || Ok(count(&garbled)? >= before + sent))
        .with_context(|| format!("{role:?}, {from:?}: {before} before, {} now", count(&garbled).unwrap_or(0)))?;

    let before = count(&["wrong size"])?;
    let mut noise = Noise::new(1);
    SIZES.iter().try_for_each(|size| from.send(&noise.packet(*size)))?;
    wait_until("other sizes are counted", || Ok(count(&["wrong size"])? >= before + SIZES.len() as u64))
        .with_context(|| format!("{role:?}, {from:?}: {before} before, {} now", count(&["wrong size"]).unwrap_or(0)))
}

#[test]
fn a_first_message_is_not_answered_after_a_restart() -> Outcome {
    let _turn = take_turn();
    let mut good = GoodPair::recorded("2 Mbit/s")?;
    let kept = keep(good.relay()?, 50)?;
    let shaped = |good: &GoodPair| -> anyhow::Result<Option<u32>> {
        Ok(good.pair.pids(Role::Exit)?.into_iter().find(|(name, _)| name == "shaped-server").map(|(_, pid)| pid))
    };
    let old = shaped(&good)?.context("the exit runs")?;
    let pid = Pid::from_raw(i32::try_from(old)?).context("a process number")?;
    kill_process(pid, Signal::KILL)?;
    wait_until("a new process", || Ok(shaped(&good).is_ok_and(|pid| pid.is_some_and(|pid| pid != old))))?;
    good.pair.wait_until_up()?;
    wait_until("the pair works again", || Ok(good.fetch().is_ok()))?;

    let (socket, door) = (stranger()?, good.door()?);
    let before = good.count(Role::Exit, "replayed handshake")?;
    From::Stranger(&socket, door).send(&kept.message_1)?;
    From::Peer(good.relay()?, Direction::Outward).send(&kept.message_1)?;
    good.wait_for(Role::Exit, "replayed handshake", before + 2)?;
    // Packets under the keys of the process that is gone.
    let strangers = good.count(Role::Exit, "stranger")?;
    kept.outward.iter().try_for_each(|packet| From::Stranger(&socket, door).send(packet))?;
    good.wait_for(Role::Exit, "stranger", strangers + kept.outward.len() as u64)?;
    assert_eq!(answers(&socket), 0, "a replay was answered");
    good.fetch()
}

/// The flood: packets of P random bytes.
const FLOOD_PER_SECOND: u32 = 50_000;
const FLOOD_FOR: Duration = Duration::from_secs(2);
/// Packets that one call sends.
const FLOOD_BATCH: u32 = 40;
/// Bytes that are fetched beside it: over two seconds at 10 Mbit/s.
const BESIDE: u64 = 2_000_000;

/// Tries until one is within the bounds of time: another program may take the machine away in one.
const FLOODS: usize = 4;

#[test]
fn a_flood_of_noise_costs_bounded_time_and_the_pair_goes_on() -> Outcome {
    let _turn = take_turn();
    let good = GoodPair::recorded("10 Mbit/s")?;
    let origin = start(Service::Source { bytes: BESIDE })?;
    for _ in 0..FLOODS {
        let within_bounds = flood_once(&good, origin)?;
        good.fetch()?;
        if within_bounds {
            return Ok(());
        }
    }
    anyhow::bail!(
        "in {FLOODS} floods the pair never had half its goodput, or the exit needed a whole processor or missed most"
    )
}

/// Fetches before, beside and after a flood, of which nothing may be answered. Returns whether the pair kept half
/// its goodput, and the exit looked at most packets with less than one processor.
fn flood_once(good: &GoodPair, origin: SocketAddr) -> anyhow::Result<bool> {
    let timed = || -> anyhow::Result<Duration> {
        let begin = Instant::now();
        fetch(good.pair.proxy(), origin, BESIDE)?;
        Ok(begin.elapsed())
    };
    let quiet = timed()?;
    let door = good.door()?;
    let before = good.settled(Role::Exit, "stranger")?;
    let cpu = shaped_seconds(good)?;
    let flood = std::thread::spawn(move || flood(door));
    let loud = timed()?;
    let flooded = flood.join().ok().context("the flood's thread panicked")??;
    let counted = good.settled(Role::Exit, "stranger")? - before;
    let spent = shaped_seconds(good)? - cpu;
    let again = timed()?;
    say(&format!(
        "flood: {} packets in {:?}, {counted} opened and refused, {spent:.2} s of processor; {BESIDE} bytes took \
         {quiet:?} before, {loud:?} beside it and {again:?} after",
        flooded.packets, flooded.took,
    ));
    assert_eq!(flooded.answers, 0, "noise was answered");
    assert!(counted > 0, "nothing was counted");
    let most_counted = counted > flooded.packets / 2;
    Ok(most_counted && loud < quiet * 2 && again < quiet * 2 && spent < flooded.took.as_secs_f64())
}

struct Flooded {
    packets: u64,
    took: Duration,
    answers: usize,
}

fn flood(door: SocketAddr) -> anyhow::Result<Flooded> {
    let socket = BatchSocket::bind(([127, 0, 0, 1], 0).into())?;
    let mut noise = Noise::new(11);
    let (begin, gap) = (Instant::now(), Duration::from_secs(1) * FLOOD_BATCH / FLOOD_PER_SECOND);
    let (mut packets, mut batches) = (0, 0);
    while begin.elapsed() < FLOOD_FOR {
        let batch = noise.packet(PACKET * FLOOD_BATCH as usize);
        packets += socket.send_batch(door, &batch, PACKET)?.packets as u64;
        batches += 1;
        std::thread::sleep((gap * batches).saturating_sub(begin.elapsed()));
    }
    let took = begin.elapsed();
    let mut answers = 0;
    // An error is "nothing there".
    let _ = socket.recv_batch(&mut os_net::udp::RecvBuffers::new(), |_, _, _| answers += 1);
    Ok(Flooded { packets, took, answers })
}

/// Processor seconds of the exit's shaped process.
fn shaped_seconds(good: &GoodPair) -> anyhow::Result<f64> {
    let processes = good.pair.status(Role::Exit)?.processes;
    let shaped = processes.iter().find(|process| process.name == "shaped-server");
    shaped.and_then(|process| process.cpu_s).context("the exit's shaped process has figures")
}
