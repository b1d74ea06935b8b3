//! Whether payloads look like random bytes.
//!
//! Eight questions, each with an upper bound of the probability that random bytes look as odd as these. A run raises a
//! false alarm in at most one of 10,000 cases; each question gets an equal part of that.

use std::fmt;

use serde::Serialize;

use crate::bounds::{
    ln_binomial_at_least, ln_chi_square_off_by, ln_coin_off_by, ln_normal_off_by, ln_poisson_at_least,
};

/// The chance that packets of random bytes do not pass.
pub const FALSE_ALARM_PER_RUN: f64 = 1e-4;
/// The same for tests that run again and again and judge many lines each time. What leaks is odder by far than either.
pub const FALSE_ALARM_PER_TEST: f64 = 1e-9;
/// Fewer packets show too little to be judged.
pub const PACKETS_MIN: usize = 64;

/// Length of the windows whose repetition within a packet is counted: a compressor's shortest match.
const WINDOW: usize = 4;
/// Length of the blocks that must not occur at the same place of two packets.
const BLOCK: usize = 8;
const QUESTIONS: usize = 8;

/// What is asked about the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Are as many bits set as not?
    Monobit,
    /// Is every byte value equally frequent, neither less nor more evenly than chance?
    ByteFrequency,
    /// Does a byte say something about the next?
    NextByte,
    /// Does a byte say something about the one at the same place of the next packet?
    NextPacket,
    /// Is a bit at some place of the packets set too often or too rarely?
    BitPosition,
    /// Does a byte value stand too often at some place of the packets?
    BytePosition,
    /// Do strings repeat within a packet, so that a compressor would gain?
    Repeats,
    /// Do two packets have the same eight bytes at the same place?
    Duplicates,
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The question.
    pub question: Question,
    /// Upper bound of the natural logarithm of the chance that random bytes look as odd.
    pub ln_chance: f64,
}

impl Outcome {
    /// Whether random bytes look like this often enough.
    pub fn passes(&self) -> bool {
        self.passes_at(FALSE_ALARM_PER_RUN)
    }

    /// Whether they do, where a run may raise a false alarm with this chance, above 0 and below 1.
    pub fn passes_at(&self, false_alarm: f64) -> bool {
        self.ln_chance >= (false_alarm / QUESTIONS as f64).ln()
    }
}

/// The answers for one run.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomnessReport {
    /// Packets that were judged.
    pub packets: usize,
    /// The length of each.
    pub length: usize,
    /// One answer a question.
    pub outcomes: [Outcome; QUESTIONS],
}

impl RandomnessReport {
    /// Whether all questions are answered well.
    pub fn passes(&self) -> bool {
        self.passes_at(FALSE_ALARM_PER_RUN)
    }

    /// Whether they are, where random bytes may raise a false alarm with this chance, above 0 and below 1, such as
    /// [`FALSE_ALARM_PER_TEST`].
    pub fn passes_at(&self, false_alarm: f64) -> bool {
        self.outcomes.iter().all(|outcome| outcome.passes_at(false_alarm))
    }
}

impl fmt::Display for RandomnessReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} packets of {} bytes:", self.packets, self.length)?;
        for outcome in &self.outcomes {
            let mark = if outcome.passes() { "" } else { " FAILS" };
            let exponent = outcome.ln_chance / 10f64.ln();
            write!(out, " {:?} 10^{exponent:.1}{mark};", outcome.question)?;
        }
        Ok(())
    }
}

/// The packets cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooFewPackets {
    /// Fewer than [`PACKETS_MIN`].
    #[error("{0} packets are too few to judge, {PACKETS_MIN} are needed")]
    Count(usize),
    /// Places can be compared only among packets of one length, of at least eight bytes.
    #[error("the packets do not all have one length of 8 bytes or more")]
    Lengths,
}

/// Judges payloads of one length, in the order in which they were sent.
///
/// # Errors
/// If they are too few, too short, or of different lengths.
pub fn judge_randomness<P: AsRef<[u8]>>(packets: &[P]) -> Result<RandomnessReport, TooFewPackets> {
    let packets: Vec<&[u8]> = packets.iter().map(AsRef::as_ref).collect();
    if packets.len() < PACKETS_MIN {
        return Err(TooFewPackets::Count(packets.len()));
    }
    let length = packets[0].len();
    if length < 2 * WINDOW || packets.iter().any(|packet| packet.len() != length) {
        return Err(TooFewPackets::Lengths);
    }
    let answer = |question| Outcome { question, ln_chance: ask(question, &packets, length) };
    let outcomes = [
        Question::Monobit,
        Question::ByteFrequency,
        Question::NextByte,
        Question::NextPacket,
        Question::BitPosition,
        Question::BytePosition,
        Question::Repeats,
        Question::Duplicates,
    ]
    .map(answer);
    Ok(RandomnessReport { packets: packets.len(), length, outcomes })
}

