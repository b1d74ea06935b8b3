//! The real thread on the real clock, over loopback.

use std::time::Instant;

use super::*;
use crate::udp::RecvBuffers;

type Outcome = Result<(), Box<dyn std::error::Error>>;
const P: usize = 1350;
/// Long slots, so that a busy machine does not become a part of what is tested.
const SLOT_NS: u64 = 20_000_000;

struct Rig {
    sender: SlotSender,
    receiver: UdpSocket,
    way: Way,
    grid: Grid,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Settings)) -> Result<Self, Box<dyn std::error::Error>> {
        let receiver = UdpSocket::bind("127.0.0.1:0".parse()?)?;
        let to = receiver.local_addr()?;
        let grid = Grid { t0_ns: monotonic_ns() + 2 * SLOT_NS, slot_ns: SLOT_NS };
        let mut settings = Settings { raw_samples: 1000, ..Settings::new(grid, P) };
        change(&mut settings);
        let grid = settings.grid;
        let way = Way { socket: Arc::new(UdpSocket::bind("127.0.0.1:0".parse()?)?), from: None, to };
        Ok(Self { sender: SlotSender::start(&settings)?, receiver, way, grid })
    }

    fn batch(&mut self, slot: u64, marks: &[u8]) -> Batch {
        let mut packets = self.sender.buffer();
        packets.extend(marks.iter().flat_map(|mark| [*mark; P]));
        Batch { slot, runs: vec![Run { lane: 0, way: self.way.clone(), packets }] }
    }

    fn wait_until(ns: u64) {
        std::thread::sleep(Duration::from_nanos(ns.saturating_sub(monotonic_ns())));
    }

    /// First byte of every packet that came, after waiting for `count` of them, or for ten seconds.
    fn received(&self, count: usize) -> Vec<u8> {
        let mut marks = Vec::new();
        let mut buffers = RecvBuffers::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while marks.len() < count && Instant::now() < deadline {
            let _ = self.receiver.recv_batch(&mut buffers, |_, _, packet| marks.push(packet[0]));
            std::thread::sleep(Duration::from_millis(1));
        }
        marks
    }
}

/// A batch that is there for its spare alone.
fn nothing() -> Batch {
    Batch { slot: 0, runs: Vec::new() }
}

