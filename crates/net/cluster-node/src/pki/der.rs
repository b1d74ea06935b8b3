//! As much of DER (ITU-T X.690) as certificates and requests need: tag, length, content, and nothing that copies.

/// Tags of the types that occur.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag of `[number]` around other values, or with content of its own.
pub(super) const fn context(number: u8, constructed: bool) -> u8 {
    0x80 | number | if constructed { 0x20 } else { 0 }
}

/// Not DER, or not the type that belongs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length: what signatures are over.
    pub(super) whole: &'a [u8],
}

/// Values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next value, of any type.
    pub(super) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let (&[tag, short], rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        let (length, rest) = match short {
            0..=0x7f => (usize::from(short), rest),
            // One to four bytes, without leading zeros, and not what one byte could have said.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f)).ok_or(Malformed)?;
                let length = bytes.iter().fold(0u32, |length, byte| length << 8 | u32::from(*byte));
                if length < 0x80 || bytes.first() == Some(&0) {
                    return Err(Malformed);
                }
                (length as usize, rest)
            }
            _ => return Err(Malformed),
        };
        // Tags above 30 do not occur.
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (content, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Ok(Value { tag, content, whole })
    }

    /// The next value, if it has this tag; otherwise it stays.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, Malformed> {
        if self.0.first() == Some(&tag) { self.value().map(Some) } else { Ok(None) }
    }

    /// The next value, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        self.optional(tag)?.ok_or(Malformed)
    }

    /// The content of the next value, which must have this tag, as values.
    pub(super) fn inside(&mut self, tag: u8) -> Result<Values<'a>, Malformed> {
        self.expect(tag).map(|value| Values(value.content))
    }
}

impl<'a> Value<'a> {
    pub(super) fn inside(self) -> Values<'a> {
        Values(self.content)
    }
}