fn ask(question: Question, packets: &[&[u8]], length: usize) -> f64 {
    match question {
        Question::Monobit => monobit(packets, length),
        Question::ByteFrequency => byte_frequency(packets, length),
        Question::NextByte => {
            correlation(packets.iter().flat_map(|packet| packet.windows(2).map(|pair| (pair[0], pair[1]))))
        }
        Question::NextPacket => {
            correlation(packets.windows(2).flat_map(|pair| pair[0].iter().copied().zip(pair[1].iter().copied())))
        }
        Question::BitPosition => bit_position(packets, length),
        Question::BytePosition => byte_position(packets, length),
        Question::Repeats => repeats(packets, length),
        Question::Duplicates => duplicates(packets, length),
    }
}

fn monobit(packets: &[&[u8]], length: usize) -> f64 {
    let ones: u64 = packets.iter().flat_map(|packet| packet.iter()).map(|byte| u64::from(byte.count_ones())).sum();
    ln_coin_off_by(ones, (packets.len() * length * 8) as u64)
}

fn byte_frequency(packets: &[&[u8]], length: usize) -> f64 {
    let mut counts = [0u64; 256];
    for &byte in packets.iter().flat_map(|packet| packet.iter()) {
        counts[usize::from(byte)] += 1;
    }
    let expected = (packets.len() * length) as f64 / 256.0;
    let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    ln_chi_square_off_by(chi_square, 255.0)
}

/// The correlation of uniform bytes with known mean and variance; its sum over many pairs is normal.
fn correlation(pairs: impl Iterator<Item = (u8, u8)>) -> f64 {
    const MEAN: f64 = 127.5;
    const VARIANCE: f64 = (256.0 * 256.0 - 1.0) / 12.0;
    let (mut sum, mut count) = (0.0, 0.0f64);
    for (left, right) in pairs {
        sum += (f64::from(left) - MEAN) * (f64::from(right) - MEAN);
        count += 1.0;
    }
    ln_normal_off_by(sum / VARIANCE / count.sqrt())
}

/// The oddest of all places, paid for by the number of places.
fn bit_position(packets: &[&[u8]], length: usize) -> f64 {
    let mut ones = vec![0u64; length * 8];
    for packet in packets {
        for (position, byte) in packet.iter().enumerate() {
            for bit in 0..8 {
                ones[position * 8 + bit] += u64::from(byte >> bit & 1);
            }
        }
    }
    let oddest = ones.iter().map(|&count| ln_coin_off_by(count, packets.len() as u64)).fold(0.0, f64::min);
    (oddest + ((length * 8) as f64).ln()).min(0.0)
}

fn byte_position(packets: &[&[u8]], length: usize) -> f64 {
    let most_frequent = (0..length).map(|position| {
        let mut counts = [0u64; 256];
        packets.iter().for_each(|packet| counts[usize::from(packet[position])] += 1);
        counts.into_iter().max().unwrap_or(0)
    });
    let oddest = most_frequent.max().unwrap_or(0);
    let ln_chance = ln_binomial_at_least(oddest, packets.len() as u64, 1.0 / 256.0);
    (ln_chance + ((length * 256) as f64).ln()).min(0.0)
}

/// Pairs of equal windows that do not overlap: the first at a multiple of the window's length, the second anywhere.
fn repeats(packets: &[&[u8]], length: usize) -> f64 {
    let mut equal_pairs = 0;
    let mut windows: Vec<(u64, usize)> = Vec::with_capacity(length);
    for packet in packets {
        windows.clear();
        windows.extend(packet.windows(WINDOW).enumerate().map(|(position, window)| (number(window), position)));
        windows.sort_unstable();
        for run in windows.chunk_by(|left, right| left.0 == right.0) {
            let starts = run.iter().filter(|(_, start)| start.is_multiple_of(WINDOW));
            let equal = starts.map(|&(_, start)| run.iter().filter(|&&(_, other)| is_compared(start, other)).count());
            equal_pairs += equal.sum::<usize>() as u64;
        }
    }
    let starts = (0..length / WINDOW).map(|index| index * WINDOW);
    let positions = length + 1 - WINDOW;
    let pairs: usize =
        starts.map(|start| (0..positions).filter(|&position| is_compared(start, position)).count()).sum();
    let mean = (pairs * packets.len()) as f64 / 2f64.powi(8 * WINDOW as i32);
    ln_poisson_at_least(equal_pairs, mean)
}

fn duplicates(packets: &[&[u8]], length: usize) -> f64 {
    let mut equal_pairs = 0;
    let blocks = length / BLOCK;
    let mut same_place: Vec<u64> = Vec::with_capacity(packets.len());
    for start in (0..blocks).map(|block| block * BLOCK) {
        same_place.clear();
        same_place.extend(packets.iter().map(|packet| number(&packet[start..start + BLOCK])));
        same_place.sort_unstable();
        let runs = same_place.chunk_by(|left, right| left == right).map(|run| run.len() as u64);
        equal_pairs += runs.map(|alike| alike * (alike - 1) / 2).sum::<u64>();
    }
    let pairs = packets.len() as f64 * (packets.len() as f64 - 1.0) / 2.0;
    ln_poisson_at_least(equal_pairs, pairs * blocks as f64 / 2f64.powi(8 * BLOCK as i32))
}

