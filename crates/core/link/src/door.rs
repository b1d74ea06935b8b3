//! Packets of the door: what strangers send and what they are answered, sealed under the door key
//! (docs/spec/link.md, "Door packets").
//!
//! ```text
//! message 1    | nonce 12 | sealed: cookie 16, first message 1296  | tag 16 | random P - 1340 |
//! message 2    | nonce 12 | sealed: second message 1152            | tag 16 | random P - 1180 |
//! cookie reply | nonce 12 | sealed: cookie 16                      | tag 16 | random P - 44   |
//! ```
//!
//! The random tail is associated data, so every byte of the packet is authenticated.

use crate::handshake::{EXTRA_MAX, FIRST_LEN, SECOND_LEN};
use crate::schedule::DayKeys;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use identity::DoorKey;
use rand_chacha::rand_core::Rng;
use std::borrow::Cow;
use wire::packet::TAG_LEN;

/// Bytes of a cookie.
pub(crate) const COOKIE_LEN: usize = 16;
/// Bytes of the Noise message in message 1.
pub(crate) const DOOR_FIRST_LEN: usize = FIRST_LEN + EXTRA_MAX;
/// Sealed bytes of message 1.
const MESSAGE_1_LEN: usize = COOKIE_LEN + DOOR_FIRST_LEN;
const NONCE_LEN: usize = 12;

/// A cookie: proves that its bearer gets packets at an address.
pub(crate) type Cookie = [u8; COOKIE_LEN];
/// The tag of a packet.
pub(crate) type Tag = [u8; TAG_LEN];

/// Message 1 without its disguise.
pub(crate) struct Message1 {
    /// The day whose key it was sealed with.
    pub(crate) day: u32,
    /// Zero when the sender has none.
    pub(crate) cookie: Cookie,
    /// The Noise message.
    pub(crate) first: [u8; DOOR_FIRST_LEN],
    /// Its tag, which a cookie reply refers to.
    pub(crate) tag: Tag,
}

/// Seals message 1 into `packet`; returns its tag.
pub(crate) fn seal_message_1(
    keys: &DayKeys,
    cookie: &Cookie,
    first: &[u8; DOOR_FIRST_LEN],
    rng: &mut impl Rng,
    packet: &mut [u8],
) -> Tag {
    seal(&keys.message_1, &[], &[cookie, first], rng, packet)
}

/// Opens message 1 if one of the days' keys fits.
pub(crate) fn open_message_1<'a>(days: impl Iterator<Item = &'a DayKeys>, packet: &[u8]) -> Option<Message1> {
    let mut plain = [0; MESSAGE_1_LEN];
    for keys in days {
        if let Some(tag) = open(&keys.message_1, &[], packet, &mut plain) {
            let mut message = Message1 { day: keys.day, cookie: [0; COOKIE_LEN], first: [0; DOOR_FIRST_LEN], tag };
            message.cookie.copy_from_slice(&plain[..COOKIE_LEN]);
            message.first.copy_from_slice(&plain[COOKIE_LEN..]);
            return Some(message);
        }
    }
    None
}

/// Seals message 2 into `packet`.
pub(crate) fn seal_message_2(keys: &DayKeys, second: &[u8; SECOND_LEN], rng: &mut impl Rng, packet: &mut [u8]) {
    seal(&keys.message_2, &[], &[second], rng, packet);
}

/// Opens message 2.
pub(crate) fn open_message_2(keys: &DayKeys, packet: &[u8]) -> Option<[u8; SECOND_LEN]> {
    let mut second = [0; SECOND_LEN];
    open(&keys.message_2, &[], packet, &mut second).map(|_| second)
}

/// Seals a cookie reply to the message 1 that had this tag.
pub(crate) fn seal_cookie(keys: &DayKeys, to: &Tag, cookie: &Cookie, rng: &mut impl Rng, packet: &mut [u8]) {
    seal(&keys.cookie_reply, to, &[cookie], rng, packet);
}

/// Opens a cookie reply to the message 1 that had this tag.
pub(crate) fn open_cookie(keys: &DayKeys, to: &Tag, packet: &[u8]) -> Option<Cookie> {
    let mut cookie = [0; COOKIE_LEN];
    open(&keys.cookie_reply, to, packet, &mut cookie).map(|_| cookie)
}

/// The keys of a door for the days about now.
pub(crate) struct DoorDays {
    door: DoorKey,
    /// The key of day d stands at d % 4: yesterday, today and tomorrow never meet.
    days: [Option<DayKeys>; 4],
}

impl DoorDays {
    pub(crate) fn new(door: DoorKey) -> Self {
        Self { door, days: [const { None }; 4] }
    }

    /// Makes the keys that are missing for `today` and one day either way.
    pub(crate) fn prepare(&mut self, today: u32) {
        for day in accepted_days(today) {
            let place = &mut self.days[(day % 4) as usize];
            if place.as_ref().is_none_or(|keys| keys.day != day) {
                *place = Some(DayKeys::derive(&self.door, day));
            }
        }
    }

    /// The prepared keys of the accepted days, today's first.
    pub(crate) fn accepted(&self, today: u32) -> impl Iterator<Item = &DayKeys> {
        accepted_days(today).into_iter().filter_map(|day| self.of(day))
    }

    /// The prepared keys of one day.
    pub(crate) fn of(&self, day: u32) -> Option<&DayKeys> {
        self.days[(day % 4) as usize].as_ref().filter(|keys| keys.day == day)
    }
}

/// The days whose message 1 is accepted, the likeliest first.
pub(crate) fn accepted_days(today: u32) -> [u32; 3] {
    [today, today.saturating_sub(1), today.saturating_add(1)]
}

