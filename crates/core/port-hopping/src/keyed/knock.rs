//! The knock and its answer: datagrams that only the key tells from random bytes.
//!
//! ```text
//! knock  | nonce 12 | mark 4 | sealed: flow 8, purpose 1, number 8, zeros                       | tag 16 |  64 to 256 bytes
//! answer | nonce 12 | mark 4 | sealed: nonce of the knock 12, unix ms 8, received 6, sent 6, zeros | tag 16 |  64 to the knock's
//! ```

use super::schedule::Window;
use crate::secret::expand;
use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use identity::HopKey;
use rand_chacha::rand_core::Rng;
use std::fmt;
use std::time::Duration;

/// Shortest knock.
pub const KNOCK_LEN_MIN: usize = 64;
/// Longest knock. Longer datagrams are user packets without a look at them.
pub const KNOCK_LEN_MAX: usize = 256;
/// Shortest answer; the longest has the length of the knock, so nobody gains by spoofed knocks.
pub const ANSWER_LEN_MIN: usize = HEAD_LEN + ANSWER_BODY_LEN + TAG_LEN;

const MARK_LEN: usize = 4;
const HEAD_LEN: usize = NONCE_LEN + MARK_LEN;
const TAG_LEN: usize = 16;
const KNOCK_BODY_LEN: usize = 17;
const COUNT_LEN: usize = 6;
const ANSWER_BODY_LEN: usize = 20 + 2 * COUNT_LEN;

/// Names one local program's flow towards the server, through all its ports. Drawn at random by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub [u8; 8]);

impl FlowId {
    /// Draws a name.
    pub fn draw(rng: &mut impl Rng) -> Self {
        Self(rng.next_u64().to_be_bytes())
    }
}

/// What a client wants with a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Let packets of this pair through and say so; answers of the target stay on the pair they are on.
    Try,
    /// The same, and send the target's answers on this pair from here on.
    Take,
    /// Only say how many packets have passed on this pair, which passes already. The number is never 0 and rises from
    /// each such knock on a pair to the next: what is not above the last one is a replay.
    Count(u64),
}

impl Purpose {
    fn to_fields(self) -> (u8, u64) {
        match self {
            Self::Try => (0, 0),
            Self::Take => (1, 0),
            Self::Count(number) => (2, number),
        }
    }

    fn from_fields(purpose: u8, number: u64) -> Option<Self> {
        match (purpose, number) {
            (0, 0) => Some(Self::Try),
            (1, 0) => Some(Self::Take),
            (2, 1..) => Some(Self::Count(number)),
            _ => None,
        }
    }
}

/// Packets of the program that a server has counted on one pair since it lets it pass, knocks and answers not among them.
/// Counts wrap at 2^48 on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PairCounts {
    /// Those that came.
    pub received: u64,
    /// Those of the target that were sent.
    pub sent: u64,
}

/// What a knock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knock {
    /// Whose packets come on this pair.
    pub flow: FlowId,
    /// What for.
    pub purpose: Purpose,
}

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The server's clock when it answered, whole milliseconds since 1970 UTC.
    pub server_unix: Duration,
    /// What has passed on the pair before the knock.
    pub counts: PairCounts,
}

/// The first bytes of a knock: what its answer repeats, and what a replay is known by.
pub type KnockNonce = [u8; NONCE_LEN];

/// A knock that is ready to be sent, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKnock {
    /// The datagram.
    pub datagram: Vec<u8>,
    /// The window under whose key it is sealed.
    pub window: Window,
    nonce: KnockNonce,
}

/// The keys of one window and the mark that belongs to all.
///
/// A packet of a user is taken for a knock if its mark and its 16-byte tag are right by chance. For one packet that has
/// a probability of 2^-32 x 2^-128 (per window that is tried, three of them); it would be swallowed, nothing worse.
/// Marks and tags are compared in constant time.
pub struct KnockKeys {
    key: HopKey,
    mark: Aes128,
    /// Keys of the windows around the newest one that was asked for, so that none is made for each datagram.
    cached: Vec<WindowKeys>,
}

struct WindowKeys {
    window: Window,
    knock: LessSafeKey,
    answer: LessSafeKey,
}

