//! What somebody with a tap on every line of the network has after a run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use adversary::{Direction, FALSE_ALARM_PER_TEST, Sighting, judge_randomness};
use anyhow::{Context, ensure};

use super::is_cluster;
use crate::bulk::Window;
use crate::slots::SlotTally;
use crate::wiretap::{Line, Wiretap};
use crate::witness::Stalls;

/// Bytes of every packet.
pub const P: usize = 1350;
/// Of each packet so many bytes are recorded: headers of lower layers, and a few dozen of its own.
pub const HEADS: u32 = 110;
/// Length of a slot.
pub const SLOT: Duration = Duration::from_millis(5);
/// The first packets of each line whose bytes are kept, handshakes among them, and of those behind them one of so many.
const FIRST: u64 = 300;
const ONE_OF: u64 = 16;
/// Packets whose bytes are judged at once at most; of more, every so-manieth.
const JUDGED_MAX: usize = 400_000;

/// Everything that was seen, by who sends to whom. Members of the cluster speak QUIC to each other, on addresses of their own, and
/// are left out.
#[derive(Debug, Default)]
pub struct Lines {
    lines: BTreeMap<Line, Seen>,
}

/// What was seen of one line in one direction.
#[derive(Debug, Default)]
struct Seen {
    at: Vec<Duration>,
    /// Pairs of ports, with their packets.
    ports: BTreeMap<(u16, u16), u64>,
    odd: Option<(Duration, usize)>,
    heads: Vec<Vec<u8>>,
}

impl Lines {
    /// Ends a recording of [`HEADS`] bytes of each packet and reads it.
    ///
    /// # Errors
    /// When packets were missed, or the recording cannot be read.
    pub fn read(tap: Wiretap) -> anyhow::Result<Self> {
        let mut lines = Self::default();
        tap.finish_each(|packet| {
            let line = (packet.source.ip(), packet.destination.ip());
            if is_cluster(line.0) || is_cluster(line.1) {
                return;
            }
            let seen = lines.lines.entry(line).or_default();
            let number = seen.at.len() as u64;
            seen.at.push(packet.at);
            *seen.ports.entry((packet.source.port(), packet.destination.port())).or_default() += 1;
            if packet.payload_length != P && seen.odd.is_none() {
                seen.odd = Some((packet.at, packet.payload_length));
            }
            if number < FIRST || number.is_multiple_of(ONE_OF) {
                seen.heads.push(packet.payload.to_vec());
            }
        })?;
        Ok(lines)
    }

    /// Lines on which something was sent, and packets on all of them.
    pub fn count(&self) -> (usize, usize) {
        (self.lines.len(), self.lines.values().map(|seen| seen.at.len()).sum())
    }

    /// Every packet of every line has the one size, and those whose bytes were kept look random. Random bytes fail in at most one
    /// of a billion runs.
    ///
    /// # Errors
    /// With the first line that does not hold.
    pub fn check_looks(&self) -> anyhow::Result<usize> {
        for (line, seen) in &self.lines {
            ensure!(seen.odd.is_none(), "{line:?}: a packet of another size: {:?}", seen.odd);
        }
        let heads: Vec<&[u8]> = self.lines.values().flat_map(|seen| &seen.heads).map(Vec::as_slice).collect();
        let every = heads.len().div_ceil(JUDGED_MAX).max(1);
        let judged: Vec<&[u8]> = heads.into_iter().step_by(every).collect();
        let report = judge_randomness(&judged)?;
        ensure!(report.passes_at(FALSE_ALARM_PER_TEST), "{report}");
        Ok(judged.len())
    }

    /// Packets of a line in a second of these windows.
    pub fn rate(&self, line: Line, windows: &[Window]) -> f64 {
        let packets: usize = windows.iter().map(|window| self.within(line, *window).len()).sum();
        let lasting: Duration = windows.iter().map(|window| window.to - window.from).sum();
        packets as f64 / lasting.as_secs_f64()
    }

    /// How a line that has a schedule keeps to its slots.
    ///
    /// # Errors
    /// When nothing was sent on it.
    pub fn slots(
        &self,
        line: Line,
        windows: &[Window],
        per_slot: &RangeInclusive<u32>,
        stalls: &Stalls,
    ) -> anyhow::Result<SlotTally> {
        let sighting = |at: &Duration| Sighting { at: *at, direction: Direction::Outward, length: P };
        let phases: Vec<Vec<Sighting>> =
            windows.iter().map(|window| self.within(line, *window).iter().map(sighting).collect()).collect();
        SlotTally::new(&phases, SLOT, per_slot, stalls).with_context(|| format!("{line:?}"))
    }

    /// Pairs of ports that a line, both directions together, had packets on.
    pub fn port_pairs(&self, line: Line) -> usize {
        let there = self.lines.get(&line).into_iter().flat_map(|seen| seen.ports.keys().copied());
        let back = self.lines.get(&(line.1, line.0)).into_iter();
        let back = back.flat_map(|seen| seen.ports.keys().map(|(source, destination)| (*destination, *source)));
        there.chain(back).collect::<BTreeSet<_>>().len()
    }

    /// Ports of this address that anything was sent to.
    pub fn ports_of(&self, address: IpAddr) -> BTreeSet<u16> {
        let towards = self.lines.iter().filter(|((_, to), _)| *to == address);
        towards.flat_map(|(_, seen)| seen.ports.keys().map(|(_, port)| *port)).collect()
    }

    fn within(&self, line: Line, window: Window) -> &[Duration] {
        let Some(seen) = self.lines.get(&line) else { return &[] };
        let place = |at: Duration| seen.at.partition_point(|seen| *seen < at);
        &seen.at[place(window.from)..place(window.to)]
    }
}

/// Where the packets of an entry come from, once it was told to: all other nodes of this machine dial from one address.
pub fn entry_address(number: u8) -> IpAddr {
    Ipv4Addr::new(127, super::ENTRY_NET, number + 1, 1).into()
}
