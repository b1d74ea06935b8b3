//! The C programs of these tests.

use std::path::Path;
use std::process::Command;

/// The conformance program.
#[allow(dead_code, reason = "not all tests run it")]
pub(crate) const CONFORMANCE: &[&str] = &[
    "conformance/harness.c",
    "conformance/basic.c",
    "conformance/added.c",
    "conformance/calls.c",
    "conformance/limits.c",
    "conformance/threads.c",
    "conformance/sets.c",
    "conformance/names.c",
];

/// Compiles C sources of `tests/` with warnings as errors.
pub(crate) fn compile(sources: &[&str], to: &Path) {
    compile_with(&[], sources, to);
}

/// The same with further words for the compiler.
pub(crate) fn compile_with(words: &[&str], sources: &[&str], to: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]).args(words).arg("-o").arg(to);
    command.args(sources.iter().map(|source| folder.join(source))).arg("-lpthread");
    let ran = command.output().expect("these tests need a C compiler called `cc` (Debian: gcc)");
    assert!(ran.status.success(), "cc failed:\n{}", String::from_utf8_lossy(&ran.stderr));
}
