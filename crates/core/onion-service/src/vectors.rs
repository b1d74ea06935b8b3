//! Vectors of docs/spec/onion-service.md, made by an independent implementation (Python, `hashlib`, `hmac` and `cryptography`).

use data_encoding::HEXLOWER;

/// Keys and their addresses.
pub(crate) const ADDRESSES: [([u8; 32], &str); 2] = [
    ([0; 32], "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaiaiyb.hush"),
    ([7; 32], "a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4d6fhqb.hush"),
];

/// Bytes as the page shows them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