impl KnockKeys {
    /// The keys that both ends make of the shared key.
    pub fn new(key: &HopKey) -> Self {
        let mark = expand(key, &[b"hushwire hop 1 mark"]);
        Self { key: key.clone(), mark: Aes128::new((&*mark).into()), cached: Vec::new() }
    }

    /// Seals a knock under the key of the present window, with a length drawn between the two limits.
    pub fn seal_knock(&mut self, unix: Duration, knock: Knock, rng: &mut impl Rng) -> SealedKnock {
        let window = Window::at(unix);
        let mut body = [0; KNOCK_BODY_LEN];
        let (purpose, number) = knock.purpose.to_fields();
        body[..8].copy_from_slice(&knock.flow.0);
        body[8] = purpose;
        body[9..].copy_from_slice(&number.to_be_bytes());
        let length = length_between(KNOCK_LEN_MIN, KNOCK_LEN_MAX, rng);
        let (mark, keys) = self.of_window(window);
        let (datagram, nonce) = seal(&mark, &keys.knock, &body, length, rng);
        SealedKnock { datagram, window, nonce }
    }

    /// The knock in a datagram, the window of its key and its nonce; `None` for everything else. Costs a block of AES
    /// for user packets. A replay is for [`super::Replays`] to find.
    pub fn open_knock(&mut self, unix: Duration, datagram: &[u8]) -> Option<(Knock, Window, KnockNonce)> {
        if !(KNOCK_LEN_MIN..=KNOCK_LEN_MAX).contains(&datagram.len()) || !has_mark(&self.mark, datagram) {
            return None;
        }
        let [before, now, after] = Window::at(unix).accepted();
        for window in [now, before, after] {
            let (_, keys) = self.of_window(window);
            let Some(body) = open(&keys.knock, datagram) else { continue };
            let (fields, zeros) = body.split_first_chunk::<KNOCK_BODY_LEN>()?;
            let number = u64::from_be_bytes(fields[9..].try_into().expect("8 of 17 bytes"));
            let purpose = Purpose::from_fields(fields[8], number)?;
            if zeros.iter().any(|byte| *byte != 0) {
                return None;
            }
            let flow = FlowId(fields[..8].try_into().expect("8 of 17 bytes"));
            let nonce = datagram[..NONCE_LEN].try_into().expect("longer than a nonce");
            return Some((Knock { flow, purpose }, window, nonce));
        }
        None
    }

    /// Seals the answer to a knock of `knock_len` bytes, no longer than the knock.
    pub fn seal_answer(
        &mut self,
        unix: Duration,
        (window, nonce): (Window, KnockNonce),
        knock_len: usize,
        counts: PairCounts,
        rng: &mut impl Rng,
    ) -> Vec<u8> {
        let mut body = [0; ANSWER_BODY_LEN];
        body[..NONCE_LEN].copy_from_slice(&nonce);
        let millis = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        body[NONCE_LEN..][..8].copy_from_slice(&millis.to_be_bytes());
        for (place, count) in body[NONCE_LEN + 8..].chunks_exact_mut(COUNT_LEN).zip([counts.received, counts.sent]) {
            place.copy_from_slice(&count.to_be_bytes()[2..]);
        }
        let longest = knock_len.clamp(ANSWER_LEN_MIN, KNOCK_LEN_MAX);
        let length = length_between(ANSWER_LEN_MIN, longest, rng);
        let (mark, keys) = self.of_window(window);
        seal(&mark, &keys.answer, &body, length, rng).0
    }

    /// The answer in a datagram, if it answers exactly this knock; `None` for everything else.
    pub fn open_answer(&mut self, knock: &SealedKnock, datagram: &[u8]) -> Option<Answer> {
        if !(ANSWER_LEN_MIN..=KNOCK_LEN_MAX).contains(&datagram.len()) || !has_mark(&self.mark, datagram) {
            return None;
        }
        let (_, keys) = self.of_window(knock.window);
        let body = open(&keys.answer, datagram)?;
        let (fields, zeros) = body.split_first_chunk::<ANSWER_BODY_LEN>()?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (nonce, rest) = fields.split_at(NONCE_LEN);
        let (millis, counts) = rest.split_at(8);
        let (received, sent) = counts.split_at(COUNT_LEN);
        let counts = PairCounts { received: number(received), sent: number(sent) };
        let good = nonce == knock.nonce && zeros.iter().all(|byte| *byte == 0);
        good.then(|| Answer { server_unix: Duration::from_millis(number(millis)), counts })
    }

