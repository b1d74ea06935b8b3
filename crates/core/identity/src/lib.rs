#![doc = include_str!("../README.md")]

mod key_file;
mod keys;
mod peer;
mod text;

pub use key_file::{KeyFile, KeyFileError};
pub use keys::{
    AccessKey, AccessSecret, DoorKey, HopKey, LinkKey, LinkSecret, NodeId, NodeSecret, OnionKey, OnionSecret,
    OperatorKey, OperatorSecret, SIGNATURE_LEN, ServiceSecret, SignatureError, SignedLinkKey,
};
pub use peer::{AddressError, PeerAddress, PeerHost, PeerPart, PeerString, PeerStringError};
pub use text::{KeyTextError, decode_token, encode_token};

#[doc(hidden)]
pub mod fuzz {
    //! The fuzz bodies of the parsers: run by libFuzzer and, over the committed corpora, by `cargo test`.

    use crate::{KeyFile, PeerString};

    /// Any text is parsed or refused; what is parsed is printed and parsed to the same value again.
    ///
    /// # Panics
    /// When a parser panics or a round trip fails: that is the finding.
    pub fn peer_string(input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else { return };
        if let Ok(peer) = text.parse::<PeerString>() {
            assert_eq!(peer.reveal().parse::<PeerString>().as_ref(), Ok(&peer), "a printed peer string parses");
        }
    }

    /// The same for key files; a refusal names a line that is there, and shows nothing of the text.
    ///
    /// # Panics
    /// When a parser panics or a round trip fails: that is the finding.
    pub fn key_file(input: &[u8]) {
        use crate::KeyFileError as Error;
        let Ok(text) = std::str::from_utf8(input) else { return };
        match KeyFile::parse(text) {
            Ok(keys) => {
                let again = KeyFile::parse(&keys.reveal()).map(|again| again.reveal());
                assert_eq!(again.as_ref(), Ok(&keys.reveal()), "a printed key file parses");
            }
            Err(Error::Line { line } | Error::Twice { line, .. } | Error::Key { line, .. }) => {
                assert!((1..=text.lines().count()).contains(&line), "line {line} is in the file");
            }
            Err(Error::Header | Error::Missing { .. }) => {}
        }
    }
}
