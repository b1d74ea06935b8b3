//! The tables that both roles have.

use crate::Role;
use crate::diagnostic::{Problem, Report};
use crate::hops;
use crate::pacing::{self, Line, Pacing};
use crate::reader::Section;
use crate::units::{ByteCount, parse_bytes};
use crate::value;
use shaping::{RateClass, SlotLength};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;
use wire::packet::PacketSize;

/// Memory that all queue pairs of a node may take together, in bytes: both directions of every pair.
pub const QUEUE_MEMORY_MAX: u64 = 8 << 30;

/// Highest number that a processor has under Linux.
const CORE_MAX: u64 = 1023;

/// `[network]`: the link's packets and the socket they leave from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// P; the same on all nodes of a network.
    pub packet_size: PacketSize,
    /// Address of the UDP socket.
    pub bind: SocketAddr,
}

/// Whether a schedule hides the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One rate class per direction, always.
    Constant,
    /// One of a few classes, chosen every five minutes by what waits; the choices are counted in bits.
    Stepped,
    /// A rate that follows noisy counts of what arrives.
    Dp,
    /// NetShaper's own mechanism, for comparison.
    Queue,
    /// No schedule and no cover: only the size of packets hides anything.
    Off,
}

impl Mode {
    /// Whether a schedule says when packets leave.
    pub fn is_shaped(self) -> bool {
        self != Self::Off
    }

    /// As in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Stepped => "stepped",
            Self::Dp => "dp",
            Self::Queue => "queue",
            Self::Off => "off",
        }
    }
}

/// Who says how fast, where no schedule does: the session's congestion controller in mode `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Congestion {
    /// RFC 9438; backs off at every loss.
    Cubic,
    /// Follows the measured rate; keeps it under loss.
    Bbr,
}

/// `[shaping]`: mode and grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Shaping {
    /// How the rate is found, or that there is none.
    pub mode: Mode,
    /// Settings of the mode.
    pub pacing: Pacing,
    /// Length of a slot of the grid.
    pub slot: SlotLength,
    /// How long before its slot a cell is made.
    pub lead: Duration,
    /// How long the sender spins before a slot instead of sleeping.
    pub spin: Duration,
    /// Only mode `off` uses it.
    pub congestion: Congestion,
}

/// `[queues]`: shared memory between the two processes of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queues {
    /// Flows that may be open at once; the next one is refused.
    pub max_flows: u16,
    /// Bytes of one flow's ring in one direction; a full one holds back its writer only.
    pub queue_size: ByteCount,
    /// Bytes that tunnels over circuits may hold beside the rings, all together: what was not read, not acknowledged, or waits for
    /// what is missing.
    pub memory_max: ByteCount,
}

impl Queues {
    /// Bytes of all rings of both directions, without control queues.
    pub fn memory(&self) -> ByteCount {
        ByteCount(2 * u64::from(self.max_flows) * self.queue_size.0)
    }
}

/// `[process]`: cores and priority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Processor of the shaped process; none: any.
    pub shaped_core: Option<u16>,
    /// Processor of the unshaped process; none: any.
    pub unshaped_core: Option<u16>,
    /// Whether the shaped process asks for real-time priority.
    pub realtime: bool,
}

/// `[admin]`: the socket that `hushwire status` talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Path of the unix socket.
    pub socket: PathBuf,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What stops the node.
    Error,
    /// What an operator should look at.
    Warn,
    /// Starts, stops, links.
    Info,
    /// Single flows, without destinations.
    Debug,
    /// Single packets.
    Trace,
}

impl LogLevel {
    const NAMES: &'static [&'static str] = &["error", "warn", "info", "debug", "trace"];

    /// As in the file.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what goes to stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// How it looks.
    pub format: LogFormat,
}

/// Reads and closes `[network]`. An exit must say where it is reached; an entry may let the system choose a port.
pub(crate) fn network(
    mut section: Section<'_>,
    role: &'static str,
    read: Option<&Role>,
    report: &mut Report,
) -> Option<Network> {
    let packet_size = section.or(report, "packet_size", PacketSize::DEFAULT, packet_size);
    let bind = match role {
        "entry" => {
            let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            Some(section.or(report, "bind", any, value::socket_address))
        }
        _ => section.required(report, "bind", |value| match value::socket_address(value)? {
            address if address.port() == 0 => Err(Problem::PortZero),
            address => Ok(address),
        }),
    };
    if let (Some(Role::Exit(exit)), Some(bind)) = (read, bind)
        && let Some(problem) = hops::check_addresses(exit, bind.ip())
    {
        section.refuse(report, "hop_addresses", problem);
    }
    section.finish(report);
    Some(Network { packet_size, bind: bind? })
}

/// What the modes with an own table need from the role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    /// Fastest class of the node's own direction.
    pub(crate) own: RateClass,
    /// Of the other direction.
    pub(crate) other: RateClass,
    /// Bytes of a client in an epoch, where the file does not say.
    pub(crate) quota: u64,
}

