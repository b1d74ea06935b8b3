//! The fuzz bodies over the committed corpora, and over their own variations.

#[path = "bodies/ledger_record.rs"]
mod ledger_record;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use replay::Variations;

#[test]
fn ledger_record_corpus() {
    let variations = Variations { step: 1, places_max: usize::MAX, changes: &[0x81] };
    variations.replay("ledger_record", 7, ledger_record::run);
}
