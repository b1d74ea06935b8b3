//! The schema of `hushwire status --json`.

use crate::peers::Neighbour;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the schema. Fields may be added within a version; a reader ignores what it does not know.
pub const SCHEMA_VERSION: u32 = 1;

/// What a confinement measure begins with that is not in force.
pub const MISSING: &str = "no ";

/// A node's state. `None` (`null` in JSON) always means: not known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema: u32,
    /// Version of that program.
    pub version: String,
    /// Entry or exit.
    pub role: Option<Role>,
    /// Whether a schedule hides the traffic.
    pub mode: Option<Mode>,
    /// Seconds since the supervisor started.
    pub uptime_s: u64,
    /// One per peer; at an entry over circuits one per guard.
    pub links: Vec<Link>,
    /// At an exit over circuits: the relays at the other ends of its links, at most 128 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<Neighbour>,
    /// At an exit over circuits: links of clients, or of nodes that are not in the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<u64>,
    /// What is sent, per direction; none in mode `off`.
    pub schedule: Schedule,
    /// What the schedule cost in this node's own direction over the last minute; none in mode `off`.
    pub last_minute: Option<LastMinute>,
    /// What the rate has told an observer; none where it follows nothing.
    pub privacy: Option<Privacy>,
    /// Since the start of the present processes.
    pub counters: Counters,
    /// What goes through and ends here, at an exit over circuits; none at another node.
    pub exit: Option<ExitTunnels>,
    /// The tunnel of an entry over circuits; none at another node.
    pub circuits: Option<EntryTunnel>,
    /// The services of a service node; none at another node.
    pub services: Option<Services>,
    /// Flows of applications.
    pub flows: Flows,
    /// The processes of the node, the supervisor first.
    pub processes: Vec<Process>,
    /// What memory is bounded by.
    pub memory: Memory,
    /// What an operator should know, most important last.
    pub warnings: Vec<Warning>,
}

/// The tunnel of an entry over circuits that is used most, and the others. It is the user's own, so its relays are named.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EntryTunnel {
    /// Its number.
    pub number: u64,
    /// `ready`, `in use`, `service` (it leads to an onion service), or `retired`: it finishes its flows and takes no new ones.
    pub held: String,
    /// Tunnels since the shaped process started, all present ones included.
    pub tunnels: u64,
    /// Whether the session is up.
    pub session_up: bool,
    /// Smoothed round trip of the session.
    pub rtt_us: Option<u64>,
    /// How often a data cell went on another leg than the one before.
    pub switches: u64,
    /// What it holds.
    pub memory: HeldMemory,
    /// The legs that are asked for, and those on their way out behind them.
    pub legs: Vec<Leg>,
    /// Why a leg has no path, in one sentence.
    pub refusal: Option<String>,
    /// The other tunnels: of other clients, ready, or retired. They have none beside them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<EntryTunnel>,
}

impl EntryTunnel {
    /// This one and the others.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }
}

/// A leg of the tunnel, or what is to become one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Leg {
    /// Its number in the tunnel; none before it is a leg.
    pub number: Option<u8>,
    /// `waiting`, `dialling`, `building`, `linking`, `linked`, `silent` or `draining`.
    pub state: String,
    /// Node ids of its relays, the exit last.
    pub path: Vec<String>,
    /// Of a leg of one hop that has others beside it: from which end of this machine to which address of the exit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
    /// Smoothed round trip.
    pub rtt_us: Option<u64>,
    /// Its part of the data cells that this node sent on the present legs, 0..=1.
    pub share: Option<f64>,
    /// Data cells sent on it.
    pub data_cells: u64,
    /// Cells received on it, of all kinds.
    pub received: u64,
    /// Loss of the last seconds, in thousandths.
    pub loss_per_mille: Option<u32>,
}

/// An exit over circuits in counts. Nothing says whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitTunnels {
    /// Links to clients and relays.
    pub links: u64,
    /// Circuits, those that go on to other relays included.
    pub circuits: u64,
    /// Tunnels that end here.
    pub tunnels: u64,
    /// Those whose session is up.
    pub sessions: u64,
    /// Legs in use, of all tunnels.
    pub legs: u64,
}

/// Services of a node in counts. Nothing says who their clients are, nor where they wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Services {
    /// Links to guards.
    pub links: u64,
    /// Tunnels of clients, of all services.
    pub tunnels: u64,
    /// Circuits that are joined to clients'.
    pub joined: u64,
    /// Clients that are being met.
    pub meetings: u64,
    /// The services, in the order of the configuration.
    pub list: Vec<HostedService>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostedService {
    /// What its operator calls it.
    pub name: String,
    /// Introduction points that take introductions.
    pub points: u64,
    /// Those that are wanted.
    pub points_wanted: u64,
    /// Seconds for which the directory has a record of it, by the directory's time; none: it has none.
    pub published_for_s: Option<u64>,
    /// Tunnels of clients.
    pub tunnels: u64,
    /// Open flows.
    pub flows: u64,
    /// Bits of work that its records ask for.
    pub work_bits: u8,
    /// Introductions that were taken and refused, by name.
    pub introductions: BTreeMap<String, u64>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Flows come in here.
    Entry,
    /// Flows go out here.
    Exit,
    /// Services are reached here.
    Service,
}

