//! Runs the fuzz targets' bodies over the committed corpus.

use std::fs;
use std::path::Path;

#[path = "bodies/exit_policy.rs"]
mod exit_policy;
#[path = "bodies/http_connect.rs"]
mod http_connect;
#[path = "bodies/socks5.rs"]
mod socks5;

#[expect(clippy::disallowed_methods, reason = "the corpus is files; the core itself opens none")]
fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is committed") {
        let path = entry.expect("a readable folder").path();
        body(&fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count >= 5, "{} has {count} inputs", folder.display());
}

#[test]
fn socks5_corpus() {
    replay("socks5", socks5::run);
}

#[test]
fn http_connect_corpus() {
    replay("http_connect", http_connect::run);
}

#[test]
fn exit_policy_corpus() {
    replay("exit_policy", exit_policy::run);
}
