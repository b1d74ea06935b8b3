//! What a responder offers to hop over (docs/spec/link.md, "Hops").
//!
//! ```text
//! | ranges 2 | ranges x (first 2, last 2) | addresses 1 | addresses x (bits 1, address 16) |
//! ```

use port_hopping::hosts::Ipv6Prefix;
use port_hopping::ports::{PortRange, PortSet};
use port_hopping::targets::TargetAddress;
use std::net::{IpAddr, Ipv6Addr};
use thiserror::Error;
use wire::read::{DecodeError, Reader};

/// Most port ranges of an offer: with all addresses it fits the smallest packet.
pub const OFFER_RANGES_MAX: usize = 256;
/// Most addresses of an offer.
pub const OFFER_ADDRESSES_MAX: usize = 16;
/// Bits of a single address. A prefix has fewer.
const ONE_ADDRESS: u8 = 128;

/// Why ports and addresses are not an offer. Always the caller's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OfferError {
    /// More than [`OFFER_RANGES_MAX`].
    #[error("{0} separate ranges of ports; a peer can be told of {OFFER_RANGES_MAX}")]
    TooManyRanges(usize),
    /// More than [`OFFER_ADDRESSES_MAX`].
    #[error("{0} addresses; a peer can be told of {OFFER_ADDRESSES_MAX}")]
    TooManyAddresses(usize),
}

/// Where the links of a responder may hop to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopOffer {
    ports: PortSet,
    addresses: Vec<TargetAddress>,
}

impl HopOffer {
    /// An offer. Without addresses, links stay at the one that their packets go to.
    pub fn new(ports: PortSet, addresses: Vec<TargetAddress>) -> Result<Self, OfferError> {
        if ports.ranges().len() > OFFER_RANGES_MAX {
            return Err(OfferError::TooManyRanges(ports.ranges().len()));
        }
        if addresses.len() > OFFER_ADDRESSES_MAX {
            return Err(OfferError::TooManyAddresses(addresses.len()));
        }
        Ok(Self { ports, addresses })
    }

    /// The ports.
    pub fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// The addresses; none for the one that a link's packets go to.
    pub fn addresses(&self) -> &[TargetAddress] {
        &self.addresses
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(self.ports.ranges().len() as u16).to_be_bytes());
        for range in self.ports.ranges() {
            bytes.extend_from_slice(&range.first().to_be_bytes());
            bytes.extend_from_slice(&range.last().to_be_bytes());
        }
        bytes.push(self.addresses.len() as u8);
        for address in &self.addresses {
            let (bits, address) = match address {
                TargetAddress::One(IpAddr::V4(address)) => (ONE_ADDRESS, address.to_ipv6_mapped()),
                TargetAddress::One(IpAddr::V6(address)) => (ONE_ADDRESS, *address),
                TargetAddress::Prefix(prefix) => (prefix.bits(), prefix.network()),
            };
            bytes.push(bits);
            bytes.extend_from_slice(&address.octets());
        }
        bytes
    }

    pub(crate) fn decode(region: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(region);
        let count = usize::from(reader.u16()?);
        if count > OFFER_RANGES_MAX {
            return Err(DecodeError::Range("number of ranges"));
        }
        let mut ranges = Vec::with_capacity(count);
        for _ in 0..count {
            let range = PortRange::new(reader.u16()?, reader.u16()?);
            ranges.push(range.ok_or(DecodeError::Range("range of ports"))?);
        }
        let ports = PortSet::from_ranges(ranges.iter().copied()).ok_or(DecodeError::Range("number of ranges"))?;
        if ports.ranges() != ranges {
            return Err(DecodeError::Range("order of ranges"));
        }
        let count = usize::from(reader.u8()?);
        if count > OFFER_ADDRESSES_MAX {
            return Err(DecodeError::Range("number of addresses"));
        }
        let mut addresses = Vec::with_capacity(count);
        for _ in 0..count {
            addresses.push(decode_address(&mut reader)?);
        }
        Ok(Self { ports, addresses })
    }
}