/// Shaping mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One rate, always.
    Constant,
    /// One of a few rates, chosen at slow edges.
    Stepped,
    /// A rate that follows noisy counts of arrivals.
    Dp,
    /// NetShaper's own mechanism, for comparison.
    Queue,
    /// No schedule, no cover.
    Off,
}

impl Mode {
    /// As the configuration says it.
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

/// Where a link is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// No packet of the peer has come yet.
    Connecting,
    /// Packets come.
    Up,
    /// It was up, and its flows wait for it to come back.
    Lost,
}

/// The link to one peer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// The first letters of the peer's node id.
    pub peer: String,
    /// The whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// State, if the shaped process has said one.
    pub state: Option<LinkState>,
    /// Seconds since it came into that state.
    pub since_s: Option<u64>,
    /// Round-trip time of the session in microseconds.
    pub rtt_us: Option<u64>,
    /// Loss towards this node over the last 10 s, in thousandths.
    pub loss_per_mille: Option<u32>,
    /// The pair of ports, of a link that may change it.
    pub hops: Option<Hops>,
}

/// The pair of ports of a link, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hops {
    /// Hops since the link came up.
    pub hops: u64,
    /// This node's port.
    pub local_port: Option<u16>,
    /// The other node's port.
    pub remote_port: u16,
    /// Milliseconds since the pair was taken.
    pub age_ms: u64,
    /// Bytes of UDP payload on it, both directions.
    pub bytes: u64,
    /// Causes of the last hops, oldest first; "followed" where the other node knows.
    pub causes: Vec<String>,
    /// Ports of the other node that are held for blocked.
    pub blocked: Vec<u16>,
}

/// What is sent and received.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// Length of a slot in milliseconds.
    pub slot_ms: Option<u32>,
    /// Towards the peer.
    pub send: Option<Rate>,
    /// From the peer.
    pub receive: Option<Rate>,
}

/// The price of a schedule, of the last minute and of the direction away from this node. Of the other direction the other
/// node knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LastMinute {
    /// Cells sent, of all links.
    pub cells_sent: Option<u64>,
    /// Those with a session packet: application data, or what the session itself has to say.
    pub data_cells_sent: Option<u64>,
    /// The second over the first, 0 to 1; none before the first cell.
    pub useful_share: Option<f64>,
    /// How long an application's byte waited for its slot, in microseconds, in the mean over bytes: from when the process with
    /// the schedule saw it in its queue. None: no byte was sent.
    pub wait_mean_us: Option<u64>,
    /// 95 of 100 bytes waited at most so long; up to an eighth too much.
    pub wait_p95_us: Option<u64>,
}

/// What a rate that follows the load has told an observer, and what happened at its edges.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Privacy {
    /// Loss of one client in one epoch of one direction (mode `dp`).
    pub epsilon_each: Option<f64>,
    /// The probability that goes with every epsilon here.
    pub delta: Option<f64>,
    /// Length of the sliding window in seconds.
    pub window_s: Option<u64>,
    /// What the ledger has paid for (entry): from this node, to it, and both together.
    pub up: Option<Spent>,
    /// The other direction.
    pub down: Option<Spent>,
    /// Both together, for a client that was there all the time.
    pub together: Option<Spent>,
    /// Which ledger pays (entry).
    pub ledger: Option<LedgerMark>,
    /// Why the ledger pays no more, or not now; none while it does.
    pub held: Option<String>,
    /// Edges of this node's own direction since the link came up.
    pub edges: Option<Edges>,
}

/// A ledger at a moment: of two copies the one with fewer reservations is the older.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerMark {
    /// Its random id, 32 hexadecimal digits.
    pub id: String,
    /// Reservations since it was made.
    pub reservations: u64,
}

/// Budget spent on one direction or on both.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// epsilon of one client in the window, exact for Gaussian noise.
    pub window_epsilon: Option<f64>,
    /// epsilon of one client since the ledger was made.
    pub lifetime_epsilon: Option<f64>,
    /// Bits of maximal leakage in the window (mode `stepped`).
    pub window_bits: Option<f64>,
    /// Bits since the ledger was made.
    pub lifetime_bits: Option<f64>,
    /// Most in the window, of what the mode spends; none without a limit.
    pub window_limit: Option<f64>,
    /// Most in the ledger's life.
    pub lifetime_limit: Option<f64>,
}

/// What happened at the edges of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Edges {
    /// Values let out.
    pub released: u64,
    /// Edges without leave: the last rate went on.
    pub unpaid: u64,
    /// Edges at which no noise was ready.
    pub without_noise: u64,
    /// Edges that went by unseen.
    pub missed: u64,
}

