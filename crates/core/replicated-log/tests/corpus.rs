//! Runs the bodies of the fuzz targets over the committed corpora, and over every one-byte change of them.

#![allow(clippy::disallowed_methods, reason = "a test reads the corpus; the core opens no file")]

#[path = "bodies/cluster_frame.rs"]
mod cluster_frame;
#[path = "bodies/log_file.rs"]
mod log_file;

use std::fs;
use std::path::Path;

fn over(name: &str, run: fn(&[u8]), least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(name);
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let mut bytes = fs::read(entry.expect("a readable folder").path()).expect("a readable file");
        run(&bytes);
        for place in 0..bytes.len() {
            bytes[place] ^= 0x81;
            run(&bytes);
            bytes[place] ^= 0x81;
        }
        files += 1;
    }
    assert!(files >= least, "{files} files");
}

#[test]
fn log_file_corpus() {
    over("log_file", log_file::run, 4);
}

#[test]
fn cluster_frame_corpus() {
    over("cluster_frame", cluster_frame::run, 8);
}