fn decode_address(reader: &mut Reader<'_>) -> Result<TargetAddress, DecodeError> {
    let (bits, address) = (reader.u8()?, Ipv6Addr::from(reader.array::<16>()?));
    let address = if bits == ONE_ADDRESS {
        TargetAddress::One(address.to_canonical())
    } else {
        TargetAddress::Prefix(Ipv6Prefix::new(address, bits).map_err(|_| DecodeError::Range("prefix"))?)
    };
    match address {
        TargetAddress::One(ip) if ip.is_unspecified() || ip.is_multicast() => Err(DecodeError::Range("address")),
        address => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::packet::{HEADER_LEN, PacketSize, TAG_LEN};

    fn parts(ports: &str, addresses: &[&str]) -> (PortSet, Vec<TargetAddress>) {
        let addresses = addresses.iter().map(|text| match text.parse() {
            Ok(address) => TargetAddress::One(address),
            Err(_) => TargetAddress::Prefix(text.parse().expect("an address or a prefix")),
        });
        (ports.parse().expect("ports"), addresses.collect())
    }

    fn offer((ports, addresses): (PortSet, Vec<TargetAddress>)) -> Result<HopOffer, OfferError> {
        HopOffer::new(ports, addresses)
    }

    #[test]
    fn an_offer_is_that_of_the_specification() {
        let encoded = offer(parts("443,20000-50000", &["192.0.2.1", "2001:db8::/64"])).expect("a short offer").encode();
        let text: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "000201bb01bb4e20c350028000000000000000000000ffffc00002014020010db8000000000000000000000000");
    }

    #[test]
    fn the_largest_offer_fits_the_smallest_packet() {
        let ports: Vec<String> = (1..=OFFER_RANGES_MAX).map(|port| (2 * port).to_string()).collect();
        let most =
            offer(parts(&ports.join(","), &["2001:db8::1"; OFFER_ADDRESSES_MAX])).expect("at the bounds").encode();
        let smallest = usize::from(PacketSize::MIN) - HEADER_LEN - TAG_LEN - wire::packet::CELL_HEAD_LEN;
        assert!(most.len() <= smallest, "{} bytes of {smallest}", most.len());
        let more: Vec<String> = (1..=OFFER_RANGES_MAX + 1).map(|port| (2 * port).to_string()).collect();
        assert_eq!(offer(parts(&more.join(","), &[])), Err(OfferError::TooManyRanges(OFFER_RANGES_MAX + 1)));
        let addresses = ["2001:db8::1"; OFFER_ADDRESSES_MAX + 1];
        assert_eq!(offer(parts("1", &addresses)), Err(OfferError::TooManyAddresses(OFFER_ADDRESSES_MAX + 1)));
    }

    #[test]
    fn mistakes_are_refused() {
        for (bytes, error) in [
            (vec![], DecodeError::Truncated),
            (vec![0, 0, 0], DecodeError::Range("number of ranges")),
            (vec![1, 1], DecodeError::Range("number of ranges")),
            (vec![0, 1, 0, 0, 0, 9, 0], DecodeError::Range("range of ports")),
            (vec![0, 1, 0, 9, 0, 8, 0], DecodeError::Range("range of ports")),
            (vec![0, 2, 0, 1, 0, 2, 0, 3, 0, 4, 0], DecodeError::Range("order of ranges")),
            (vec![0, 2, 0, 9, 0, 9, 0, 3, 0, 4, 0], DecodeError::Range("order of ranges")),
            (vec![0, 1, 0, 1, 0, 2, 17], DecodeError::Range("number of addresses")),
            (vec![0, 1, 0, 1, 0, 2, 1, 128], DecodeError::Truncated),
            ([&[0, 1, 0, 1, 0, 2, 1, 128][..], &[0; 16]].concat(), DecodeError::Range("address")),
            ([&[0, 1, 0, 1, 0, 2, 1, 64][..], &[0xff; 16]].concat(), DecodeError::Range("prefix")),
        ] {
            assert_eq!(HopOffer::decode(&bytes), Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn an_offer_that_is_read_is_written_the_same(
            ends in proptest::collection::vec((1u16.., 0u16..300), 1..20),
            hosts in proptest::collection::vec(1u32.., 0..5),
            behind in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let ranges = ends.iter().filter_map(|(first, more)| PortRange::new(*first, first.saturating_add(*more)));
            let addresses = hosts.iter().map(|host| TargetAddress::One(Ipv6Addr::from_bits(u128::from(*host) << 32).into()));
            let ports = PortSet::from_ranges(ranges).expect("at least one range");
            let offer = HopOffer::new(ports, addresses.collect()).expect("a short offer");
            prop_assert_eq!(HopOffer::decode(&[offer.encode(), behind].concat()), Ok(offer));
        }
    }
}
