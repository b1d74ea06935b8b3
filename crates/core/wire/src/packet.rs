//! The packet: one UDP payload of a link, and where its parts lie (docs/spec/link.md, "Packet").
//!
//! ```text
//! packet | index 8 | counter 8 | sealed: circuit 4, command 1, region P - 37 | tag 16 |
//! ```

use thiserror::Error;

/// Bytes of the two masked header fields.
pub const HEADER_LEN: usize = 16;
/// Bytes of the packet's AEAD tag.
pub const TAG_LEN: usize = 16;
/// Bytes of the cell head: circuit id and command.
pub const CELL_HEAD_LEN: usize = 5;
/// Bytes that one onion layer adds to the region: counter 8 and tag 16.
pub const LAYER_LEN: usize = 24;
/// Onion layers for which the region always keeps room.
pub const LAYERS_MAX: usize = 3;
/// Bytes that the layer of a virtual hop takes of the inner part: number 4 and tag 16 (docs/spec/onion.md, "The virtual hop").
pub const VIRTUAL_LAYER_LEN: usize = 20;
/// Bytes of the leg header.
pub const LEG_HEADER_LEN: usize = 19;

/// A packet size outside [`PacketSize::MIN`]..=[`PacketSize::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("packet size {0} is outside 1340..=1452 bytes")]
pub struct PacketSizeError(pub u32);

/// P, the size in bytes of every UDP payload on every link of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketSize(u16);

impl PacketSize {
    /// Smallest P: the first handshake message needs it.
    pub const MIN: u16 = 1340;
    /// Largest P: an IPv4 packet on a 1480-byte path.
    pub const MAX: u16 = 1452;
    /// Smallest P of a network that has onion services: a session packet of 1200 bytes fits behind a fourth layer.
    pub const VIRTUAL_MIN: u16 = 1348;
    /// P = 1350 fits a 1398-byte path with IPv6.
    pub const DEFAULT: Self = Self(1350);

    /// Checks the range.
    pub fn new(bytes: u32) -> Result<Self, PacketSizeError> {
        match u16::try_from(bytes) {
            Ok(size) if (Self::MIN..=Self::MAX).contains(&size) => Ok(Self(size)),
            _ => Err(PacketSizeError(bytes)),
        }
    }

    /// Bytes of the whole packet.
    pub fn packet(self) -> usize {
        usize::from(self.0)
    }

    /// Bytes of the sealed body: cell head and region.
    pub fn body(self) -> usize {
        self.packet() - HEADER_LEN - TAG_LEN
    }

    /// Bytes of the cell's region (1313 at the default).
    pub fn region(self) -> usize {
        self.body() - CELL_HEAD_LEN
    }

    /// The largest session packet (1222 at the default).
    pub fn session_packet(self) -> usize {
        self.region() - LAYERS_MAX * LAYER_LEN - LEG_HEADER_LEN
    }

    /// The largest session packet on circuits with a virtual hop (1202 at the default). `None` when P is below
    /// [`PacketSize::VIRTUAL_MIN`]: what is left then is less than QUIC works with.
    pub fn session_packet_virtual(self) -> Option<usize> {
        (self.0 >= Self::VIRTUAL_MIN).then(|| self.session_packet() - VIRTUAL_LAYER_LEN)
    }
}

impl Default for PacketSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_the_sizes_of_the_specification() {
        let size = PacketSize::DEFAULT;
        assert_eq!(size.packet(), 1350);
        assert_eq!(size.body(), 1318);
        assert_eq!(size.region(), 1313);
        assert_eq!(size.session_packet(), 1222);
        assert_eq!(size.session_packet_virtual(), Some(1202));
    }

    #[test]
    fn the_range_is_enforced_and_holds_a_quic_initial() {
        assert_eq!(PacketSize::new(1339), Err(PacketSizeError(1339)));
        assert_eq!(PacketSize::new(1453), Err(PacketSizeError(1453)));
        assert_eq!(PacketSize::new(70_000), Err(PacketSizeError(70_000)));
        let smallest = PacketSize::new(1340).map(PacketSize::session_packet);
        assert!(smallest.is_ok_and(|bytes| bytes >= 1200));
        let behind_four = |bytes| PacketSize::new(bytes).ok().and_then(PacketSize::session_packet_virtual);
        assert_eq!((behind_four(1347), behind_four(1348)), (None, Some(1200)));
    }
}