/// Up to eight bytes as one number, which sorts faster.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Each pair once, and none that shares bytes: of two aligned windows only the later one is compared with the earlier.
fn is_compared(start: usize, position: usize) -> bool {
    if position.is_multiple_of(WINDOW) { position > start } else { start.abs_diff(position) >= WINDOW }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const LENGTH: usize = 1350;

    fn packets(seed: u64, count: usize) -> Vec<Vec<u8>> {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let packet = |_| {
            let mut bytes = vec![0; LENGTH];
            generator.fill_bytes(&mut bytes);
            bytes
        };
        (0..count).map(packet).collect()
    }

    fn report(packets: &[Vec<u8>]) -> RandomnessReport {
        judge_randomness(packets).expect("there are enough packets of one length")
    }

    /// What leaks so much that a test sees it has to be told at both levels.
    fn failing(packets: &[Vec<u8>]) -> Vec<Question> {
        let report = report(packets);
        assert!(report.passes() || !report.passes_at(FALSE_ALARM_PER_TEST), "{report}");
        let outcomes = report.outcomes;
        outcomes.into_iter().filter(|outcome| !outcome.passes()).map(|outcome| outcome.question).collect()
    }

    #[test]
    fn random_bytes_pass_over_many_seeds() {
        for seed in 0..150 {
            let report = report(&packets(seed, 100));
            assert!(report.passes(), "seed {seed}: {report}");
        }
        assert!(report(&packets(1, 5_000)).passes());
    }

    #[test]
    fn a_constant_byte_is_caught() {
        let mut leaking = packets(1, 100);
        leaking.iter_mut().for_each(|packet| packet[700] = 0x17);
        assert!(failing(&leaking).contains(&Question::BytePosition));
        assert!(failing(&leaking).contains(&Question::BitPosition));
    }

    #[test]
    fn a_fixed_bit_as_of_quic_is_caught() {
        let mut leaking = packets(2, 200);
        leaking.iter_mut().for_each(|packet| packet[0] |= 0x40);
        assert_eq!(failing(&leaking), [Question::BitPosition]);
    }

    #[test]
    fn a_clear_counter_is_caught() {
        let mut leaking = packets(3, 2_000);
        for (counter, packet) in leaking.iter_mut().enumerate() {
            packet[8..16].copy_from_slice(&(counter as u64).to_be_bytes());
        }
        assert!(failing(&leaking).contains(&Question::BytePosition));
    }

    #[test]
    fn text_zeroes_and_repetition_are_caught() {
        let text = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
        let mut with_text = packets(4, 100);
        with_text.iter_mut().enumerate().for_each(|(index, packet)| {
            packet
                .iter_mut()
                .skip(index * 7 % 500)
                .zip(text.iter().cycle().take(400))
                .for_each(|(to, from)| *to = *from);
        });
        assert!(failing(&with_text).contains(&Question::Repeats));
        assert!(failing(&with_text).contains(&Question::ByteFrequency));
        let mut padded = packets(5, 100);
        padded.iter_mut().for_each(|packet| packet[1300..].fill(0));
        assert!(failing(&padded).contains(&Question::Monobit));
        let mut echoing = packets(6, 100);
        echoing.iter_mut().for_each(|packet| packet.copy_within(100..140, 601));
        assert_eq!(failing(&echoing), [Question::Repeats]);
    }

    #[test]
    fn a_packet_sent_twice_is_caught() {
        let mut leaking = packets(7, 100);
        leaking[60] = leaking[59].clone();
        assert_eq!(failing(&leaking), [Question::Duplicates]);
        let mut nearly = packets(7, 100);
        let masks = packets(8, 100);
        for index in 1..100 {
            // The high bits of each packet repeat the packet before; the low ones are fresh.
            let before = nearly[index - 1].clone();
            let mixed = before.iter().zip(&masks[index]).map(|(before, mask)| before & 0xf0 | mask & 0x0f);
            nearly[index] = mixed.collect();
        }
        assert!(failing(&nearly).contains(&Question::NextPacket));
    }

    #[test]
    fn too_even_bytes_are_caught() {
        let mut even = packets(8, 64);
        even.iter_mut().for_each(|packet| packet.iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8));
        assert!(failing(&even).contains(&Question::ByteFrequency));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        assert_eq!(judge_randomness(&packets(1, 63)), Err(TooFewPackets::Count(63)));
        let mut mixed = packets(1, 64);
        mixed[5].pop();
        assert_eq!(judge_randomness(&mixed), Err(TooFewPackets::Lengths));
    }
}
