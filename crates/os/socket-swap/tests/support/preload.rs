//! What the tests share: the library, and a folder that goes away.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// The library that cargo built beside this test.
pub(crate) fn library() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows where it is");
    let mut folders = own.ancestors().skip(1).take(2).map(|folder| folder.join("libhushwire_swap.so"));
    let found = folders.find(|path| path.exists());
    found.expect("libhushwire_swap.so stands beside the tests: cargo builds it with them")
}

/// A folder of this test's own.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("socket-swap-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
