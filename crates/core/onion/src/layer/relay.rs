//! A relay's side of its layer: it opens what goes away from the client and seals what goes towards it.

use super::{OpenError, OpenKey, Opened, Position, SealKey, WornOut};
use crate::schedule::HopKeys;
use packet_crypto::filler::Filler;
use std::ops::Range;
use wire::packet::LAYER_LEN;

/// The layer of one hop, at the relay.
pub(crate) struct RelayLayers {
    position: Position,
    region: usize,
    forward: OpenKey,
    backward: SealKey,
}

impl RelayLayers {
    /// `region` is the length of a cell's region.
    pub(crate) fn new(keys: &HopKeys, position: Position, region: usize) -> Self {
        let (forward, backward) = (OpenKey::new(&keys.forward), SealKey::new(&keys.backward));
        Self { position, region, forward, backward }
    }

    /// Where on the circuit this hop is.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Cells that were sealed towards the client.
    pub(crate) fn sealed(&self) -> u64 {
        self.backward.sealed()
    }

    /// Opens a cell from the side of the client. Its body is then at [`RelayLayers::body`].
    #[inline]
    pub(crate) fn open(&mut self, region: &mut [u8]) -> Result<Opened, OpenError> {
        self.forward.open(&mut region[..self.position.layer_len(self.region)])
    }

    /// Where the body of a cell is that was opened or is going to be sealed.
    pub(crate) fn body(&self) -> Range<usize> {
        self.position.body(self.region)
    }

    /// Where the inner part of a cell is that was opened or is going to be sealed here, if this hop is the last one.
    pub(crate) fn inner(&self) -> Range<usize> {
        self.position.inner(self.region)
    }

    /// Makes of an opened cell what the next hop gets: the body in front, and behind it fresh random bytes. What stood
    /// there before is overwritten to the last byte: a relay that could write something behind the layers which an honest one
    /// handed on would have a way to mark cells for a friend farther down.
    #[inline]
    pub(crate) fn pass_on(&self, region: &mut [u8], filler: &mut Filler) {
        let body = self.body();
        let end = body.len();
        region.copy_within(body, 0);
        filler.fill(&mut region[end..]);
    }

    /// Seals a cell that this hop makes itself, towards the client: its body is at [`RelayLayers::body`].
    #[inline]
    pub(crate) fn seal(&mut self, region: &mut [u8], addressed: bool, filler: &mut Filler) -> Result<(), WornOut> {
        let end = self.position.layer_len(self.region);
        self.backward.seal(&mut region[..end], addressed)?;
        filler.fill(&mut region[end..]);
        Ok(())
    }

    /// Seals a cell of the next hop, towards the client. What stood behind that hop's layer is dropped.
    #[inline]
    pub(crate) fn pass_back(&mut self, region: &mut [u8], filler: &mut Filler) -> Result<(), WornOut> {
        let body = self.body();
        region.copy_within(..body.len(), LAYER_LEN);
        self.seal(region, false, filler)
    }
}
