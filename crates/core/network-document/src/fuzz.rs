//! The fuzz bodies: run by libFuzzer and, over the committed corpora, by `cargo test`.

use crate::charter::Charter;
use crate::document::Draft;
use crate::edition::{EditionDiff, SignedEdition};
use crate::lines::Lines;
use crate::network::NetworkDocument;
use crate::{DocumentError, Invitation, OnionKeyFile, OnionKeyFileError, SignedAnnouncement, TermFile};

/// Any bytes are a document or refused. What is read is written again as it came; a refusal names a line that is there, or the
/// one behind the last. Signatures are only looked at in a second reading, so that inputs which nobody signed get far.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn network_document(input: &[u8]) {
    let lines = input.iter().filter(|byte| **byte == b'\n').count();
    let in_sight = |error: &DocumentError| (1..=lines + 1).contains(&error.line);
    let unverified = Draft::read(input, false);
    match &unverified {
        Ok(draft) => assert_eq!(draft.text().as_bytes(), input, "a document is written as it was read"),
        Err(error) => assert!(in_sight(error), "{error}"),
    }
    match NetworkDocument::parse(input) {
        Ok(document) => assert_eq!(document.as_draft(), unverified.as_ref().ok(), "a good document is a draft"),
        Err(error) => assert!(in_sight(&error), "{error}"),
    }
    match Charter::parse(input) {
        Ok(charter) => assert_eq!(charter.text().as_bytes(), input, "a charter is written as it was read"),
        Err(error) => assert!(in_sight(&error), "{error}"),
    }
}

/// Any bytes are an edition, a difference, an announcement or a term's file, or refused; what is read is written again as it came.
/// Nobody signed any of it.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn directory_edition(input: &[u8]) {
    if let Ok(edition) = SignedEdition::decode(input) {
        assert_eq!(edition.encode(), input, "an edition is written as it was read");
        let same = EditionDiff::between(edition.edition(), &edition);
        assert_eq!(same.apply(edition.edition()).as_ref(), Ok(&edition), "a difference leads to what it was made of");
        let (relays, electorate) = (edition.edition().relays().len(), edition.edition().electorate().clone());
        if let Ok(document) = edition.verify(&electorate) {
            assert_eq!(document.relays().len(), relays, "a document is its edition");
        }
        if let Ok(document) = NetworkDocument::load(input) {
            assert_eq!(document.encode(), input, "a file is written as it was read");
        }
    }
    if let Ok(diff) = EditionDiff::decode(input) {
        assert_eq!(diff.encode(), input, "a difference is written as it was read");
    }
    if let Ok(said) = SignedAnnouncement::decode(input) {
        assert_eq!(said.encode(), input, "an announcement is written as it was read");
        let text = said.text();
        let lines = Lines::new(text.as_bytes()).and_then(|mut lines| SignedAnnouncement::read(&mut lines));
        assert_eq!(lines.as_ref(), Ok(&said), "and as text it says the same");
    }
    if let Ok(said) = Lines::new(input).and_then(|mut lines| SignedAnnouncement::read(&mut lines)) {
        assert_eq!(said.text().as_bytes(), input, "an announcement is written as it was read");
        assert_eq!(SignedAnnouncement::decode(&said.encode()), Ok(said), "and as bytes it says the same");
    }
    if let Ok(file) = TermFile::parse(input) {
        assert_eq!(file.text().as_bytes(), input, "a term's file is written as it was read");
    }
}

/// Any text is a file of onion secrets or refused; a refusal names a line that is there.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn onion_key_file(input: &[u8]) {
    use OnionKeyFileError as Error;
    let Ok(text) = std::str::from_utf8(input) else { return };
    match OnionKeyFile::parse(text) {
        Ok(file) => {
            let again = OnionKeyFile::parse(&file.reveal()).map(|again| again.reveal());
            assert_eq!(again.as_ref(), Ok(&file.reveal()), "a printed file parses");
        }
        Err(Error::Line { line } | Error::Key { line, .. } | Error::TooMany { line }) => {
            assert!((1..=text.lines().count()).contains(&line), "line {line} is in the file");
        }
        Err(Error::Header) => {}
    }
}

/// Any text is an invitation or refused; what is read is written again and reads the same. The same bytes behind a good checksum
/// get farther.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn invitation(input: &[u8]) {
    let summed = identity::encode_token("hwjoin1", input);
    for text in [std::str::from_utf8(input).unwrap_or_default(), &summed] {
        let Ok(read) = text.parse::<Invitation>() else { continue };
        assert_eq!(*read.reveal(), text.trim().to_ascii_lowercase(), "an invitation is written as it was read");
        assert!((1..=crate::INVITATION_CONTACTS_MAX).contains(&read.contacts().len()), "somebody can be asked");
    }
}