fn seal(key: &LessSafeKey, context: &[u8], parts: &[&[u8]], rng: &mut impl Rng, packet: &mut [u8]) -> Tag {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let (head, rest) = packet.split_at_mut(NONCE_LEN);
    head.copy_from_slice(&nonce);
    let (body, rest) = rest.split_at_mut(length);
    let (tag_place, tail) = rest.split_at_mut(TAG_LEN);
    rng.fill_bytes(tail);
    let mut start = 0;
    for part in parts {
        body[start..start + part.len()].copy_from_slice(part);
        start += part.len();
    }
    let aad = associated(context, tail);
    let sealed = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, body);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(sealed.expect("a packet is far below the limit of AES-GCM").as_ref());
    tag_place.copy_from_slice(&tag);
    tag
}

fn open(key: &LessSafeKey, context: &[u8], packet: &[u8], plain: &mut [u8]) -> Option<Tag> {
    let (nonce, rest) = packet.split_first_chunk::<NONCE_LEN>()?;
    let (body, rest) = rest.split_at_checked(plain.len())?;
    let (tag, tail) = rest.split_first_chunk::<TAG_LEN>()?;
    let aad = associated(context, tail);
    key.open_separate_gather(Nonce::assume_unique_for_key(*nonce), aad, body, tag, plain).ok()?;
    Some(*tag)
}

fn associated<'a>(context: &[u8], tail: &'a [u8]) -> Aad<Cow<'a, [u8]>> {
    let joined = if context.is_empty() { Cow::Borrowed(tail) } else { Cow::Owned([context, tail].concat()) };
    Aad::from(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use wire::packet::PacketSize;

    fn keys(day: u32) -> DayKeys {
        DayKeys::derive(&DoorKey::from_bytes([1; 32]), day)
    }

    #[test]
    fn message_1_needs_exactly_the_smallest_packet() {
        assert_eq!(NONCE_LEN + MESSAGE_1_LEN + TAG_LEN, usize::from(PacketSize::MIN));
    }

    #[test]
    fn every_kind_survives_a_round_trip_and_no_flipped_bit() {
        for size in [1340, 1350, 1452] {
            let mut rng = ChaCha20Rng::from_seed([3; 32]);
            let (day, mut packet) = (keys(20_000), vec![0; size]);
            let tag = seal_message_1(&day, &[5; 16], &[6; DOOR_FIRST_LEN], &mut rng, &mut packet);
            let opened = open_message_1([&day].into_iter(), &packet).expect("message 1");
            assert_eq!((opened.day, opened.cookie, opened.first[0], opened.tag), (20_000, [5; 16], 6, tag));
            for place in 0..size {
                packet[place] ^= 0x10;
                assert!(open_message_1([&day].into_iter(), &packet).is_none(), "byte {place}");
                packet[place] ^= 0x10;
            }
            seal_message_2(&day, &[7; SECOND_LEN], &mut rng, &mut packet);
            assert_eq!(open_message_2(&day, &packet), Some([7; SECOND_LEN]));
            assert!(open_message_1([&day].into_iter(), &packet).is_none(), "kinds do not mix");
            for place in 0..size {
                packet[place] ^= 0x10;
                assert_eq!(open_message_2(&day, &packet), None, "byte {place}");
                packet[place] ^= 0x10;
            }
            seal_cookie(&day, &tag, &[8; 16], &mut rng, &mut packet);
            assert_eq!(open_cookie(&day, &tag, &packet), Some([8; 16]));
            assert_eq!(open_cookie(&day, &[0; 16], &packet), None, "an answer to another message");
            packet[size - 1] ^= 1;
            assert_eq!(open_cookie(&day, &tag, &packet), None);
        }
    }

    /// The values of docs/spec/link.md, "Test vectors"; made once by an independent implementation.
    #[test]
    fn the_day_keys_are_those_of_the_specification() {
        use packet_crypto::keys::gcm;
        let derived = DayKeys::derive(&DoorKey::from_bytes([0x33; 32]), 20_000);
        let expected: [(&LessSafeKey, u128); 3] = [
            (&derived.message_1, 0xc62b_1b3c_6baf_1307_012a_4ce6_2cab_13ac),
            (&derived.message_2, 0x7901_3758_14c2_d113_8f13_2b3b_7a48_207b),
            (&derived.cookie_reply, 0xad7a_aa27_9f43_8358_e61f_8b12_eb4f_5801),
        ];
        for (key, expected) in expected {
            let tag = |key: &LessSafeKey| {
                let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut [0; 4]).expect("a short message");
                tag.as_ref().to_vec()
            };
            assert_eq!(tag(key), tag(&gcm(&expected.to_be_bytes())));
        }
    }

    #[test]
    fn a_door_accepts_one_day_either_way() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut days = DoorDays::new(DoorKey::from_bytes([1; 32]));
        days.prepare(20_000);
        for (day, accepted) in [(19_998, false), (19_999, true), (20_000, true), (20_001, true), (20_002, false)] {
            let mut packet = vec![0; 1350];
            seal_message_1(&keys(day), &[0; 16], &[6; DOOR_FIRST_LEN], &mut rng, &mut packet);
            assert_eq!(
                open_message_1(days.accepted(20_000), &packet).map(|opened| opened.day),
                accepted.then_some(day)
            );
        }
        days.prepare(20_001);
        assert!(days.of(19_999).is_none_or(|keys| keys.day == 19_999));
        assert_eq!(days.accepted(20_001).count(), 3);
    }
}
