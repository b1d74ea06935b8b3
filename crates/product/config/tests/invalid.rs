//! Every file of tests/invalid gives exactly the diagnostics of its snapshot.

use std::path::{Path, PathBuf};

#[test]
fn wrong_files_are_refused_with_exact_words() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid");
    let entries = std::fs::read_dir(&folder).expect("the folder of wrong files");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
    files.sort();
    assert!(files.len() >= 15, "{} files", files.len());
    for file in files {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = with_peers(&std::fs::read_to_string(&file).expect("a file of the folder"));
        let problems = config::parse(&text, Path::new("")).expect_err(&name);
        let shown = problems.render(&format!("{name}.toml"), &text, false);
        for problem in problems.iter() {
            assert!(shown.contains(&problem.key) && !problem.problem.remedy().is_empty(), "{name}: {problem:?}");
        }
        insta::assert_snapshot!(name, shown);
    }
}

/// Real peer strings where the file names one.
fn with_peers(text: &str) -> String {
    let keys = identity::KeyFile::from_random([[1; 32], [2; 32], [3; 32]]);
    let address = "192.0.2.1:4433".parse().expect("an address");
    text.replace("\"PEER\"", &format!("{:?}", keys.peer_string(Some(address)).reveal().as_str()))
        .replace("\"PEER_WITHOUT_ADDRESS\"", &format!("{:?}", keys.peer_string(None).reveal().as_str()))
}