    /// Forgets the keys of windows: they are made again when a knock needs them. For a client, which knocks rarely.
    pub(crate) fn forget_windows(&mut self) {
        self.cached = Vec::new();
    }

    /// The keys of a window. Those of five windows are kept; when a sixth is asked for, the farthest goes.
    fn of_window(&mut self, window: Window) -> (Aes128, &WindowKeys) {
        const CACHED_MAX: usize = 5;
        let at = match self.cached.iter().position(|keys| keys.window == window) {
            Some(at) => at,
            None => {
                if self.cached.len() == CACHED_MAX {
                    let far = |at: &usize| self.cached[*at].window.0.abs_diff(window.0);
                    let farthest = (0..CACHED_MAX).max_by_key(far).unwrap_or_default();
                    self.cached.swap_remove(farthest);
                }
                self.cached.push(WindowKeys::derive(&self.key, window));
                self.cached.len() - 1
            }
        };
        (self.mark.clone(), &self.cached[at])
    }
}

impl fmt::Debug for KnockKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnockKeys(..)")
    }
}

impl WindowKeys {
    fn derive(key: &HopKey, window: Window) -> Self {
        let gcm = |label: &[u8]| {
            let key = expand(key, &[label, &window.0.to_be_bytes()]);
            LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &*key).expect("16 bytes are an AES-128-GCM key"))
        };
        Self { window, knock: gcm(b"hushwire hop 1 knock"), answer: gcm(b"hushwire hop 1 answer") }
    }
}

/// A length from `min` to `max`, each as likely.
fn length_between(min: usize, max: usize, rng: &mut impl Rng) -> usize {
    let span = u64::try_from(max - min).expect("at most 256") + 1;
    min + usize::try_from((u64::from(rng.next_u32()) * span) >> 32).expect("below the span")
}

fn seal(mark: &Aes128, key: &LessSafeKey, body: &[u8], length: usize, rng: &mut impl Rng) -> (Vec<u8>, KnockNonce) {
    let mut datagram = vec![0; length];
    let (head, rest) = datagram.split_at_mut(HEAD_LEN);
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    head[..NONCE_LEN].copy_from_slice(&nonce);
    head[NONCE_LEN..].copy_from_slice(&mark_of(mark, &nonce));
    rest[..body.len()].copy_from_slice(body);
    let end = rest.len() - TAG_LEN;
    let (sealed, place) = rest.split_at_mut(end);
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*head), sealed);
    place.copy_from_slice(tag.expect("a short message under a good key").as_ref());
    (datagram, nonce)
}

/// The body; the caller has seen to the length and the mark.
fn open(key: &LessSafeKey, datagram: &[u8]) -> Option<Vec<u8>> {
    let (head, sealed) = datagram.split_at(HEAD_LEN);
    let nonce = Nonce::try_assume_unique_for_key(&head[..NONCE_LEN]).ok()?;
    let mut body = sealed.to_vec();
    let length = key.open_in_place(nonce, Aad::from(head), &mut body).ok()?.len();
    body.truncate(length);
    Some(body)
}

fn has_mark(mark: &Aes128, datagram: &[u8]) -> bool {
    let nonce = datagram[..NONCE_LEN].try_into().expect("longer than a nonce");
    verify_slices_are_equal(&mark_of(mark, &nonce), &datagram[NONCE_LEN..HEAD_LEN]).is_ok()
}

/// The first bytes of AES(mark key, nonce | 4 zero bytes).
fn mark_of(mark: &Aes128, nonce: &KnockNonce) -> [u8; MARK_LEN] {
    let mut block = aes::Block::default();
    block[..NONCE_LEN].copy_from_slice(nonce);
    mark.encrypt_block(&mut block);
    block[..MARK_LEN].try_into().expect("4 of 16 bytes")
}

#[cfg(test)]
impl KnockKeys {
    /// Of how many windows there are keys.
    pub(crate) fn cached_windows(&self) -> usize {
        self.cached.len()
    }
}

#[cfg(test)]
mod tests;
