//! Onion layers: one AES-128-GCM per hop and direction over a fixed region (docs/spec/onion.md, "Layers").
//!
//! ```text
//! layer | number 8 | tag 16 | body |
//! ```

mod client;
mod far;
mod relay;

pub(crate) use client::{ClientLayers, TakeError, Taken};
pub use far::Side;
pub(crate) use far::VirtualLayer;
pub(crate) use relay::RelayLayers;

use crate::schedule::DirectionKeys;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use packet_crypto::keys::gcm;
use packet_crypto::window::ReplayWindow;
use std::ops::Range;
use wire::packet::{LAYER_LEN, LAYERS_MAX, TAG_LEN};

/// Cells that one key of a hop seals at most; then the circuit is worn out (RFC 9001, B.1).
pub const LAYER_CELLS_MAX: u64 = 1 << 28;

/// Bytes of the number in front of a layer.
const NUMBER_LEN: usize = 8;
/// Added to the number of a cell that is addressed to the hop itself, or comes from it.
const ADDRESSED: u64 = 1 << 63;

/// Where on its circuit a hop is: 1 is next to the client, 3 the farthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(u8);

impl Position {
    /// Next to the client.
    pub const FIRST: Self = Self(1);
    /// Behind as many layers as a region has room for.
    pub const LAST: Self = Self(LAYERS_MAX as u8);

    /// The position with this number, 1 to 3.
    pub fn new(number: u8) -> Option<Self> {
        (Self::FIRST.0..=Self::LAST.0).contains(&number).then_some(Self(number))
    }

    /// Its number, 1 to 3.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The position behind this one.
    pub fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }

    /// Hops before this one.
    fn before(self) -> usize {
        usize::from(self.0) - 1
    }

    /// Bytes of this hop's layer in a region.
    pub(crate) fn layer_len(self, region: usize) -> usize {
        region - LAYER_LEN * self.before()
    }

    /// Where the body of this hop's layer is in a region, at the relay.
    pub(crate) fn body(self, region: usize) -> Range<usize> {
        LAYER_LEN..self.layer_len(region)
    }

    /// Where the inner part is in a region, at the relay, when this hop is the last one.
    pub(crate) fn inner(self, region: usize) -> Range<usize> {
        let end = self.layer_len(region);
        end - inner_len(region)..end
    }

    /// Where this hop's layer begins in a region, at the client.
    fn client_layer(self) -> usize {
        LAYER_LEN * self.before()
    }

    /// Where the body of this hop's layer begins in a region, at the client.
    pub(crate) fn client_body(self) -> usize {
        LAYER_LEN * usize::from(self.0)
    }
}

/// Where the inner part begins in a region, at the client.
pub(crate) const CLIENT_INNER: usize = LAYER_LEN * LAYERS_MAX;

/// Bytes of the inner part of a cell, however many hops it passes.
pub(crate) fn inner_len(region: usize) -> usize {
    region - CLIENT_INNER
}

/// The key has sealed [`LAYER_CELLS_MAX`] cells; only a new circuit helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WornOut;

/// Why a layer was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// Its number was accepted before or is behind the window.
    Replayed,
    /// It is not what the other end sealed.
    Forged,
}

/// A layer that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The cell's number under this key.
    pub(crate) number: u64,
    /// True when it is for the hop itself, or comes from it.
    pub(crate) addressed: bool,
}

/// Seals one hop's layer in one direction.
pub(crate) struct SealKey {
    key: LessSafeKey,
    start: u64,
    next: u64,
}

impl SealKey {
    pub(crate) fn new(keys: &DirectionKeys) -> Self {
        Self { key: gcm(&keys.traffic), start: keys.start, next: 0 }
    }

    /// Layers that it has sealed.
    pub(crate) fn sealed(&self) -> u64 {
        self.next
    }

    /// True when it seals nothing any more.
    pub(crate) fn is_worn_out(&self) -> bool {
        self.next >= LAYER_CELLS_MAX
    }

    /// Seals a layer in place: its body is there, number and tag are written.
    #[inline]
    pub(crate) fn seal(&mut self, layer: &mut [u8], addressed: bool) -> Result<(), WornOut> {
        if self.is_worn_out() {
            return Err(WornOut);
        }
        let field = field(self.start, self.next, addressed);
        self.next += 1;
        let (head, body) = layer.split_at_mut(LAYER_LEN);
        head[..NUMBER_LEN].copy_from_slice(&field.to_be_bytes());
        head[NUMBER_LEN..].copy_from_slice(&seal_body(&self.key, field, body));
        Ok(())
    }

    /// A key that has sealed `count` cells.
    #[cfg(test)]
    pub(crate) fn with_sealed(mut self, count: u64) -> Self {
        self.next = count;
        self
    }
}

/// Opens one hop's layer in one direction.
pub(crate) struct OpenKey {
    key: LessSafeKey,
    start: u64,
    window: ReplayWindow,
}

impl OpenKey {
    pub(crate) fn new(keys: &DirectionKeys) -> Self {
        Self { key: gcm(&keys.traffic), start: keys.start, window: ReplayWindow::new() }
    }

    /// Opens a layer in place. A layer that is refused may be left overwritten; the window knows nothing of it.
    #[inline]
    pub(crate) fn open(&mut self, layer: &mut [u8]) -> Result<Opened, OpenError> {
        let (head, body) = layer.split_at_mut(LAYER_LEN);
        let (mut field, mut tag) = ([0; NUMBER_LEN], [0; TAG_LEN]);
        field.copy_from_slice(&head[..NUMBER_LEN]);
        tag.copy_from_slice(&head[NUMBER_LEN..]);
        let field = u64::from_be_bytes(field);
        let distance = field.wrapping_sub(self.start);
        let opened = Opened { number: distance & !ADDRESSED, addressed: distance & ADDRESSED != 0 };
        if opened.number >= LAYER_CELLS_MAX {
            return Err(OpenError::Forged);
        }
        if !self.window.is_new(opened.number) {
            return Err(OpenError::Replayed);
        }
        let plain = self.key.open_in_place_separate_tag(nonce(field), Aad::empty(), &tag, body);
        plain.map_err(|_| OpenError::Forged)?;
        self.window.accept(opened.number);
        Ok(opened)
    }
}

#[inline]
fn seal_body(key: &LessSafeKey, field: u64, body: &mut [u8]) -> [u8; TAG_LEN] {
    let sealed = key.seal_in_place_separate_tag(nonce(field), Aad::empty(), body);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(sealed.expect("a region is far below the limit of AES-GCM").as_ref());
    tag
}

/// The number as it stands in front of a layer. Two cells of one key never have the same: numbers are below 2^28.
#[inline]
fn field(start: u64, number: u64, addressed: bool) -> u64 {
    start.wrapping_add(number | if addressed { ADDRESSED } else { 0 })
}

#[inline]
fn nonce(field: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&field.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests;