/// One direction's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Bits of session packets per second: the rate class.
    pub bits_per_second: u64,
    /// Packets on the wire per second.
    pub packets_per_second: u64,
    /// Bytes of UDP payload in 30 days.
    pub bytes_per_month: u64,
}

/// Packets and cells.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Milliseconds since the supervisor started at which packets and cells were counted. A rate is the difference of
    /// two counts over the difference of their times, whenever they were asked for.
    pub sampled_at_ms: Option<u64>,
    /// Bytes of UDP payload of every packet (P).
    pub packet_size: Option<u32>,
    /// Packets sent, of all kinds.
    pub packets_sent: Option<u64>,
    /// Packets received that authenticate.
    pub packets_received: Option<u64>,
    /// Cells sent with a session packet.
    pub data_cells_sent: Option<u64>,
    /// Cells sent without one.
    pub cover_cells_sent: Option<u64>,
    /// Slots at which the sender woke too late to send.
    pub missed_slots: Option<u64>,
    /// Cells that were not ready at their slot and took the next.
    pub late_cells: Option<u64>,
    /// Bytes that applications (entry) or servers (exit) sent.
    pub application_bytes_in: Option<u64>,
    /// Bytes that applications (entry) or servers (exit) were given.
    pub application_bytes_out: Option<u64>,
    /// Packets, datagrams and connections that were dropped or refused, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Flows of applications.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Flows {
    /// Open now.
    pub open: Option<u64>,
    /// At most open at once.
    pub max: Option<u64>,
    /// Opened since the start.
    pub opened: Option<u64>,
    /// Refused because all queue pairs were taken.
    pub refused: Option<u64>,
    /// Of connections through unix sockets, what goes by shared memory: the counts of `hushwire swap --stats`, and
    /// `now`, the connections that do so. None at a node that no connection came to that way.
    pub swapped: Option<BTreeMap<String, u64>>,
}

/// One process of the node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// What it does, such as `shaped-client`.
    pub name: String,
    /// Process id; none while it is being restarted.
    pub pid: Option<u32>,
    /// How often it has been restarted.
    pub restarts: u64,
    /// Processor seconds, user and system, of the present process.
    pub cpu_s: Option<f64>,
    /// Resident memory in bytes, shared segments included.
    pub rss_bytes: Option<u64>,
    /// Measures that confine it, such as `seccomp`; one that is not in force begins with [`MISSING`] and says why.
    /// None if the process has not said, or is not confined at all, as the supervisor.
    pub confinement: Option<Vec<String>>,
}

/// Bounds of memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Bytes of the shared segments.
    pub segments_bytes: Option<u64>,
    /// Most bytes that sessions may hold for flows whose readers are slow; over circuits, all that tunnels may hold.
    pub session_bound_bytes: Option<u64>,
    /// What tunnels over circuits hold now; none at a node without any.
    pub held: Option<HeldMemory>,
    /// Most of it that counted against the bound at once.
    pub held_peak_bytes: Option<u64>,
    /// Flows that ended because too little was left.
    pub flows_cut: Option<u64>,
    /// Sessions that did, with all flows that they had.
    pub sessions_cut: Option<u64>,
}

/// What tunnels hold, in bytes by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldMemory {
    /// Packets that wait for others that are missing.
    pub reorder: u64,
    /// What came for flows and was not read.
    pub unread: u64,
    /// What flows sent and the other end has not acknowledged.
    pub unacknowledged: u64,
    /// Control messages and datagrams that wait.
    pub waiting: u64,
    /// What is remembered of legs and their cells in flight.
    pub legs: u64,
    /// Circuits in the making.
    pub handshakes: u64,
    /// What keeps all of that.
    pub overhead: u64,
    /// What is set aside for the queues of flows; it does not count against the bound.
    pub queues: u64,
}

impl HeldMemory {
    /// What counts against the bound: all but the queues.
    pub fn total(&self) -> u64 {
        let Self { reorder, unread, unacknowledged, waiting, legs, handshakes, overhead, queues: _ } = self;
        reorder + unread + unacknowledged + waiting + legs + handshakes + overhead
    }
}

/// How bad a warning is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// The node protects or serves less than it could.
    Warning,
    /// The node does not do what it is for.
    Alarm,
}

/// What an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// How bad it is.
    pub severity: Severity,
    /// What, why, and what to do.
    pub sentence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_nodes_fields_are_ignored_and_missing_ones_are_unknown() -> Result<(), serde_json::Error> {
        let status: Status = serde_json::from_str(r#"{"schema":1,"role":"exit","colour":"blue","flows":{"open":3}}"#)?;
        assert_eq!(status.role, Some(Role::Exit));
        assert_eq!(status.flows, Flows { open: Some(3), ..Flows::default() });
        assert_eq!(status.counters.packets_sent, None);
        Ok(())
    }

    #[test]
    fn the_schema_survives_a_round_trip() -> Result<(), serde_json::Error> {
        let status = crate::render::tests::full();
        let text = serde_json::to_string(&status)?;
        assert_eq!(serde_json::from_str::<Status>(&text)?, status);
        Ok(())
    }
}
