//! A folder that goes away with the value.

use crate::failure::{Code, Failure};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Names that are tried before giving up.
const TRIES: u32 = 16;

/// A fresh folder with mode 0700, removed with everything in it when this is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one in the system's folder for temporary files, which is kept short: unix sockets have short paths.
    pub(crate) fn new() -> Result<Self, Failure> {
        let parent = std::env::temp_dir();
        for attempt in 0..TRIES {
            let path = parent.join(format!("hushwire-{}-{attempt}", std::process::id()));
            // An existing folder is refused, so nobody can have prepared one.
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::io(format!("cannot make the folder {}", path.display()), &error)),
            }
        }
        let sentence = format!("{} has leftovers of earlier runs in the way", parent.display());
        Err(Failure::new(Code::CannotCreate, sentence).remedy(format!("remove {}/hushwire-*", parent.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left; there is nobody to tell on every way out.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_private_and_goes_with_its_value() {
        let folder = Folder::new().expect("a folder for temporary files");
        let other = Folder::new().expect("another one");
        assert_ne!(folder.path(), other.path());
        let path = folder.path().to_owned();
        let mode = path.metadata().map(|about| about.permissions().mode() & 0o777);
        assert!(mode.is_ok_and(|mode| mode == 0o700));
        assert!(std::fs::write(path.join("x"), "y").is_ok());
        drop(folder);
        assert!(!path.exists());
    }
}
