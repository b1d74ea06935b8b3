//! A capture as a trace: the payload bytes of TCP and UDP of a libpcap file, of flow after flow.
//!
//! What was captured on an unshaped network is replayed open loop: packets come when they came. Retransmitted bytes count
//! twice, as nobody looks at sequence numbers.

use super::{Client, Direction, TRACE_CLIENTS_MAX, TRACE_TRANSFERS_MAX, Trace, TraceError, Transfer};
use packet::{Endpoint, LinkLayer, Segment};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;

mod file;
mod packet;

/// Most flows of a capture.
pub const CAPTURE_FLOWS_MAX: usize = 1 << 20;
/// Packets of a flow and direction within this time of the first of them are one transfer.
const MERGE: Duration = Duration::from_millis(1);
/// Ports below this one are servers'.
const SERVER_PORTS_END: u16 = 1024;

/// What cannot be read as a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PcapError {
    /// The newer format.
    #[error("this is a pcapng file; convert it with `tcpdump -r IN -w OUT` or `editcap -F pcap IN OUT`")]
    Pcapng,
    /// No header of a capture.
    #[error("this is no capture in libpcap's format; write one with `tcpdump -w FILE`")]
    NotPcap,
    /// Packets of another kind of network.
    #[error("link type {0} is not read; capture on an Ethernet or tun interface, or on `any`")]
    LinkType(u32),
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

/// What a flow is carried by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
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

/// Reads a file in libpcap's format, of either byte order, with microseconds or nanoseconds, of Ethernet (with VLAN tags),
/// raw IP or Linux's `any` interface. Payloads count with their full length where the capture kept only headers.
///
/// The client of a flow is the side that sent SYN; where none was seen, the side that talks to a port below 1024; else
/// the side that spoke first. Clients get numbers in the order in which they appear.
pub fn parse_pcap(file: &[u8]) -> Result<Capture, PcapError> {
    let (header, mut records) = file::open(file)?;
    let link = LinkLayer::new(header.link_type).ok_or(PcapError::LinkType(header.link_type))?;
    let mut flows = Flows::default();
    let mut skipped_packets = 0;
    let mut begin = None;
    while let Some(record) = records.next_record()? {
        let at = record.at.saturating_sub(*begin.get_or_insert(record.at));
        match link.segment(record.captured, record.length) {
            Some(segment) => flows.add(at, &segment)?,
            None => skipped_packets += 1,
        }
    }
    let is_cut = records.is_cut();
    let totals = flows.totals;
    let trace = Trace::new(flows.transfers)?;
    Ok(Capture { trace, flows: totals, skipped_packets, is_cut })
}

/// A flow, whichever way a packet of it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FlowKey {
    transport: Transport,
    lower: Endpoint,
    higher: Endpoint,
}

#[derive(Debug)]
struct FlowState {
    initiator: Endpoint,
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
    fn add(&mut self, at: Duration, segment: &Segment) -> Result<(), PcapError> {
        let (lower, higher) = (segment.from.min(segment.to), segment.from.max(segment.to));
        let key = FlowKey { transport: segment.transport, lower, higher };
        if !self.flows.contains_key(&key) {
            self.open(key, segment)?;
        }
        let Some(flow) = self.flows.get_mut(&key) else { return Ok(()) };
        if segment.payload == 0 {
            return Ok(());
        }
        let direction = if segment.from == flow.initiator { Direction::Up } else { Direction::Down };
        let total = &mut self.totals[flow.number];
        match direction {
            Direction::Up => total.up_bytes += segment.payload,
            Direction::Down => total.down_bytes += segment.payload,
        }
        let latest = &mut flow.latest[direction as usize];
        let open = latest.and_then(|index| self.transfers.get_mut(index));
        if let Some(open) = open.filter(|open| at.saturating_sub(open.at) < MERGE && at >= open.at) {
            open.bytes += segment.payload;
            return Ok(());
        }
        if self.transfers.len() == TRACE_TRANSFERS_MAX {
            return Err(TraceError::TooMany.into());
        }
        *latest = Some(self.transfers.len());
        self.transfers.push(Transfer { at, client: total.client, direction, bytes: segment.payload });
        Ok(())
    }

    fn open(&mut self, key: FlowKey, segment: &Segment) -> Result<(), PcapError> {
        if self.totals.len() == CAPTURE_FLOWS_MAX {
            return Err(PcapError::Flows);
        }
        let initiator = initiator(segment);
        let next = Client(self.clients.len() as u32);
        let client = *self.clients.entry(client_address(initiator.address)).or_insert(next);
        if client.0 >= TRACE_CLIENTS_MAX {
            return Err(TraceError::Clients.into());
        }
        let number = self.totals.len();
        self.totals.push(FlowTotal { client, transport: segment.transport, up_bytes: 0, down_bytes: 0 });
        self.flows.insert(key, FlowState { initiator, number, latest: [None; 2] });
        Ok(())
    }
}

/// Who opened the flow, as far as its first packet tells.
fn initiator(first: &Segment) -> Endpoint {
    let is_server = |end: Endpoint| end.port < SERVER_PORTS_END;
    let answers = first.is_syn_ack || (is_server(first.from) && !is_server(first.to));
    if answers && !first.is_syn { first.to } else { first.from }
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