/// Reads and closes `[shaping]` and the tables of its modes; the rates have been read by the role.
pub(crate) fn shaping(
    root: &mut Section<'_>,
    mut section: Section<'_>,
    rates: Rates,
    packet: PacketSize,
    report: &mut Report,
) -> Shaping {
    const MODES: [Mode; 5] = [Mode::Constant, Mode::Stepped, Mode::Dp, Mode::Queue, Mode::Off];
    const NAMES: &[&str] = &["constant", "stepped", "dp", "queue", "off"];
    let name = section.or(report, "mode", "constant", value::one_of(NAMES));
    let mode = MODES.into_iter().find(|mode| mode.name() == name).unwrap_or(Mode::Constant);
    let slot = section.or(report, "slot_ms", SlotLength::DEFAULT, |value| {
        let millis = value::integer(1, 50, "milliseconds")(value)?;
        SlotLength::from_millis(millis as u32).map_err(|_| Problem::OutOfRange {
            min: 1,
            max: 50,
            unit: "milliseconds",
        })
    });
    // A cell is made within the slot before its own: a longer lead would bind data earlier than needed.
    let slot_us = u64::from(slot.as_millis()) * 1000;
    let lead_us = section.or(report, "lead_us", 1000.min(slot_us), value::integer(100, slot_us, "microseconds"));
    let spin_us = section.or(report, "spin_us", 150, value::integer(0, 1000, "microseconds"));
    let congestion = section.or(report, "congestion", "bbr", value::one_of(&["bbr", "cubic"]));
    let mode_place = section.place_of("mode");
    section.finish(report);
    let Rates { own, other, quota } = rates;
    let line = Line { mode, mode_place, slot, session_packet: packet.session_packet(), own, other, quota };
    Shaping {
        mode,
        pacing: pacing::pacing(root, &line, report),
        slot,
        lead: Duration::from_micros(lead_us),
        spin: Duration::from_micros(spin_us),
        congestion: if congestion == "cubic" { Congestion::Cubic } else { Congestion::Bbr },
    }
}

/// Reads `[queues]`.
pub(crate) fn queues(root: &mut Section<'_>, report: &mut Report) -> Queues {
    let mut section = root.section(report, "queues");
    let max_flows = section.or(report, "max_flows", 1024, value::integer(16, 4096, "flows")) as u16;
    let queue_size = section.or(report, "queue_size", ByteCount(256 << 10), |value| {
        let size = parse_bytes(value::text(value)?)?;
        let fits = size.0.is_power_of_two() && (16 << 10..=4 << 20).contains(&size.0);
        if fits { Ok(size) } else { Err(Problem::QueueSize) }
    });
    let memory_max = section.or(report, "memory_max", ByteCount(512 << 20), |value| {
        let size = parse_bytes(value::text(value)?)?;
        if (16 << 20..=1 << 40).contains(&size.0) { Ok(size) } else { Err(Problem::TunnelMemory) }
    });
    let queues = Queues { max_flows, queue_size, memory_max };
    if queues.memory().0 > QUEUE_MEMORY_MAX {
        section.refuse(report, "queue_size", Problem::QueueMemory);
    }
    section.finish(report);
    queues
}

/// Reads `[process]`.
pub(crate) fn process(root: &mut Section<'_>, report: &mut Report) -> Process {
    let mut section = root.section(report, "process");
    let core = |value: &DeValue<'_>| {
        let number = value::integer(0, CORE_MAX, "processors")(value).map_err(|problem| match problem {
            Problem::OutOfRange { .. } => Problem::Core,
            other => other,
        })?;
        Ok(number as u16)
    };
    let process = Process {
        shaped_core: section.optional(report, "shaped_core", core),
        unshaped_core: section.optional(report, "unshaped_core", core),
        realtime: section.or(report, "realtime", false, value::boolean),
    };
    section.finish(report);
    process
}

/// Reads `[admin]`.
pub(crate) fn admin(root: &mut Section<'_>, role: &str, folder: &Path, report: &mut Report) -> Admin {
    let mut section = root.section(report, "admin");
    let default = folder.join(format!("{role}.admin"));
    let socket = section.or(report, "socket", default, value::socket_path(folder));
    section.finish(report);
    Admin { socket }
}

/// Reads `[log]`.
pub(crate) fn log(root: &mut Section<'_>, report: &mut Report) -> Log {
    const LEVELS: [LogLevel; 5] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let mut section = root.section(report, "log");
    let name = section.or(report, "level", "info", value::one_of(LogLevel::NAMES));
    let format = section.or(report, "format", "text", value::one_of(&["text", "json"]));
    section.finish(report);
    Log {
        level: LEVELS.into_iter().find(|level| level.name() == name).unwrap_or(LogLevel::Info),
        format: if format == "json" { LogFormat::Json } else { LogFormat::Text },
    }
}

fn packet_size(value: &DeValue<'_>) -> Result<PacketSize, Problem> {
    let (min, max) = (u64::from(PacketSize::MIN), u64::from(PacketSize::MAX));
    let bytes = value::integer(min, max, "bytes")(value)?;
    PacketSize::new(bytes as u32).map_err(|_| Problem::OutOfRange { min, max, unit: "bytes" })
}
