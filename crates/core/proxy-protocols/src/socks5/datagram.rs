//! The header of a UDP datagram between an application and its SOCKS5 association (RFC 1928, section 7):
//! `reserved 2 | fragment 1 | address | payload`. Behind its first three bytes it is a [`wire::udp`] record.

use thiserror::Error;
use wire::flow::Destination;
use wire::read::DecodeError;
use wire::udp;

/// Bytes in front of the record.
pub const PREFIX_LEN: usize = 3;

/// Bytes of the longest datagram that [`decode`] can make sense of.
pub const DATAGRAM_MAX: usize = PREFIX_LEN + Destination::ENCODED_MAX + udp::PAYLOAD_MAX;

/// Why a datagram is dropped. Always the application's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DatagramError {
    /// One of several fragments. RFC 1928 leaves it open to drop these, and everybody does.
    #[error("a fragment")]
    Fragment,
    /// No address, an address that is none, or port 0.
    #[error("a malformed header")]
    Malformed,
}

/// Reads an application's datagram: its destination, and its payload. The [`wire::udp`] record is made of
/// the two anew, since an address that was sent as a name becomes an address.
pub fn decode(datagram: &[u8]) -> Result<(Destination, &[u8]), DatagramError> {
    let (prefix, record) = datagram.split_first_chunk::<PREFIX_LEN>().ok_or(DatagramError::Malformed)?;
    if prefix[2] != 0 {
        return Err(DatagramError::Fragment);
    }
    let (_, payload) = udp::decode(record).map_err(|_: DecodeError| DatagramError::Malformed)?;
    let destination = super::decode_destination(&mut wire::read::Reader::new(record));
    match destination {
        Ok(destination) if destination.port != 0 => Ok((destination, payload)),
        Ok(_) | Err(_) => Err(DatagramError::Malformed),
    }
}

/// Writes the datagram that hands a [`wire::udp`] record to the application into `out`, which is emptied first.
pub fn encode_record(record: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; PREFIX_LEN]);
    out.extend_from_slice(record);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::SocketAddr;

    #[test]
    fn fragments_and_broken_headers_are_told_apart() {
        assert_eq!(decode(&[0, 0, 1, 1, 127, 0, 0, 1, 0, 53]), Err(DatagramError::Fragment));
        assert_eq!(decode(&[0, 0]), Err(DatagramError::Malformed));
        assert_eq!(decode(&[0, 0, 0, 9, 1, 1]), Err(DatagramError::Malformed));
        assert_eq!(decode(&[0, 0, 0, 1, 127, 0, 0, 1, 0, 0]), Err(DatagramError::Malformed));
        let empty = decode(&[0, 0, 0, 1, 127, 0, 0, 1, 0, 53]);
        assert_eq!(empty, Ok((Destination::from(SocketAddr::from(([127, 0, 0, 1], 53))), &[][..])));
    }

    proptest! {
        #[test]
        fn a_datagram_survives_a_round_trip(address in any::<SocketAddr>(), payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let far = Destination::from(SocketAddr::new(address.ip(), address.port().max(1)));
            let (mut record, mut datagram) = (Vec::new(), Vec::new());
            udp::encode(&far, &payload, &mut record);
            encode_record(&record, &mut datagram);
            prop_assert_eq!(decode(&datagram), Ok((far, &payload[..])));
        }

        #[test]
        fn any_bytes_are_read_or_dropped(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
