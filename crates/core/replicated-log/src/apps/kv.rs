//! Keys and values with versions: put, delete, compare and set, watch.

use super::{App, Context, Notice, Output, RestoreError};
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use std::collections::BTreeMap;
use wire::encoding::{ReadError, Reader, WriteBytes};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 512;

/// Longest value, in bytes, so that an answer can hold it.
const VALUE_BYTES_MAX: usize = 960;

/// Keys and values together may have so many bytes; a put beyond is answered with [`KvResult::Full`].
const STATE_BYTES_MAX: usize = 64 << 20;

/// What each key costs beside its bytes.
const KEY_COST_BYTES: usize = 64;

/// The application.
#[derive(Clone, Debug, Default)]
pub struct Kv {
    values: BTreeMap<Vec<u8>, Value>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Value {
    /// Counts the changes of the key, from 1; it goes on over deletions.
    version: u64,
    data: Option<Vec<u8>>,
}

/// What to do with a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KvRequest {
    /// Which; at most 512 bytes.
    pub key: Vec<u8>,
    /// Only if the key's version is this one; 0 for a key that never was.
    pub if_version: Option<u64>,
    /// The new value, at most 960 bytes; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KvResult {
    /// Done; the key has this version.
    Done {
        /// The key's version.
        version: u64,
    },
    /// The key had another version: nothing was changed.
    Differs {
        /// The key's version.
        version: u64,
        /// Its value.
        value: Option<Vec<u8>>,
    },
    /// There is no room.
    Full,
    /// The request makes no sense.
    Bad,
}

impl KvRequest {
    /// The body of an entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.bytes(&self.key);
        out.u8(u8::from(self.if_version.is_some()));
        out.u64(self.if_version.unwrap_or_default());
        write_value(self.value.as_deref(), &mut out);
        out
    }

    fn decode(body: &[u8]) -> Result<Self, ReadError> {
        let mut input = Reader::new(body);
        let key = input.bytes(CHECKPOINT_BYTES_MAX)?.to_vec();
        let (conditional, version) = (input.flag()?, input.u64()?);
        let value = read_value(&mut input)?;
        input.end()?;
        if key.len() > KEY_BYTES_MAX || value.as_ref().is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(ReadError::Long);
        }
        Ok(Self { key, if_version: conditional.then_some(version), value })
    }
}

impl KvResult {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Done { version } => {
                out.u8(0);
                out.u64(*version);
            }
            Self::Differs { version, value } => {
                out.u8(1);
                out.u64(*version);
                write_value(value.as_deref(), &mut out);
            }
            Self::Full => out.u8(2),
            Self::Bad => out.u8(3),
        }
        out
    }

    /// From an answer; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Reader::new(bytes);
        let result = match input.u8().ok()? {
            0 => Self::Done { version: input.u64().ok()? },
            1 => Self::Differs { version: input.u64().ok()?, value: read_value(&mut input).ok()? },
            2 => Self::Full,
            3 => Self::Bad,
            _ => return None,
        };
        input.end().is_ok().then_some(result)
    }
}

impl Kv {
    /// The keys that have a value, in their order: key, version, value.
    pub fn values(&self) -> impl Iterator<Item = (&[u8], u64, &[u8])> {
        self.values.iter().filter_map(move |(key, value)| Some((key.as_slice(), value.version, value.data.as_deref()?)))
    }

    /// The value of a notice's body; `None` inside when the key lost its value, outside when it is no such body.
    pub fn noticed(body: &[u8]) -> Option<Option<Vec<u8>>> {
        let mut input = Reader::new(body);
        let value = read_value(&mut input).ok()?;
        input.end().is_ok().then_some(value)
    }

    fn change(&mut self, request: KvRequest) -> (KvResult, Option<Notice>) {
        let present = self.values.get(&request.key);
        let version = present.map_or(0, |value| value.version);
        let old = present.and_then(|value| value.data.clone());
        if request.if_version.is_some_and(|wanted| wanted != version) {
            return (KvResult::Differs { version, value: old }, None);
        }
        let cost = |data: Option<&Vec<u8>>| data.map_or(0, Vec::len);
        let key_cost = if present.is_some() { 0 } else { request.key.len() + KEY_COST_BYTES };
        let after = self.bytes + key_cost + cost(request.value.as_ref()) - cost(old.as_ref());
        if after > STATE_BYTES_MAX {
            return (KvResult::Full, None);
        }
        self.bytes = after;
        let mut body = Vec::new();
        write_value(request.value.as_deref(), &mut body);
        let notice = Notice { channel: request.key.clone(), sequence: version, body };
        self.values.insert(request.key, Value { version: version + 1, data: request.value });
        (KvResult::Done { version: version + 1 }, Some(notice))
    }
}

