//! The layer of the virtual hop: from one end of two circuits that were joined to the other (docs/spec/onion.md, "The virtual hop").
//!
//! ```text
//! virtual layer | number 4 | tag 16 | body |
//! ```

use super::{LAYER_CELLS_MAX, OpenError, WornOut, nonce, seal_body};
use crate::schedule::{VirtualDirection, VirtualKeys};
use crate::service::Cookie;
use aws_lc_rs::aead::{Aad, LessSafeKey};
use packet_crypto::keys::{RawKeys, TAG_LEN, gcm};
use packet_crypto::window::ReplayWindow;
use wire::packet::VIRTUAL_LAYER_LEN;

/// Bytes of the number in front of the layer. A key seals 2^28 cells at most, so four bytes say each number whole.
const NUMBER_LEN: usize = 4;

/// Which end of an end-to-end handshake a node was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It began the handshake.
    Client,
    /// It answered it.
    Service,
}

/// The layer between two ends, at one of them.
pub(crate) struct VirtualLayer {
    seal: LessSafeKey,
    seal_start: u32,
    sealed: u64,
    open: LessSafeKey,
    open_start: u32,
    window: ReplayWindow,
}

impl VirtualLayer {
    /// The keys of a finished handshake, of the meeting under `cookie`.
    pub(crate) fn new(raw: &RawKeys, cookie: &Cookie, side: Side) -> Self {
        let VirtualKeys { forward, backward } = VirtualKeys::derive(raw, cookie);
        let (own, other) = match side {
            Side::Client => (forward, backward),
            Side::Service => (backward, forward),
        };
        let keyed = |direction: &VirtualDirection| gcm(&direction.traffic);
        Self {
            seal: keyed(&own),
            seal_start: own.start,
            sealed: 0,
            open: keyed(&other),
            open_start: other.start,
            window: ReplayWindow::new(),
        }
    }

    /// Cells that were sealed here.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Seals a layer in place: its body is there, number and tag are written.
    #[inline]
    pub(crate) fn seal(&mut self, layer: &mut [u8]) -> Result<(), WornOut> {
        if self.sealed >= LAYER_CELLS_MAX {
            return Err(WornOut);
        }
        let field = self.seal_start.wrapping_add(self.sealed as u32);
        self.sealed += 1;
        let (head, body) = layer.split_at_mut(VIRTUAL_LAYER_LEN);
        head[..NUMBER_LEN].copy_from_slice(&field.to_be_bytes());
        head[NUMBER_LEN..].copy_from_slice(&seal_body(&self.seal, u64::from(field), body));
        Ok(())
    }

    /// Opens a layer in place and gives its number. A layer that is refused may be left overwritten; the window knows nothing of it.
    #[inline]
    pub(crate) fn open(&mut self, layer: &mut [u8]) -> Result<u64, OpenError> {
        let (head, body) = layer.split_at_mut(VIRTUAL_LAYER_LEN);
        let (mut field, mut tag) = ([0; NUMBER_LEN], [0; TAG_LEN]);
        field.copy_from_slice(&head[..NUMBER_LEN]);
        tag.copy_from_slice(&head[NUMBER_LEN..]);
        let field = u32::from_be_bytes(field);
        let number = u64::from(field.wrapping_sub(self.open_start));
        if number >= LAYER_CELLS_MAX {
            return Err(OpenError::Forged);
        }
        if !self.window.is_new(number) {
            return Err(OpenError::Replayed);
        }
        let plain = self.open.open_in_place_separate_tag(nonce(u64::from(field)), Aad::empty(), &tag, body);
        plain.map_err(|_| OpenError::Forged)?;
        self.window.accept(number);
        Ok(number)
    }

    /// Wears the key out, but for `left` cells.
    #[cfg(test)]
    pub(crate) fn wear(&mut self, left: u64) {
        self.sealed = LAYER_CELLS_MAX - left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    const INNER: usize = 1241;

    fn pair(cookies: [u8; 2]) -> (VirtualLayer, VirtualLayer) {
        let raw = || RawKeys { initiator: Zeroizing::new([0x11; 32]), responder: Zeroizing::new([0x22; 32]) };
        let [client, service] = cookies.map(|byte| Cookie([byte; 32]));
        (VirtualLayer::new(&raw(), &client, Side::Client), VirtualLayer::new(&raw(), &service, Side::Service))
    }

    #[test]
    fn each_end_opens_what_the_other_sealed_once() {
        let (mut client, mut service) = pair([7, 7]);
        for number in 0..20u64 {
            let mut cell = vec![number as u8; INNER];
            client.seal(&mut cell).expect("a fresh key");
            let mut again = cell.clone();
            let mut mine = cell.clone();
            assert_eq!(service.open(&mut cell), Ok(number));
            assert!(cell[VIRTUAL_LAYER_LEN..].iter().all(|byte| *byte == number as u8));
            assert_eq!(service.open(&mut again), Err(OpenError::Replayed));
            assert_eq!(client.open(&mut mine), Err(OpenError::Forged), "nobody opens his own");
            let mut back = vec![0xee; INNER];
            service.seal(&mut back).expect("a fresh key");
            assert_eq!(client.open(&mut back), Ok(number));
        }
        assert_eq!((client.sealed(), service.sealed()), (20, 20));
    }

    #[test]
    fn the_layer_is_that_of_the_specification() {
        let (mut client, _) = pair([0x33, 0x33]);
        for vector in [
            "6b4c23eb1e6c2b786fd520e417c4a64303053451143720aeda7f3e39f9b8c049",
            "d3d39932a7a559a6945f390dab30dd3d8fe25f604ed821c1cd8fe818e28b3b83",
        ] {
            let mut cell = vec![0; INNER];
            cell[VIRTUAL_LAYER_LEN..].iter_mut().enumerate().for_each(|(place, byte)| *byte = place as u8);
            client.seal(&mut cell).expect("a fresh key");
            let hash: String = packet_crypto::keys::sha256(&cell).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hash, vector);
        }
    }

    /// Legs of one handshake have keys of their own.
    #[test]
    fn another_cookie_means_other_keys() {
        let (mut client, mut service) = pair([7, 8]);
        let mut cell = vec![0; INNER];
        client.seal(&mut cell).expect("a fresh key");
        assert_eq!(service.open(&mut cell), Err(OpenError::Forged));
    }

    #[test]
    fn every_altered_bit_dies() {
        let (mut client, mut service) = pair([7, 7]);
        for place in 0..INNER * 8 {
            let mut cell = vec![5; INNER];
            client.seal(&mut cell).expect("a fresh key");
            cell[place / 8] ^= 1 << (place % 8);
            assert!(service.open(&mut cell).is_err(), "bit {place}");
        }
    }

    #[test]
    fn a_worn_key_seals_nothing() {
        let (mut client, mut service) = pair([7, 7]);
        client.wear(1);
        let mut cell = vec![5; INNER];
        assert_eq!(client.seal(&mut cell), Ok(()));
        assert_eq!(service.open(&mut cell), Ok(LAYER_CELLS_MAX - 1));
        assert_eq!(client.seal(&mut cell), Err(WornOut));
    }
}
