//! Runs the fuzz target's body over the committed corpus, over the examples and over the files that other tests refuse,
//! each also cut at every line and with every line left out.

use std::fs;
use std::path::Path;

#[path = "bodies/config_file.rs"]
mod config_file;
#[path = "bodies/px_file.rs"]
mod px_file;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

#[test]
fn px_file_corpus() {
    let mut good = 0;
    for input in replay::inputs("px_file", 3) {
        good += u32::from(std::str::from_utf8(&input).is_ok_and(|text| config::parse_px(text, Path::new("")).is_ok()));
        for place in 0..=input.len() {
            px_file::run(&input[..place]);
        }
    }
    assert!(good >= 3, "{good} files are good");
}

#[test]
fn config_file_corpus() {
    let mut inputs = replay::inputs("config_file", 5);
    let examples = [config::EXAMPLE_ENTRY, config::EXAMPLE_EXIT, config::EXAMPLE_SERVICE];
    inputs.extend(examples.map(|example| example.as_bytes().to_vec()));
    let refused = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
    for file in fs::read_dir(refused).expect("the files are committed") {
        inputs.push(fs::read(file.expect("a readable folder").path()).expect("a readable file"));
    }
    for input in &inputs {
        config_file::run(input);
        let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
        for line in 0..lines.len() {
            config_file::run(&lines[..line].concat());
            config_file::run(&[&lines[..line], &lines[line + 1..]].concat().concat());
        }
    }
}
