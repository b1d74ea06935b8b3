//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn service_address_corpus() {
    Variations::every(1).replay("service_address", 4, onion_service::fuzz::service_address);
}

#[test]
fn service_record_corpus() {
    Variations::every(17).replay("service_record", 4, onion_service::fuzz::service_record);
}

#[test]
fn service_introduction_corpus() {
    Variations::every(11).replay("service_introduction", 4, onion_service::fuzz::service_introduction);
}
