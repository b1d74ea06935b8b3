//! Who may open a record: everybody who knows the address, or up to sixteen clients. Whoever stores the record sees neither which,
//! nor how many.

use super::{AccessKeyError, CLIENTS_MAX, SALT_LEN};
use crate::day::DayKey;
use crate::once;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use identity::{AccessKey, AccessSecret};
use network_document::encoding::{ReadError, Reader, WriteBytes};
use packet_crypto::keys::{TAG_LEN, expand, kem_psk, sha256};
use zeroize::Zeroizing;

/// Places for clients. All are there in each record; those that are not taken are random.
pub(super) const ENTRIES: usize = 16;
const ENTRY_LEN: usize = 32 + TAG_LEN;
/// Bytes of the whole section.
pub(super) const SECTION_LEN: usize = 1 + 32 + 32 + ENTRIES * ENTRY_LEN;
const OPEN: u8 = 0;
const CLOSED: u8 = 1;

/// The section of a record, as it was read.
pub(super) enum Access<'a> {
    /// The cookie is in clear.
    Open(Zeroizing<[u8; 32]>),
    /// It is sealed for each client.
    Closed(List<'a>),
}

/// The sealed cookies.
pub(super) struct List<'a> {
    ephemeral: [u8; 32],
    entries: &'a [u8],
}

/// Writes the section: the cookie in clear for an empty list, else once for each of `clients`.
pub(super) fn section(
    cookie: &[u8; 32],
    day: &DayKey,
    salt: &[u8; SALT_LEN],
    clients: &[AccessKey],
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<Vec<u8>, AccessKeyError> {
    let mut random_array = [0; 32];
    random(&mut random_array);
    let ephemeral = AccessSecret::from_bytes(random_array);
    let mut entries = Vec::with_capacity(ENTRIES);
    for client in clients.iter().take(CLIENTS_MAX) {
        let key = entry_key(ephemeral.expose(), &client.0, &ephemeral.access_key().0, &client.0, day, salt);
        let (key, mut entry) = (key.ok_or(AccessKeyError)?, cookie.to_vec());
        once::seal(&key, &mut entry);
        entries.push(entry);
    }
    while entries.len() < ENTRIES {
        let mut entry = vec![0; ENTRY_LEN];
        random(&mut entry);
        entries.push(entry);
    }
    // All look random; in this order a client's place says nothing about how many there are.
    entries.sort();
    let mut section = Vec::with_capacity(SECTION_LEN);
    let mut hidden = Zeroizing::new([0; 32]);
    random(&mut *hidden);
    section.u8(if clients.is_empty() { OPEN } else { CLOSED });
    section.raw(if clients.is_empty() { cookie.as_slice() } else { hidden.as_slice() });
    section.raw(&ephemeral.access_key().0);
    section.raw(&entries.concat());
    Ok(section)
}

/// True for a key with which an agreement is possible.
pub(crate) fn is_usable(client: &AccessKey) -> bool {
    shared(&[1; 32], &client.0).is_some()
}

impl<'a> Access<'a> {
    pub(super) fn read(section: &'a [u8; SECTION_LEN]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(section);
        let kind = reader.u8()?;
        let cookie = Zeroizing::new(reader.array()?);
        match kind {
            OPEN => Ok(Self::Open(cookie)),
            CLOSED => Ok(Self::Closed(List { ephemeral: reader.array()?, entries: reader.remaining() })),
            _ => Err(ReadError::Range),
        }
    }
}

impl List<'_> {
    /// The cookie, if this client is on the list.
    pub(super) fn find(
        &self,
        secret: &AccessSecret,
        day: &DayKey,
        salt: &[u8; SALT_LEN],
    ) -> Option<Zeroizing<[u8; 32]>> {
        let client = secret.access_key().0;
        let key = entry_key(secret.expose(), &self.ephemeral, &self.ephemeral, &client, day, salt)?;
        let opened = self.entries.chunks_exact(ENTRY_LEN).find_map(|entry| once::open(&key, entry))?;
        opened.as_slice().try_into().ok().map(Zeroizing::new)
    }
}

/// The key of a client's entry, from either side of the agreement.
fn entry_key(
    own: &[u8; 32],
    peer: &[u8; 32],
    ephemeral: &[u8; 32],
    client: &[u8; 32],
    day: &DayKey,
    salt: &[u8; SALT_LEN],
) -> Option<Zeroizing<[u8; 16]>> {
    let shared = shared(own, peer)?;
    let keys = sha256(&[ephemeral.as_slice(), client].concat());
    let context = [day.subcredential().as_slice(), salt].concat();
    let key = kem_psk(b"hushwire service record 1 access", &*shared, &keys, &context);
    Some(expand(&key, &[b"hushwire service record 1 entry"]))
}

/// X25519; `None` for a key of small order.
fn shared(own: &[u8; 32], peer: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let own = PrivateKey::from_private_key(&X25519, own).ok()?;
    agree(&own, UnparsedPublicKey::new(&X25519, peer), (), |secret| {
        secret.try_into().map(Zeroizing::new).map_err(|_| ())
    })
    .ok()
}
