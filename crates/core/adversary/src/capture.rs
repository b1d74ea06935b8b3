//! Classic pcap files, as tcpdump writes them: their packets, and the recording of one link.
//!
//! The bytes may come from anybody. Nothing is copied, every length is checked, and reading ends where it no longer
//! makes sense. The layout is that of the "PCAP Capture File Format" draft of the IETF (draft-ietf-opsawg-pcap).

mod frame;
mod link;

use std::net::SocketAddr;
use std::time::Duration;

pub use frame::Transport;
pub use link::{End, Ends, LinkRecording, SIGHTINGS_MAX, record};

use frame::LinkType;

/// Bytes of one packet at most, in any file (what tcpdump itself takes as the limit). A record that keeps more is
/// damage; one that claims more on the wire is taken to have so many.
pub const RECORD_MAX: usize = 262_144;
/// Length of the file's header.
const FILE_HEADER: usize = 24;
/// Length of a record's header.
const RECORD_HEADER: usize = 16;
/// How the newer format begins.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// The file cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// It does not begin like a pcap file.
    #[error("this is no pcap file")]
    NotACapture,
    /// It is in the newer format.
    #[error("this is a pcapng file; convert it with `editcap -F pcap`, or record with tcpdump")]
    PcapNg,
    /// It was recorded on a kind of network that is not known here.
    #[error("packets of link type {0} are not known; record Ethernet, loopback or `any`")]
    LinkType(u32),
}

/// A record that holds no packet for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// No whole UDP or TCP packet over IP: another protocol, a fragment, or damaged. Reading goes on behind it.
    #[error("no UDP or TCP packet")]
    Foreign,
    /// A length that no capture has. Reading ends here.
    #[error("a record claims {0} bytes")]
    TooLong(usize),
    /// The file ends within the record, as after a crash or a full disk. Reading ends here.
    #[error("the file ends within a record")]
    CutOff,
}

/// One UDP or TCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was seen, since 1970.
    pub at: Duration,
    /// Who sent it.
    pub source: SocketAddr,
    /// For whom.
    pub destination: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// The payload as far as the file has it.
    pub payload: &'a [u8],
    /// Length of the payload on the wire; more than `payload` has if the capture cut packets short.
    pub payload_length: usize,
}

/// Opens a file that is in memory.
///
/// # Errors
/// If its beginning is none that is known.
pub fn packets(bytes: &[u8]) -> Result<Packets<'_>, CaptureError> {
    if bytes.starts_with(&PCAPNG) {
        return Err(CaptureError::PcapNg);
    }
    let Some((header, records)) = bytes.split_at_checked(FILE_HEADER) else { return Err(CaptureError::NotACapture) };
    let (order, unit) = match *header {
        [0xd4, 0xc3, 0xb2, 0xa1, ..] => (Order::Little, Unit::Microseconds),
        [0xa1, 0xb2, 0xc3, 0xd4, ..] => (Order::Big, Unit::Microseconds),
        [0x4d, 0x3c, 0xb2, 0xa1, ..] => (Order::Little, Unit::Nanoseconds),
        [0xa1, 0xb2, 0x3c, 0x4d, ..] => (Order::Big, Unit::Nanoseconds),
        _ => return Err(CaptureError::NotACapture),
    };
    let number = order.number(header, 20).ok_or(CaptureError::NotACapture)?;
    // The upper bits say how frames end, which nobody needs here.
    let link_type = LinkType::new(number & 0xffff).ok_or(CaptureError::LinkType(number & 0xffff))?;
    Ok(Packets { rest: records, order, unit, link_type })
}

/// The packets of a file, in its order. It ends after a [`PacketError::TooLong`] or [`PacketError::CutOff`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
    order: Order,
    unit: Unit,
    link_type: LinkType,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record.and_then(|record| self.decode(record).ok_or(PacketError::Foreign)))
    }
}

/// One record, whatever is in it.
struct Record<'a> {
    at: Duration,
    frame: &'a [u8],
    /// Length of the frame on the wire.
    length: usize,
}

impl<'a> Packets<'a> {
    fn record(&mut self) -> Result<Record<'a>, PacketError> {
        let (header, rest) = self.rest.split_at_checked(RECORD_HEADER).ok_or(PacketError::CutOff)?;
        let number = |place| self.order.number(header, place).ok_or(PacketError::CutOff);
        let (seconds, fraction, kept, length) = (number(0)?, number(4)?, number(8)?, number(12)?);
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        if kept > RECORD_MAX {
            return Err(PacketError::TooLong(kept));
        }
        let (frame, rest) = rest.split_at_checked(kept).ok_or(PacketError::CutOff)?;
        self.rest = rest;
        let fraction = match self.unit {
            Unit::Microseconds => Duration::from_micros(u64::from(fraction)),
            Unit::Nanoseconds => Duration::from_nanos(u64::from(fraction)),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(RECORD_MAX).max(kept);
        Ok(Record { at: Duration::from_secs(u64::from(seconds)) + fraction, frame, length })
    }