impl App for Kv {
    /// The body is a [`KvRequest`], the answer a [`KvResult`]. Each change is a notice on the channel of its key.
    fn apply(&mut self, _: Context, body: &[u8]) -> Output {
        let Ok(request) = KvRequest::decode(body) else { return Output::answer(KvResult::Bad.encode()) };
        let (result, notice) = self.change(request);
        Output { result: result.encode(), notices: notice.into_iter().collect() }
    }

    /// The request is a key; the answer a [`KvResult::Differs`] with its version and value.
    fn query(&self, key: &[u8]) -> Vec<u8> {
        let value = self.values.get(key);
        let version = value.map_or(0, |value| value.version);
        KvResult::Differs { version, value: value.and_then(|value| value.data.clone()) }.encode()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in &self.values {
            out.bytes(key);
            out.u64(value.version);
            write_value(value.data.as_deref(), &mut out);
        }
        out
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        *self = Self::default();
        let mut input = Reader::new(bytes);
        while !input.remaining().is_empty() {
            let mut read = || {
                let key = input.bytes(CHECKPOINT_BYTES_MAX)?.to_vec();
                Ok::<_, ReadError>((key, Value { version: input.u64()?, data: read_value(&mut input)? }))
            };
            let (key, value) = read().map_err(|_| RestoreError)?;
            self.bytes += key.len() + KEY_COST_BYTES + value.data.as_ref().map_or(0, Vec::len);
            self.values.insert(key, value);
        }
        Ok(())
    }
}

fn write_value(value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.u8(u8::from(value.is_some()));
    out.bytes(value.unwrap_or_default());
}

fn read_value(input: &mut Reader<'_>) -> Result<Option<Vec<u8>>, ReadError> {
    let there = input.flag()?;
    let data = input.bytes(CHECKPOINT_BYTES_MAX)?.to_vec();
    if there {
        Ok(Some(data))
    } else if data.is_empty() {
        Ok(None)
    } else {
        Err(ReadError::Long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Offset, SessionId};

    fn ask(kv: &mut Kv, key: &[u8], if_version: Option<u64>, value: Option<&[u8]>) -> (KvResult, Vec<Notice>) {
        let context = Context { offset: Offset(0), log_time_ms: 0, session: SessionId::new(1).expect("not 0") };
        let request = KvRequest { key: key.to_vec(), if_version, value: value.map(<[u8]>::to_vec) };
        let output = kv.apply(context, &request.encode());
        (KvResult::decode(&output.result).expect("an answer"), output.notices)
    }

    #[test]
    fn of_two_who_compare_and_set_one_wins() {
        let mut kv = Kv::default();
        assert_eq!(ask(&mut kv, b"leader", Some(0), Some(b"ann")).0, KvResult::Done { version: 1 });
        let lost = KvResult::Differs { version: 1, value: Some(b"ann".to_vec()) };
        assert_eq!(ask(&mut kv, b"leader", Some(0), Some(b"bob")), (lost.clone(), Vec::new()));
        assert_eq!(KvResult::decode(&kv.query(b"leader")), Some(lost));
    }

    #[test]
    fn watchers_see_every_change_in_order_and_over_deletions() {
        let mut kv = Kv::default();
        let changes = [Some(&b"1"[..]), None, Some(b"3")].map(|value| ask(&mut kv, b"k", None, value).1.remove(0));
        assert_eq!(changes.map(|notice| notice.sequence), [0, 1, 2]);
    }

    #[test]
    fn the_state_comes_back() {
        let mut kv = Kv::default();
        for key in 0..50_u8 {
            ask(&mut kv, &[key], None, (key % 3 != 0).then_some(&[key; 9][..]));
        }
        let mut copy = Kv::default();
        copy.restore(&kv.snapshot()).expect("its own state");
        assert_eq!((copy.snapshot(), copy.bytes), (kv.snapshot(), kv.bytes));
        assert_eq!(copy.restore(&kv.snapshot()[1..]), Err(RestoreError));
    }

    #[test]
    fn nonsense_and_too_long_are_answered() {
        let mut kv = Kv::default();
        let context = Context { offset: Offset(0), log_time_ms: 0, session: SessionId::new(1).expect("not 0") };
        assert_eq!(kv.apply(context, b"?"), Output::answer(KvResult::Bad.encode()));
        assert_eq!(ask(&mut kv, b"k", None, Some(&[0; VALUE_BYTES_MAX + 1])).0, KvResult::Bad);
    }
}
