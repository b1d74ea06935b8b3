//! What somebody on the wire at a host notes: every UDP packet with the kernel's time of it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use adversary::{Direction, Sighting};
use anyhow::{Context, bail, ensure};
use lab::network::{Host, UPLINK};
use lab::programs;
use rustix::process::{Pid, Signal, kill_process};

use super::rig::DOOR;

/// A program that notes packets at a host's link; killed on drop.
pub(super) struct Capture(Child, BufReader<ChildStdout>);

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Duration,
    pub(super) direction: Direction,
    pub(super) source: u16,
    pub(super) destination: u16,
    pub(super) bytes: usize,
}

impl Capture {
    pub(super) fn start(host: &Host) -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/udp_times.py");
        let mut command = host.namespace().command(programs::python()?)?;
        let mut child = command.arg(script).arg(UPLINK).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut capture = Self(child, BufReader::new(output));
        let mut line = String::new();
        capture.1.read_line(&mut line)?;
        ensure!(line == "listening\n", "packets cannot be watched: {line}");
        Ok(capture)
    }

    pub(super) fn end(mut self) -> anyhow::Result<Vec<Seen>> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?).context("a process has a number")?;
        kill_process(pid, Signal::TERM)?;
        let mut text = String::new();
        self.1.read_to_string(&mut text)?;
        let seen = text.lines().map(|line| {
            let numbers: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
            let [at, out, source, destination, bytes] = numbers[..] else { bail!("not a packet: {line}") };
            Ok(Seen {
                at: Duration::from_nanos(at),
                direction: if out == 1 { Direction::Outward } else { Direction::Inward },
                source: source.try_into()?,
                destination: destination.try_into()?,
                bytes: bytes.try_into()?,
            })
        });
        seen.collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Seen {
    pub(super) fn sighting(&self) -> Sighting {
        Sighting { at: self.at, direction: self.direction, length: self.bytes }
    }
}

/// A step to another pair of ports, as the wire at the entry shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The first packet to any candidate: a probe.
    pub(super) asked: Duration,
    /// The first packet after the probe on the pair that is taken.
    pub(super) moved: Duration,
    /// Candidates that were asked.
    pub(super) candidates: usize,
}

/// A candidate that is asked so long after the one before belongs to another step: the link gave the first one up, and
/// waits for five seconds before the next.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);

/// The steps in a recording at an entry, but those that failed or were under way at its ends, and the ways through the door.
pub(super) fn steps(seen: &[Seen]) -> Vec<Step> {
    let mut steps = Vec::new();
    // Pairs that the link was at; and the candidates of the step under way, since when they were asked, and who answered.
    let mut known: Vec<(u16, u16)> = Vec::new();
    let mut at_door = false;
    let mut asked: Vec<((u16, u16), Duration, bool)> = Vec::new();
    for packet in seen {
        let out = packet.direction == Direction::Outward;
        let pair = if out { (packet.source, packet.destination) } else { (packet.destination, packet.source) };
        if out && pair.1 == DOOR && !at_door {
            // Whatever was asked, the link has given it up.
            asked.clear();
            at_door = true;
        }
        if pair.1 == DOOR || known.contains(&pair) {
            continue;
        }
        let Some(candidate) = asked.iter_mut().find(|(candidate, ..)| *candidate == pair) else {
            if out && known.is_empty() && !at_door {
                known.push(pair);
            } else if out {
                asked.retain(|(_, at, _)| packet.at < *at + GIVEN_UP_AFTER);
                asked.push((pair, packet.at, false));
            }
            continue;
        };
        candidate.2 |= !out;
        if out && candidate.2 {
            let begun = asked.first().map_or(packet.at, |(_, at, _)| *at);
            steps.push(Step { asked: begun, moved: packet.at, candidates: asked.len() });
            at_door = false;
            known.extend(asked.drain(..).map(|(pair, ..)| pair));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(at: u64, out: bool, entry: u16, exit: u16) -> Seen {
        let (direction, source, destination) =
            if out { (Direction::Outward, entry, exit) } else { (Direction::Inward, exit, entry) };
        Seen { at: Duration::from_millis(at), direction, source, destination, bytes: 1350 }
    }

    #[test]
    fn steps_are_found_with_silent_candidates_and_repeated_probes() {
        let recording = [
            seen(0, true, 1, 7),
            seen(1, false, 1, 7),
            seen(10, true, 2, 8), // a probe, and its answer, and the move
            seen(12, true, 1, 7),
            seen(14, false, 2, 8),
            seen(15, true, 2, 8),
            seen(16, false, 1, 7), // what was on its way
            seen(20, true, 3, 9),  // never answered, and asked again
            seen(22, true, 3, 9),
            seen(24, true, 4, 10),
            seen(26, false, 4, 10),
            seen(27, true, 4, 10),
            seen(30, true, 5, 11), // given up
            seen(5030, true, 6, 12),
            seen(5034, false, 6, 12),
            seen(5035, true, 6, 12),
            seen(5040, true, 7, 13), // in vain
            seen(5050, true, 1, DOOR),
            seen(5052, false, 1, DOOR),
            seen(5060, true, 8, 14),
            seen(5064, false, 8, 14),
            seen(5065, true, 8, 14),
        ];
        let of = |asked, moved, candidates| Step {
            asked: Duration::from_millis(asked),
            moved: Duration::from_millis(moved),
            candidates,
        };
        assert_eq!(steps(&recording), [of(10, 15, 1), of(20, 27, 2), of(5030, 5035, 1), of(5060, 5065, 1)]);
        assert!(steps(&recording[..5]).is_empty());
    }
}
