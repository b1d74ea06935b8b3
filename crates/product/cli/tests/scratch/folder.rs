//! A folder in which commands are tried.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Tests of several files may choose the same name.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A fresh folder that goes away with the value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> std::io::Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hushwire-cli-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Runs `hushwire` in the folder, with nobody to ask.
    pub(crate) fn run(&self, arguments: &[&str]) -> std::io::Result<Ran> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
        let ran =
            command.args(arguments).current_dir(&self.0).stdin(Stdio::null()).env_remove("HUSHWIRE_LOG").output()?;
        Ok(Ran {
            code: ran.status.code(),
            out: String::from_utf8_lossy(&ran.stdout).into_owned(),
            err: String::from_utf8_lossy(&ran.stderr).into_owned(),
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}
