//! One generation of a link's keys: seals and opens whole packets in place (docs/spec/link.md, "Packet").

mod indices;

use crate::schedule::{DirectionKeys, HeaderMask, Role};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use indices::Indices;
use packet_crypto::keys::{RawKeys, gcm};
use packet_crypto::window::ReplayWindow;
use port_hopping::HopSecret;
use wire::packet::{HEADER_LEN, TAG_LEN};

/// Packets that one key seals at most: AES-GCM's confidentiality bound for packets below 2^11 bytes (RFC 9001, B.1).
pub(crate) const SEAL_LIMIT: u64 = 1 << 28;

/// The key has sealed [`SEAL_LIMIT`] packets; only a new handshake helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WornOut;

/// Why a packet with a known index was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// Its counter was accepted before or is behind the window.
    Replayed,
    /// It is not what the peer sealed.
    Forged,
}

/// A counter that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The packet's counter.
    pub(crate) counter: u64,
    /// True when no packet of this key with a higher counter came before.
    pub(crate) newest: bool,
}

/// Where a link's hops stand when keys are made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hopping {
    /// This node has no hops: one index.
    Off,
    /// At this hop.
    At(u64),
}

/// The keys of both directions of one handshake.
pub(crate) struct KeySet {
    send: SendKey,
    receive: ReceiveKey,
    hop_secret: HopSecret,
}

struct SendKey {
    indices: Indices,
    index_mask: HeaderMask,
    counter_mask: HeaderMask,
    key: LessSafeKey,
    counter: u64,
}

struct ReceiveKey {
    indices: Indices,
    counter_mask: HeaderMask,
    key: LessSafeKey,
    window: ReplayWindow,
}

impl KeySet {
    /// `index_mask` is that of the responder's door key, whoever `role` is.
    pub(crate) fn new(raw: &RawKeys, role: Role, index_mask: &HeaderMask, hopping: Hopping) -> Self {
        let (own, peer) = match role {
            Role::Initiator => (Role::Initiator, Role::Responder),
            Role::Responder => (Role::Responder, Role::Initiator),
        };
        let (send, receive) = (DirectionKeys::derive(raw, own), DirectionKeys::derive(raw, peer));
        let of_responder = if role == Role::Responder { &send } else { &receive };
        let hop_secret = HopSecret::of_link(&of_responder.port);
        Self {
            send: SendKey {
                indices: Indices::new(send.indices(), hopping),
                index_mask: index_mask.clone(),
                counter_mask: HeaderMask::new(&send.mask),
                key: gcm(&send.traffic),
                counter: 0,
            },
            receive: ReceiveKey {
                indices: Indices::new(receive.indices(), hopping),
                counter_mask: HeaderMask::new(&receive.mask),
                key: gcm(&receive.traffic),
                window: ReplayWindow::new(),
            },
            hop_secret,
        }
    }

    /// The indices that the peer may put into packets for this key: one, or with hops those of the hop that the keys
    /// stand at and its two neighbours.
    pub(crate) fn receive_indices(&self) -> impl Iterator<Item = u64> + use<> {
        self.receive.indices.iter()
    }

    /// The hop that a packet with this index was made for, if it is one for these keys.
    #[inline]
    pub(crate) fn hop_of(&self, index: u64) -> Option<u64> {
        self.receive.indices.hop_of(index)
    }

    /// The hop that the keys stand at.
    pub(crate) fn hop(&self) -> u64 {
        self.receive.indices.hop()
    }

    /// Moves the keys to another hop: [`KeySet::receive_indices`] are others after it.
    pub(crate) fn move_to_hop(&mut self, hop: u64) {
        self.send.indices.move_to(hop);
        self.receive.indices.move_to(hop);
    }

    /// What makes the ports of the link's hops.
    pub(crate) fn hop_secret(&self) -> &HopSecret {
        &self.hop_secret
    }

    /// Packets sealed so far.
    pub(crate) fn sealed(&self) -> u64 {
        self.send.counter
    }

    /// The lowest counter above all that were opened.
    pub(crate) fn opened_end(&self) -> u64 {
        self.receive.window.end()
    }

    /// Seals a whole packet for a hop in place: its body is plain, header and tag are written.
    #[inline]
    pub(crate) fn seal(&mut self, hop: u64, packet: &mut [u8]) -> Result<(), WornOut> {
        let send = &mut self.send;
        let counter = send.counter;
        if counter >= SEAL_LIMIT {
            return Err(WornOut);
        }
        send.counter += 1;
        let (header, rest) = packet.split_at_mut(HEADER_LEN);
        let (body, tail) = rest.split_at_mut(rest.len() - TAG_LEN);
        let index = send.indices.of_hop(hop);
        let tag = seal_body(&send.key, index, counter, body);
        tail.copy_from_slice(&tag);
        header[..8].copy_from_slice(&(index ^ send.index_mask.word(&tag)).to_be_bytes());
        header[8..].copy_from_slice(&(counter ^ send.counter_mask.word(&tag)).to_be_bytes());
        Ok(())
    }

    /// Opens a packet whose index, one of [`KeySet::receive_indices`], is `index`: decrypts the body in place.
    /// A packet that is refused may be left overwritten.
    #[inline]
    pub(crate) fn open(&mut self, index: u64, tag: &[u8; TAG_LEN], packet: &mut [u8]) -> Result<Opened, OpenError> {
        let receive = &mut self.receive;
        let (header, rest) = packet.split_at_mut(HEADER_LEN);
        let (body, _) = rest.split_at_mut(rest.len() - TAG_LEN);
        let mut masked = [0; 8];
        masked.copy_from_slice(&header[8..]);
        let counter = u64::from_be_bytes(masked) ^ receive.counter_mask.word(tag);
        if counter >= SEAL_LIMIT {
            return Err(OpenError::Forged);
        }
        if !receive.window.is_new(counter) {
            return Err(OpenError::Replayed);
        }
        let clear = clear_header(index, counter);
        let opened = receive.key.open_in_place_separate_tag(nonce(counter), clear, tag, body);
        opened.map_err(|_| OpenError::Forged)?;
        Ok(Opened { counter, newest: receive.window.accept(counter) })
    }

    /// A key set that has sealed `counter` packets.
    #[cfg(test)]
    pub(crate) fn with_sealed(mut self, counter: u64) -> Self {
        self.send.counter = counter;
        self
    }
}

#[inline]
fn seal_body(key: &LessSafeKey, index: u64, counter: u64, body: &mut [u8]) -> [u8; TAG_LEN] {
    let sealed = key.seal_in_place_separate_tag(nonce(counter), clear_header(index, counter), body);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(sealed.expect("a packet is far below the limit of AES-GCM").as_ref());
    tag
}

/// The associated data: index and counter as they are before they are masked.
#[inline]
fn clear_header(index: u64, counter: u64) -> Aad<[u8; HEADER_LEN]> {
    let mut clear = [0; HEADER_LEN];
    clear[..8].copy_from_slice(&index.to_be_bytes());
    clear[8..].copy_from_slice(&counter.to_be_bytes());
    Aad::from(clear)
}

#[inline]
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests;
