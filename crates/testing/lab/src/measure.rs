//! Measures a pair of nodes beside the plain proxy pair of [`crate::plain`] in one run, and writes the figures as Markdown;
//! a cluster beside etcd; circuits beside C-tor; and an onion service beside an exit.
//!
//! What is compared runs in turns, round after round, so that a busy machine slows both; medians and ranges of the
//! rounds are shown. Everything runs on loopback, with all processes and both ends of every connection on one machine.

use anyhow::Context;

mod circuits;
mod cluster;
mod constant;
mod flows;
mod latency;
mod loss;
mod off;
mod plain_pair;
mod processes;
mod services;
mod swap;
mod table;
mod traffic;
mod video;

pub(crate) use processes::cpu_ns;

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Throughput in mode `off`, with the processor time of every process.
    Off,
    /// Round trips of small messages in both modes.
    Latency,
    /// Slots filled, idle cost, unlike rates and memory in mode `constant`.
    Constant,
    /// A thousand flows at once.
    Flows,
    /// Delay and loss in mode `constant`.
    LossConstant,
    /// Delay and loss in mode `off`.
    LossOff,
    /// Video players in modes `constant` and `dp`, beside the simulator.
    Video,
    /// Three nodes of a cluster beside three etcd.
    Cluster,
    /// How long a cluster is without a leader when that is killed.
    ClusterFailover,
    /// Memory of a node of a cluster with a million messages, and its restarts.
    ClusterMemory,
    /// Throughput over circuits with one and two legs, and processor time, beside C-tor.
    Circuits,
    /// The same over relays of 20 Mbit/s.
    CircuitsLimited,
    /// A guard that is killed or stands still in a download, beside C-tor.
    CircuitsFailures,
    /// First bytes over circuits, and how long a tunnel takes to build, beside C-tor.
    CircuitsLatency,
    /// What an idle client of circuits costs.
    CircuitsIdle,
    /// First bytes and throughput through an onion service, beside those through an exit.
    Services,
    /// Programs under `hushwire swap` at a unix listener of an entry, beside plain ones.
    Swap,
}

/// The parts of a speed run: all that need no bad line.
pub const SPEED: [Part; 4] = [Part::Off, Part::Latency, Part::Constant, Part::Flows];

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How often everything is repeated.
    pub rounds: u32,
    /// Length of one transfer in seconds.
    pub seconds: u32,
    /// How many video players there are, one row each.
    pub players: Vec<u32>,
}

/// Measures one part and returns its section of the page. `progress` is told what is being measured.
///
/// # Errors
/// If a program is missing, a node does not start, or a transfer fails.
pub fn section(part: Part, plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let load_before = processes::load_average();
    let (name, section) = match part {
        Part::Off => ("throughput in mode off", off::section(plan, progress)),
        Part::Latency => ("round trips", latency::section(plan, progress)),
        Part::Constant => ("mode constant", constant::section(plan, progress)),
        Part::Flows => ("many flows", flows::section(progress)),
        Part::LossConstant => ("loss in mode constant", loss::constant(plan, progress)),
        Part::LossOff => ("loss in mode off", loss::off(plan, progress)),
        Part::Video => ("video", video::section(plan, progress)),
        Part::Cluster => ("the cluster", cluster::section(plan, progress)),
        Part::ClusterFailover => ("failover", cluster::failover(plan, progress)),
        Part::ClusterMemory => ("the cluster's memory", cluster::memory(plan, progress)),
        Part::Circuits => ("circuits", circuits::unlimited(plan, progress)),
        Part::CircuitsLimited => ("circuits with a limit", circuits::limited(plan, progress)),
        Part::CircuitsFailures => ("failing guards", circuits::failures(plan, progress)),
        Part::CircuitsLatency => ("first bytes over circuits", circuits::latency(plan, progress)),
        Part::CircuitsIdle => ("idle circuits", circuits::idle(plan, progress)),
        Part::Services => ("onion services", services::section(plan, progress)),
        Part::Swap => ("swapped programs", swap::section(plan, progress)),
    };
    let section = section.with_context(|| format!("while measuring {name}"))?;
    Ok(format!("{section}Load average before this part (1, 5, 15 minutes): {load_before}.\n\n"))
}
