//! The fuzz bodies over the committed corpora, and over their own variations.

use link::Now;
use std::fs;
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time, and the corpus in the source tree")]
fn replay(target: &str, body: fn(&[u8], Now)) {
    let start = Now { instant: std::time::Instant::now(), unix_s: 1_800_000_000 };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is committed") {
        let mut input = fs::read(entry.expect("a file").path()).expect("a readable file");
        body(&input, start);
        for place in (0..input.len()).step_by(97) {
            input[place] ^= 0x55;
            body(&input, start);
        }
        files += 1;
    }
    assert!(files >= 4, "{files} files");
}

#[test]
fn link_packet_corpus() {
    replay("link_packet", link::fuzz::link_packets);
}

#[test]
fn link_cells_corpus() {
    replay("link_cells", link::fuzz::hostile_peer);
}

#[test]
fn hop_offer_corpus() {
    replay("hop_offer", link::fuzz::hop_offer);
}
