//! The C programs of these tests.

use std::path::Path;
use std::process::Command;

/// Compiles C sources of `tests/` with warnings as errors.
pub(crate) fn compile(sources: &[&str], to: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(to);
    command.args(sources.iter().map(|source| folder.join(source))).arg("-lpthread");
    let ran = command.output().expect("these tests need a C compiler called `cc` (Debian: gcc)");
    assert!(ran.status.success(), "cc failed:\n{}", String::from_utf8_lossy(&ran.stderr));
}
