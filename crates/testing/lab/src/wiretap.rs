//! What an observer with a tap on every line sees, be it a loopback's or a switch's: each UDP packet with its time, by who sends it to
//! whom.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adversary::Sighting;
use adversary::capture::{self, Packet, Transport};
use anyhow::{Context, ensure};
use os_net::clock::monotonic_ns;
use rustix::process::Signal;

use crate::process::Running;
use crate::programs;

/// How long the recorder may take to begin or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What it says when it has begun.
const BEGUN: &str = "listening on";
/// KiB of the kernel's buffer in front of it.
const BUFFER_KIB: &str = "65536";

/// A recording in the making. It is of the network namespace of the thread that starts it.
#[derive(Debug)]
pub struct Wiretap {
    recorder: Running,
    file: PathBuf,
    log: PathBuf,
    /// What the wall clock is ahead of the monotonic one.
    ahead: Duration,
}

/// One line in one direction: the address that sends, and the one that is sent to. Ports change with every hop.
pub type Line = (IpAddr, IpAddr);

/// What was seen.
#[derive(Debug, Default)]
pub struct Tapped {
    lines: BTreeMap<Line, Vec<(Sighting, Vec<u8>)>>,
}

impl Wiretap {
    /// Begins at the loopback. `folder` takes the recording. `kept`: so many bytes of each packet are, those of lower layers included; its length is
    /// known whatever is kept.
    ///
    /// # Errors
    /// When the recorder is missing, or does not begin.
    pub fn start(folder: &Path, kept: u32) -> anyhow::Result<Self> {
        Self::start_at("lo", folder, kept)
    }

    /// The same at another interface. At a switch everything that crosses it is seen, once.
    ///
    /// # Errors
    /// As [`Wiretap::start`].
    pub fn start_at(interface: &str, folder: &Path, kept: u32) -> anyhow::Result<Self> {
        let (file, log) = (folder.join("tap.pcap"), folder.join("tcpdump.log"));
        let mut command = Command::new(programs::find("tcpdump")?);
        // As the present user: the folder belongs to nobody else.
        command.args(["-i", interface, "-n", "-B", BUFFER_KIB, "--time-stamp-precision=nano", "-Z", "root"]);
        command.args(["-s", &kept.to_string(), "-w"]);
        let mut recorder = Running::start("tcpdump", command.arg(&file).arg("udp"), &log)?;
        let began = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains(BEGUN));
        recorder.wait_until("its beginning", PATIENCE, began)?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let ahead = wall.saturating_sub(Duration::from_nanos(monotonic_ns()));
        Ok(Self { recorder, file, log, ahead })
    }

    /// Ends it and reads what it has.
    ///
    /// # Errors
    /// When packets were missed, or the recording cannot be read.
    pub fn finish(self) -> anyhow::Result<Tapped> {
        let mut tapped = Tapped::default();
        self.finish_each(|packet| {
            // The direction is the line's.
            let direction = adversary::Direction::Outward;
            let sighting = Sighting { at: packet.at, direction, length: packet.payload_length };
            let line = (packet.source.ip(), packet.destination.ip());
            tapped.lines.entry(line).or_default().push((sighting, packet.payload.to_vec()));
        })?;
        Ok(tapped)
    }

    /// Ends it and shows every packet, for recordings that are too long to be kept whole. Times are those of `CLOCK_MONOTONIC`.
    ///
    /// # Errors
    /// When packets were missed, or the recording cannot be read.
    pub fn finish_each(self, mut each: impl FnMut(&Packet<'_>)) -> anyhow::Result<()> {
        self.recorder.signal(Signal::INT);
        self.recorder.stop()?;
        let said = std::fs::read_to_string(&self.log)?;
        ensure!(said.contains("\n0 packets dropped by kernel"), "the recorder missed packets: {said}");
        let bytes = std::fs::read(&self.file)?;
        for packet in capture::packets(&bytes)? {
            let packet = packet?;
            ensure!(packet.transport == Transport::Udp, "only UDP was asked for");
            each(&Packet { at: packet.at.saturating_sub(self.ahead), ..packet });
        }
        Ok(())
    }
}

impl Tapped {
    /// All lines on which something was sent.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.lines.keys().copied()
    }

    /// The packets of a line, in their order. Times are those of `CLOCK_MONOTONIC`.
    pub fn sightings(&self, line: Line) -> Vec<Sighting> {
        self.lines.get(&line).into_iter().flatten().map(|(sighting, _)| *sighting).collect()
    }

    /// Those that were seen within `[from, to)`.
    pub fn between(&self, line: Line, from: Duration, to: Duration) -> Vec<Sighting> {
        self.sightings(line).into_iter().filter(|it| (from..to).contains(&it.at)).collect()
    }

    /// The bytes of the packets of a line.
    pub fn payloads(&self, line: Line) -> Vec<&[u8]> {
        self.lines.get(&line).into_iter().flatten().map(|(_, bytes)| bytes.as_slice()).collect()
    }
}
