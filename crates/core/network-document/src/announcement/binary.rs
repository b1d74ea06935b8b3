//! Announcements as bytes: what stands in editions, a third of the text. Layout: docs/spec/relay-directory.md, section 3.

use super::{ANNOUNCEMENT_BYTES_MAX, Announcement, EXIT_RANGES_MAX, EncodingError, SignedAnnouncement};
use crate::descriptor::{ADDRESSES_MAX, Descriptor, HOP_RANGES_MAX};
use crate::encoding::{ReadError, Reader, WriteBytes};
use crate::error::Problem;
use crate::label::Label;
use crate::roles::Roles;
use identity::{DoorKey, LinkKey, NodeId, OnionKey};
use onion::Interval;
use port_hopping::ports::{PortRange, PortSet};
use shaping::RateClass;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const GUARD: u8 = 1;
const MIDDLE: u8 = 2;
const EXIT: u8 = 4;
const HOPS: u8 = 8;
const NEXT_LINK_KEY: u8 = 16;
const NEXT_DOOR_KEY: u8 = 32;
const SECOND_ONION_KEY: u8 = 64;
const DIRECTORY: u8 = 128;

impl SignedAnnouncement {
    /// The bytes, signature included.
    pub fn encode(&self) -> Vec<u8> {
        let (said, relay) = (&self.announcement, &self.announcement.descriptor);
        let mut out = Vec::with_capacity(ANNOUNCEMENT_BYTES_MAX);
        out.u8(flags(said));
        out.raw(&relay.node_id.0);
        out.raw(&relay.link_key.0);
        out.raw(relay.door_key.expose());
        if let Some(key) = &said.next_link_key {
            out.raw(&key.0);
        }
        if let Some(key) = &said.next_door_key {
            out.raw(key.expose());
        }
        for (interval, key) in &relay.onion_keys {
            out.u64(interval.0);
            out.raw(&key.0);
        }
        out.u8(relay.addresses.len() as u8);
        for address in &relay.addresses {
            write_address(&mut out, *address);
        }
        for ports in [&relay.hop_ports, &said.exit_ports].into_iter().flatten() {
            write_ports(&mut out, ports);
        }
        out.u8(relay.operator.as_str().len() as u8);
        out.raw(relay.operator.as_str().as_bytes());
        out.u8(relay.bandwidth.number());
        out.u64(said.published_ms);
        out.u64(said.expires_ms);
        out.raw(&self.signature);
        out
    }

    /// Reads such bytes. Nobody looks at the signature here: [`SignedAnnouncement::is_for`] does.
    ///
    /// # Errors
    /// When they are not exactly as [`SignedAnnouncement::encode`] writes them, or say what may not be.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        if bytes.len() > ANNOUNCEMENT_BYTES_MAX {
            return Err(Problem::Bulky.into());
        }
        let mut input = Reader::new(bytes);
        let flags = input.u8()?;
        let has = |flag| flags & flag != 0;
        let node_id = NodeId(input.array()?);
        let (link_key, door_key) = (LinkKey(input.array()?), DoorKey::from_bytes(input.array()?));
        let next_link_key = if has(NEXT_LINK_KEY) { Some(LinkKey(input.array()?)) } else { None };
        let next_door_key = if has(NEXT_DOOR_KEY) { Some(DoorKey::from_bytes(input.array()?)) } else { None };
        let mut onion_keys = Vec::new();
        for _ in 0..=usize::from(has(SECOND_ONION_KEY)) {
            onion_keys.push((Interval(input.u64()?), OnionKey(input.array()?)));
        }
        let addresses = read_addresses(&mut input)?;
        let hop_ports = if has(HOPS) { Some(read_ports(&mut input, HOP_RANGES_MAX)?) } else { None };
        let exit_ports = if has(EXIT) { Some(read_ports(&mut input, EXIT_RANGES_MAX)?) } else { None };
        let length = usize::from(input.u8()?);
        let operator = std::str::from_utf8(input.raw(length)?).unwrap_or_default();
        let operator = Label::new(operator, "operator")?;
        let bandwidth = RateClass::new(input.u8()?).map_err(|_| ReadError::Range)?;
        let (published_ms, expires_ms, signature) = (input.u64()?, input.u64()?, input.array()?);
        input.end()?;
        let (guard, middle, exit) = (has(GUARD), has(MIDDLE), has(EXIT));
        let roles = Roles { guard, middle, exit, directory: has(DIRECTORY) };
        let descriptor =
            Descriptor { node_id, link_key, door_key, onion_keys, addresses, hop_ports, roles, operator, bandwidth };
        let announcement =
            Announcement { descriptor, next_link_key, next_door_key, exit_ports, published_ms, expires_ms };
        announcement.check()?;
        Ok(Self { announcement, signature })
    }
}

fn flags(said: &Announcement) -> u8 {
    let relay = &said.descriptor;
    let flags = [
        (GUARD, relay.roles.guard),
        (MIDDLE, relay.roles.middle),
        (EXIT, relay.roles.exit),
        (HOPS, relay.hop_ports.is_some()),
        (NEXT_LINK_KEY, said.next_link_key.is_some()),
        (NEXT_DOOR_KEY, said.next_door_key.is_some()),
        (SECOND_ONION_KEY, relay.onion_keys.len() > 1),
        (DIRECTORY, relay.roles.directory),
    ];
    flags.into_iter().filter_map(|(flag, is)| is.then_some(flag)).sum()
}

pub(crate) fn write_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.u8(4);
            out.raw(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.u8(6);
            out.raw(&ip.octets());
        }
    }
    out.u16(address.port());
}

/// Their number, then each.
pub(crate) fn read_addresses(input: &mut Reader<'_>) -> Result<Vec<SocketAddr>, ReadError> {
    let count = usize::from(input.u8()?);
    if count > ADDRESSES_MAX {
        return Err(ReadError::Range);
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let ip: IpAddr = match input.u8()? {
            4 => Ipv4Addr::from(input.array::<4>()?).into(),
            6 => Ipv6Addr::from(input.array::<16>()?).into(),
            _ => return Err(ReadError::Range),
        };
        addresses.push(SocketAddr::new(ip, input.u16()?));
    }
    Ok(addresses)
}

/// The number of ranges, then each.
pub(crate) fn write_ports(out: &mut Vec<u8>, ports: &PortSet) {
    out.u8(ports.ranges().len() as u8);
    for range in ports.ranges() {
        out.u16(range.first());
        out.u16(range.last());
    }
}

pub(crate) fn read_ports(input: &mut Reader<'_>, max: usize) -> Result<PortSet, ReadError> {
    let count = usize::from(input.u8()?);
    if count > max {
        return Err(ReadError::Range);
    }
    let mut ranges = Vec::with_capacity(count);
    for _ in 0..count {
        let range = PortRange::new(input.u16()?, input.u16()?);
        ranges.push(range.ok_or(ReadError::Range)?);
    }
    // Ranges that touch, overlap or descend could be written in another way.
    PortSet::from_ranges(ranges.iter().copied()).filter(|ports| ports.ranges() == ranges).ok_or(ReadError::Range)
}