#[test]
fn batches_go_at_their_slots_and_buffers_come_back() -> Outcome {
    let mut rig = Rig::new(|_| {})?;
    for slot in 0..20u8 {
        let batch = rig.batch(slot.into(), &[slot, slot]);
        let spare = (slot < 19).then(|| rig.batch(u64::from(slot) + 1, &[255, 255]));
        rig.sender.hand_over(batch, spare)?;
        Rig::wait_until(rig.grid.time_of(u64::from(slot) + 1) - 10_000_000);
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let settled = |statistics: &Statistics| statistics.slots + statistics.missed >= 20;
    while !settled(&rig.sender.statistics()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let statistics = rig.sender.statistics();
    // A machine that stalls for more than the lead time sends spares or misses slots, which the counters must then say.
    let marks = rig.received(usize::try_from(statistics.sent)?);
    assert_eq!(marks.len() as u64, statistics.sent);
    assert_eq!(marks.iter().filter(|mark| **mark == 255).count() as u64, statistics.cover_packets);
    assert_eq!(statistics.sent, 2 * statistics.slots);
    assert!(statistics.slots + statistics.missed >= 20, "{statistics:?}");
    assert_eq!(statistics.before.samples(), statistics.slots);
    let samples = rig.sender.lateness_samples();
    assert_eq!(samples.len() as u64, statistics.slots);
    assert!(samples.iter().all(|sample| sample.before_ns <= sample.after_ns));
    assert!(rig.sender.buffer().capacity() >= P, "buffers are used again");
    rig.sender.stop();
    Ok(())
}

/// How often a test of times is tried: where the machine stands still for some slots, they go by without a packet.
const TRIES: usize = 10;

#[test]
fn without_a_batch_the_spare_goes_and_the_late_batch_follows() -> Outcome {
    let expected =
        LateBatch { marks: vec![1, 200, 2], late_slots: 1, cover_packets: 1, missed: 0, sent: 3, unsent: [1, 0] };
    let mut found = with_a_late_batch()?;
    for _ in 1..TRIES {
        if found != expected {
            found = with_a_late_batch()?;
        }
    }
    assert_eq!(found, expected, "not once in {TRIES} times");
    Ok(())
}

/// What becomes of a batch that comes after its slot.
#[derive(Debug, PartialEq)]
struct LateBatch {
    marks: Vec<u8>,
    late_slots: u64,
    cover_packets: u64,
    missed: u64,
    sent: u64,
    /// When it was handed over, and in the end.
    unsent: [u64; 2],
}

fn with_a_late_batch() -> Result<LateBatch, Box<dyn std::error::Error>> {
    let mut rig = Rig::new(|_| {})?;
    let (first, spare) = (rig.batch(0, &[1]), rig.batch(1, &[200]));
    rig.sender.hand_over(first, Some(spare))?;
    let spare = rig.batch(4, &[201]);
    rig.sender.hand_over(nothing(), Some(spare))?;
    // Slots 2 and 3 have no cells. The batch of slot 1 comes after its slot and takes slot 4.
    Rig::wait_until(rig.grid.time_of(1) + 5_000_000);
    let late = rig.batch(1, &[2]);
    rig.sender.hand_over(late, None)?;
    let unsent = rig.sender.unsent_packets(0);
    let marks = rig.received(3);
    assert!(monotonic_ns() >= rig.grid.time_of(4));
    // The thread counts after it has sent.
    let deadline = Instant::now() + Duration::from_secs(1);
    while rig.sender.unsent_packets(0) > 0 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let Statistics { late_slots, cover_packets, missed, sent, .. } = rig.sender.statistics();
    let unsent = [unsent, rig.sender.unsent_packets(0)];
    Ok(LateBatch { marks, late_slots, cover_packets, missed, sent, unsent })
}

#[test]
fn a_sleeping_thread_is_woken_for_an_earlier_slot() -> Outcome {
    let mut rig = Rig::new(|settings| settings.spin = Duration::ZERO)?;
    let far = rig.batch(1_000_000, &[9]);
    rig.sender.hand_over(far, None)?;
    std::thread::sleep(Duration::from_millis(3));
    let slot = rig.grid.first_slot_after(monotonic_ns()) + 2;
    let near = rig.batch(slot, &[1]);
    rig.sender.hand_over(near, None)?;
    assert_eq!(rig.received(1), [1]);
    assert!(monotonic_ns() >= rig.grid.time_of(slot));
    let started = Instant::now();
    rig.sender.stop();
    assert!(started.elapsed() < Duration::from_secs(60), "it does not wait for the far slot");
    Ok(())
}

#[test]
fn the_number_of_waiting_batches_is_bounded_and_nothing_is_lost() -> Outcome {
    let mut rig = Rig::new(|_| {})?;
    let base = rig.grid.first_slot_after(monotonic_ns()) + 1_000_000;
    for number in 0..BATCHES_MAX {
        let batch = rig.batch(base + number, &[1]);
        rig.sender.hand_over(batch, None)?;
    }
    let batch = rig.batch(base + 100, &[7]);
    let refused = rig.sender.hand_over(batch.clone(), None).err().ok_or("taken beyond the bound")?;
    assert_eq!(refused.reason, RefusalReason::Full);
    assert_eq!(refused.batch, batch);
    for number in 0..SPARES_MAX {
        let spare = rig.batch(base + number, &[1]);
        rig.sender.hand_over(nothing(), Some(spare))?;
    }
    let spare = rig.batch(base + 200, &[1]);
    assert!(rig.sender.hand_over(nothing(), Some(spare)).is_err());
    assert_eq!(rig.sender.unsent_packets(0), BATCHES_MAX);
    Ok(())
}

#[test]
fn a_path_without_route_is_told_and_the_grid_goes_on() -> Outcome {
    let mut rig = Rig::new(|_| {})?;
    let good = rig.way.to;
    rig.way.to = "[::1]:9".parse()?;
    let refused = rig.way.clone();
    let (bad, spare) = (rig.batch(0, &[1, 1]), rig.batch(1, &[1]));
    rig.sender.hand_over(bad, Some(spare))?;
    rig.way.to = good;
    let batch = rig.batch(2, &[3]);
    rig.sender.hand_over(batch, None)?;
    assert_eq!(rig.received(1), [3]);
    assert_eq!(rig.sender.statistics().unreachable, 3);
    let told: Vec<Unreachable> = std::iter::from_fn(|| rig.sender.poll_unreachable()).collect();
    assert_eq!(told, [2, 1].map(|packets| Unreachable { way: refused.clone(), packets }));
    Ok(())
}

/// Figures for the crate's README: `cargo test -p os-net --release -- --ignored --nocapture lateness`.
#[test]
#[ignore = "prints figures and takes 20 seconds"]
fn lateness_of_a_thousand_slots() -> Outcome {
    for spin_us in [150, 0] {
        let mut rig = Rig::new(|settings| {
            settings.spin = Duration::from_micros(spin_us);
            settings.raw_samples = 2000;
            settings.grid.slot_ns = 5_000_000;
        })?;
        for slot in 0..1000 {
            let (batch, spare) = (rig.batch(slot, &[1; 5]), rig.batch(slot + 1, &[2; 5]));
            rig.sender.hand_over(batch, Some(spare))?;
            Rig::wait_until(rig.grid.time_of(slot + 1) - 1_500_000);
            let _ = rig.receiver.recv_batch(&mut RecvBuffers::new(), |_, _, _| {});
        }
        let mut before: Vec<u32> = rig.sender.lateness_samples().iter().map(|sample| sample.before_ns).collect();
        let mut after: Vec<u32> = rig.sender.lateness_samples().iter().map(|sample| sample.after_ns).collect();
        before.sort_unstable();
        after.sort_unstable();
        let at = |sorted: &[u32], per_cent: usize| sorted[(sorted.len() - 1) * per_cent / 100] / 1000;
        let line = format!(
            "spin {spin_us} us: before p50 {} p99 {} us, after p50 {} p99 {} us, {:?}\n",
            at(&before, 50),
            at(&before, 99),
            at(&after, 50),
            at(&after, 99),
            rig.sender.statistics(),
        );
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes())?;
    }
    Ok(())
}
