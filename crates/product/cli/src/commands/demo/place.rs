//! The folder of a demo: one that goes away, or one that is kept.

use crate::failure::{Code, Failure};
use crate::local::folder::Folder;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// An empty folder at first, with mode 0700.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Goes away with the value.
    _temporary: Option<Folder>,
}

impl Place {
    /// Makes `keep`, or takes it if it is empty; without it makes a folder that goes away.
    pub(super) fn make(keep: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = keep {
            return Ok(Self { path: make_folder(path)?, _temporary: None });
        }
        let folder = Folder::new()?;
        Ok(Self { path: folder.path().to_owned(), _temporary: Some(folder) })
    }

    /// From the root on: processes of this program are started in it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn make_folder(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::io(format!("cannot make {}", path.display()), &error);
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let is_empty = std::fs::read_dir(path).map_err(failed)?.next().is_none();
            if !is_empty {
                return Err(Failure::new(Code::CannotCreate, format!("{} is not empty", path.display()))
                    .remedy("name another folder; what a demo left there can be run by hand, as it said at its end"));
            }
        }
        Err(error) => return Err(failed(error)),
    }
    path.canonicalize().map_err(failed)
}