    fn decode(&self, record: Record<'a>) -> Option<Packet<'a>> {
        let found = frame::decode(self.link_type, record.frame, record.length)?;
        Some(Packet {
            at: record.at,
            source: found.source,
            destination: found.destination,
            transport: found.transport,
            payload: found.payload,
            payload_length: found.payload_length,
        })
    }
}

/// Which end of a number comes first: the recording machine's habit.
#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn number(self, bytes: &[u8], place: usize) -> Option<u32> {
        let bytes = *bytes.get(place..)?.first_chunk::<4>()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }
}

/// What the second half of a time counts.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Microseconds,
    Nanoseconds,
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::num::NonZeroUsize;

    use super::*;
    use crate::sighting::{Direction, Sighting};

    const NEAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 4433);
    const FAR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)), 50_000);

    fn file(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
        bytes.extend(link_type.to_le_bytes());
        for (index, frame) in frames.iter().enumerate() {
            let length = u32::try_from(frame.len()).expect("frames are short");
            let place = u32::try_from(index).expect("there are few");
            for number in [1_700_000_000, 5_000 * place + 250, length, length] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend(frame);
        }
        bytes
    }

    fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let length = |extra: usize| u16::try_from(payload.len() + extra).expect("payloads are short").to_be_bytes();
        let header = [source.port().to_be_bytes(), destination.port().to_be_bytes(), length(8), [0, 0]].concat();
        let ip = match (source.ip(), destination.ip()) {
            (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
                let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
                ip[2..4].copy_from_slice(&length(28));
                [ip, source.octets().to_vec(), destination.octets().to_vec()].concat()
            }
            (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
                let mut ip = vec![0x60, 0, 0, 0, 0, 0, 60, 64];
                ip[4..6].copy_from_slice(&length(16));
                let extension = vec![17, 0, 1, 4, 0, 0, 0, 0];
                [ip, source.octets().to_vec(), destination.octets().to_vec(), extension].concat()
            }
            _ => Vec::new(),
        };
        [ip, header, payload.to_vec()].concat()
    }

    fn read(bytes: &[u8]) -> Vec<Result<Packet<'_>, PacketError>> {
        packets(bytes).expect("the header is good").collect()
    }

    #[test]
    fn udp_is_read_behind_every_kind_of_frame() {
        let plain = udp(NEAR, FAR, b"payload");
        let in_front = |front: &[u8]| [front, &plain].concat();
        let tagged = [&[0; 12][..], &[0x81, 0, 0, 5, 0x08, 0]].concat();
        let ethernet = [&[0; 12][..], &[0x08, 0]].concat();
        let kinds = [
            (1, in_front(&ethernet)),
            (1, in_front(&tagged)),
            (0, in_front(&[2, 0, 0, 0])),
            (101, plain.clone()),
            (113, in_front(&[0; 16])),
            (276, in_front(&[0; 20])),
        ];
        for (link_type, frame) in kinds {
            let bytes = file(link_type, &[frame]);
            let found = read(&bytes)[0].expect("it is UDP");
            assert_eq!((found.source, found.destination), (NEAR, FAR));
            assert_eq!((found.payload, found.payload_length), (&b"payload"[..], 7));
            assert_eq!((found.at, found.transport), (Duration::from_micros(1_700_000_000_000_250), Transport::Udp));
        }
    }

    #[test]
    fn version_6_with_an_extension_and_tcp_are_read() {
        let ends = [1, 2].map(|last| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last), 443)));
        let bytes = file(101, &[udp(ends[0], ends[1], b"six")]);
        let found = read(&bytes)[0].expect("it is UDP");
        assert_eq!((found.source, found.destination, found.payload), (ends[0], ends[1], &b"six"[..]));
        let mut tcp = udp(NEAR, FAR, &[0x50; 20]);
        tcp[9] = 6;
        // The thirteenth byte of a TCP header says how long it is: here 20, of which UDP's 8 are a part.
        let bytes = file(101, &[tcp]);
        let found = read(&bytes)[0].expect("it is TCP");
        assert_eq!((found.transport, found.payload_length), (Transport::Tcp, 8));
    }

    #[test]
    fn the_other_byte_order_and_nanoseconds() {
        let frame = udp(NEAR, FAR, b"x");
        let length = u32::try_from(frame.len()).expect("it is short");
        let mut bytes = vec![0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 101];
        for number in [7, 9, length, length] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend(frame);
        assert_eq!(read(&bytes)[0].expect("it is UDP").at, Duration::new(7, 9));
    }

    #[test]
    fn what_is_no_packet_is_passed_over_or_ends_the_file() {
        let good = udp(NEAR, FAR, b"good");
        let mut fragment = good.clone();
        fragment[6] = 0x20;
        let frames = [fragment, good[..24].to_vec(), vec![], vec![0x55; 60], good];
        let found = read(&file(101, &frames)).into_iter().map(|it| it.err()).collect::<Vec<_>>();
        assert_eq!(found, [Some(PacketError::Foreign); 4].into_iter().chain([None]).collect::<Vec<_>>());
        let whole = file(101, &frames);
        assert_eq!(read(&whole[..whole.len() - 1]).last(), Some(&Err(PacketError::CutOff)));
        let mut wild = whole;
        wild[FILE_HEADER + 8..FILE_HEADER + 12].fill(0xff);
        assert_eq!(read(&wild), [Err(PacketError::TooLong(0xffff_ffff))]);
    }

    #[test]
    fn files_of_other_kinds_are_refused() {
        assert_eq!(packets(&[]).err(), Some(CaptureError::NotACapture));
        assert_eq!(packets(&[0xd4, 0xc3, 0xb2, 0xa1]).err(), Some(CaptureError::NotACapture));
        assert_eq!(packets(&PCAPNG).err(), Some(CaptureError::PcapNg));
        assert_eq!(packets(&file(105, &[])).err(), Some(CaptureError::LinkType(105)));
        assert_eq!(packets(&file(1, &[])).expect("an empty file is one").count(), 0);
    }

    #[test]
    fn the_packets_of_a_link_have_directions() {
        let stranger = SocketAddr::from(([203, 0, 113, 9], 4433));
        let frames =
            [udp(NEAR, FAR, &[1; 30]), udp(FAR, NEAR, &[2; 20]), udp(NEAR, stranger, &[3; 10]), vec![0xff; 40]];
        let bytes = file(101, &frames);
        let by_port = Ends { near: End { address: None, port: Some(4433) }, far: End::from(FAR) };
        let by_address = Ends { near: NEAR.into(), far: End { address: Some(FAR.ip()), port: None } };
        for ends in [by_port, by_address] {
            let link = record(&bytes, ends, None).expect("the file is good");
            let seen: Vec<_> = link.sightings.iter().map(|it| (it.direction, it.length)).collect();
            assert_eq!(seen, [(Direction::Outward, 30), (Direction::Inward, 20)]);
            assert_eq!(link.payloads, [vec![&[1; 30][..]], vec![&[2; 20][..]]]);
            assert_eq!((link.others, link.left_out, link.damage), (2, 0, None));
        }
        let anybody = record(&bytes, Ends::default(), None).expect("the file is good");
        assert!(anybody.sightings.iter().all(|it| it.direction == Direction::Outward));
    }

    #[test]
    fn packets_that_the_card_cuts_apart_are_counted_each() {
        let bytes = file(101, &[udp(NEAR, FAR, &[7; 65])]);
        let ends = Ends { near: NEAR.into(), far: FAR.into() };
        let link = record(&bytes, ends, NonZeroUsize::new(30)).expect("the file is good");
        assert_eq!(link.sightings.iter().map(|it| it.length).collect::<Vec<_>>(), [30, 30, 5]);
        assert_eq!(link.payloads[0].iter().map(|it| it.len()).collect::<Vec<_>>(), [30, 30, 5]);
        // A capture of the first bytes only: the lengths are known, the bytes of the last pieces are not.
        let mut short = file(101, &[udp(NEAR, FAR, &[7; 65])[..70].to_vec()]);
        short[FILE_HEADER + 12..FILE_HEADER + 16].copy_from_slice(&93u32.to_le_bytes());
        let link = record(&short, ends, NonZeroUsize::new(30)).expect("the file is good");
        assert_eq!(link.sightings.iter().map(|it| it.length).collect::<Vec<_>>(), [30, 30, 5]);
        assert_eq!(link.payloads[0], [&[7; 30][..]]);
    }

    #[test]
    fn sightings_are_in_the_order_of_time() {
        let mut bytes = file(101, &[udp(NEAR, FAR, &[1; 9]), udp(NEAR, FAR, &[2; 8])]);
        bytes[FILE_HEADER..FILE_HEADER + 4].copy_from_slice(&1_700_000_009u32.to_le_bytes());
        let ends = Ends { near: NEAR.into(), far: FAR.into() };
        let link = record(&bytes, ends, None).expect("the file is good");
        let late =
            Sighting { at: Duration::from_micros(1_700_000_009_000_250), direction: Direction::Outward, length: 9 };
        assert_eq!(link.sightings[1], late);
        assert_eq!(link.between(late.at, Duration::MAX), [late]);
        assert_eq!(link.between(Duration::ZERO, late.at).len(), 1);
        assert_eq!(link.between(late.at, Duration::ZERO), []);
    }
}
