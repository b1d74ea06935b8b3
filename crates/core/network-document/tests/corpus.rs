//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn network_document_corpus() {
    Variations::every(7).replay("network_document", 4, network_document::fuzz::network_document);
}

#[test]
fn onion_key_file_corpus() {
    Variations::every(1).replay("onion_key_file", 4, network_document::fuzz::onion_key_file);
}

#[test]
fn directory_edition_corpus() {
    Variations::every(5).replay("directory_edition", 4, network_document::fuzz::directory_edition);
}

#[test]
fn invitation_corpus() {
    Variations::every(1).replay("invitation", 4, network_document::fuzz::invitation);
}
