//! The recording of one link out of a capture.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::capture::{CaptureError, Packet, PacketError, Transport, packets};
use crate::sighting::{Direction, Sighting};

/// Packets of a recording; further ones are counted and left out. A link of 100 Mbit/s fills it in seven minutes.
pub const SIGHTINGS_MAX: usize = 4_000_000;

/// One end of a link: an address, a port, or both. An end without either is anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The address.
    pub address: Option<IpAddr>,
    /// The UDP port.
    pub port: Option<u16>,
}

impl End {
    fn is(self, socket: SocketAddr) -> bool {
        self.address.is_none_or(|address| address == socket.ip()) && self.port.is_none_or(|port| port == socket.port())
    }
}

impl From<SocketAddr> for End {
    fn from(socket: SocketAddr) -> Self {
        Self { address: Some(socket.ip()), port: Some(socket.port()) }
    }
}

/// The two ends of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// The node that is watched: what it sends is outward.
    pub near: End,
    /// The other one.
    pub far: End,
}

impl Ends {
    /// Which way a packet goes on this link; `None` if it is of another.
    pub fn direction(&self, packet: &Packet<'_>) -> Option<Direction> {
        if packet.transport != Transport::Udp {
            None
        } else if self.near.is(packet.source) && self.far.is(packet.destination) {
            Some(Direction::Outward)
        } else if self.far.is(packet.source) && self.near.is(packet.destination) {
            Some(Direction::Inward)
        } else {
            None
        }
    }
}

/// What a capture shows of one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkRecording<'a> {
    /// Its packets in the order of their times, on the clock of the capture: since 1970.
    pub sightings: Vec<Sighting>,
    /// The payloads that the capture has whole, outward and inward, in the order of the file.
    pub payloads: [Vec<&'a [u8]>; 2],
    /// Packets of the link beyond [`SIGHTINGS_MAX`].
    pub left_out: u64,
    /// Records of other links and protocols, and damaged ones.
    pub others: u64,
    /// How the file ended, if not at the end of a record.
    pub damage: Option<PacketError>,
}

/// Reads the packets of one link from a pcap file.
///
/// A capture on the sending machine shows packets before the network card has cut them apart (segmentation offload): one
/// payload of several packets. With `offload`, a longer payload is taken as the packets of this length that leave the
/// machine. Record one interface: `any` shows packets of the loopback twice.
///
/// # Errors
/// If the file cannot be read at all. One that is damaged later gives what stands before.
pub fn record(bytes: &[u8], ends: Ends, offload: Option<NonZeroUsize>) -> Result<LinkRecording<'_>, CaptureError> {
    let mut recording = LinkRecording::default();
    for found in packets(bytes)? {
        match found {
            Ok(packet) => match ends.direction(&packet) {
                Some(direction) => recording.add(&packet, direction, offload),
                None => recording.others += 1,
            },
            Err(PacketError::Foreign) => recording.others += 1,
            Err(damage) => recording.damage = Some(damage),
        }
    }
    recording.sightings.sort_by_key(|sighting| sighting.at);
    Ok(recording)
}

impl<'a> LinkRecording<'a> {
    /// The packets from one time on until before another, on the capture's clock: a phase.
    pub fn between(&self, from: Duration, to: Duration) -> &[Sighting] {
        let place = |at: Duration| self.sightings.partition_point(|sighting| sighting.at < at);
        self.sightings.get(place(from)..place(to)).unwrap_or_default()
    }

    fn add(&mut self, packet: &Packet<'a>, direction: Direction, offload: Option<NonZeroUsize>) {
        let piece = offload.map_or(usize::MAX, NonZeroUsize::get);
        let mut left = packet.payload_length;
        let mut pieces = packet.payload.chunks(piece);
        loop {
            let length = left.min(piece);
            if self.sightings.len() < SIGHTINGS_MAX {
                self.sightings.push(Sighting { at: packet.at, direction, length });
                let kept = pieces.next().filter(|kept| kept.len() == length);
                self.payloads[usize::from(direction == Direction::Inward)].extend(kept);
            } else {
                self.left_out += 1;
            }
            left -= length;
            if left == 0 {
                return;
            }
        }
    }
}
