//! A capture as a trace: the payload bytes of TCP and UDP of a libpcap file, of flow after flow.
//!
//! What was captured on an unshaped network is replayed open loop: packets come when they came. Retransmitted bytes count
//! twice, as nobody looks at sequence numbers. The file itself is read by [`adversary::capture`].

use super::{Client, Direction, TRACE_CLIENTS_MAX, TRACE_TRANSFERS_MAX, Trace, TraceError, Transfer};
use adversary::capture::{CaptureError, Packet, PacketError, packets};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use thiserror::Error;

pub use adversary::capture::Transport;

/// Most flows of a capture.
pub const CAPTURE_FLOWS_MAX: usize = 1 << 20;
/// Packets of a flow and direction within this time of the first of them are one transfer.
const MERGE: Duration = Duration::from_millis(1);
/// Ports below this one are servers'.
const SERVER_PORTS_END: u16 = 1024;

/// What cannot be read as a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PcapError {
    /// Not a file of packets that can be read.
    #[error("{0}")]
    File(#[from] CaptureError),
    /// A packet longer than libpcap writes: the file is damaged from here on.
    #[error("packet {0} has an impossible length; the file is damaged there, cut it before with `editcap -r`")]
    Packet(usize),
    /// Too many flows.
    #[error("there are more than {CAPTURE_FLOWS_MAX} flows; take a shorter part")]
    Flows,
    /// No trace comes of it.
    #[error("{0}")]
    Trace(#[from] TraceError),
}

/// All of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowTotal {
    /// Who opened it: an IPv4 address or an IPv6 /64.
    pub client: Client,
    /// By what.
    pub transport: Transport,
    /// Payload bytes from the client.
    pub up_bytes: u64,
    /// Payload bytes to the client.
    pub down_bytes: u64,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The payloads.
    pub trace: Trace,
    /// One entry for each flow that carried payload or tried to, in the order of their first packets.
    pub flows: Vec<FlowTotal>,
    /// Packets that are no TCP or UDP, are later fragments, or were captured too short to tell.
    pub skipped_packets: u64,
    /// The file ends within a packet, as it does when a capture is copied while it runs.
    pub is_cut: bool,
}

/// Reads a file in libpcap's format. Payloads count with their full length where the capture kept only headers.
///
/// The client of a flow is the side that talks to a port below 1024 while its own is not; else the side that spoke
/// first. Clients get numbers in the order in which they appear.
pub fn parse_pcap(file: &[u8]) -> Result<Capture, PcapError> {
    let mut flows = Flows::default();
    let (mut skipped_packets, mut is_cut, mut begin) = (0, false, None);
    for (index, packet) in packets(file)?.enumerate() {
        match packet {
            Ok(packet) => flows.add(packet.at.saturating_sub(*begin.get_or_insert(packet.at)), &packet)?,
            Err(PacketError::Foreign) => skipped_packets += 1,
            Err(PacketError::CutOff) => is_cut = true,
            Err(PacketError::TooLong(_)) => return Err(PcapError::Packet(index + 1)),
        }
    }
    let totals = flows.totals;
    let trace = Trace::new(flows.transfers)?;
    Ok(Capture { trace, flows: totals, skipped_packets, is_cut })
}

/// A flow, whichever way a packet of it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FlowKey {
    transport: Transport,
    lower: SocketAddr,
    higher: SocketAddr,
}

#[derive(Debug)]
struct FlowState {
    initiator: SocketAddr,
    number: usize,
    /// The transfer of each direction to which the next packet may belong.
    latest: [Option<usize>; 2],
}

#[derive(Debug, Default)]
struct Flows {
    flows: BTreeMap<FlowKey, FlowState>,
    clients: BTreeMap<IpAddr, Client>,
    totals: Vec<FlowTotal>,
    transfers: Vec<Transfer>,
}

impl Flows {
    fn add(&mut self, at: Duration, packet: &Packet<'_>) -> Result<(), PcapError> {
        let ends = [packet.source, packet.destination];
        let (lower, higher) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let key = FlowKey { transport: packet.transport, lower, higher };
        if !self.flows.contains_key(&key) {
            self.open(key, packet)?;
        }
        let Some(flow) = self.flows.get_mut(&key) else { return Ok(()) };
        let payload = packet.payload_length as u64;
        if payload == 0 {
            return Ok(());
        }
        let direction = if packet.source == flow.initiator { Direction::Up } else { Direction::Down };
        let total = &mut self.totals[flow.number];
        match direction {
            Direction::Up => total.up_bytes += payload,
            Direction::Down => total.down_bytes += payload,
        }
        let latest = &mut flow.latest[direction as usize];
        let open = latest.and_then(|index| self.transfers.get_mut(index));
        if let Some(open) = open.filter(|open| at.saturating_sub(open.at) < MERGE && at >= open.at) {
            open.bytes += payload;
            return Ok(());
        }
        if self.transfers.len() == TRACE_TRANSFERS_MAX {
            return Err(TraceError::TooMany.into());
        }
        *latest = Some(self.transfers.len());
        self.transfers.push(Transfer { at, client: total.client, direction, bytes: payload });
        Ok(())
    }

    fn open(&mut self, key: FlowKey, packet: &Packet<'_>) -> Result<(), PcapError> {
        if self.totals.len() == CAPTURE_FLOWS_MAX {
            return Err(PcapError::Flows);
        }
        let initiator = initiator(packet);
        let next = Client(self.clients.len() as u32);
        let client = *self.clients.entry(client_address(initiator.ip())).or_insert(next);
        if client.0 >= TRACE_CLIENTS_MAX {
            return Err(TraceError::Clients.into());
        }
        let number = self.totals.len();
        self.totals.push(FlowTotal { client, transport: packet.transport, up_bytes: 0, down_bytes: 0 });
        self.flows.insert(key, FlowState { initiator, number, latest: [None; 2] });
        Ok(())
    }
}

/// Who opened the flow, as far as its first packet tells.
fn initiator(first: &Packet<'_>) -> SocketAddr {
    let is_server = |end: SocketAddr| end.port() < SERVER_PORTS_END;
    let answers = is_server(first.source) && !is_server(first.destination);
    if answers { first.destination } else { first.source }
}

/// An IPv4 address, or the /64 of an IPv6 address.
fn client_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
    }
}

#[cfg(test)]
mod tests;
