//! Files that are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Only this node's user reads its files.
const MODE: u32 = 0o600;

/// A file cannot be read or written.
#[derive(Debug, Error)]
#[error("{}: {error}", path.display())]
pub struct FileError {
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// What makes an error of what the system says.
fn on(path: &Path) -> impl Fn(io::Error) -> FileError + '_ {
    |error| FileError { path: path.to_owned(), error }
}

/// Puts these bytes in the place of what is there: after a crash there is one or the other.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let fresh = beside(path, "new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        File::open(folder(path))?.sync_all()
    };
    write().map_err(on(path)).inspect_err(|_| {
        // The old file is still there; what is left of the new one only takes room.
        let _ = std::fs::remove_file(&fresh);
    })
}

/// What is there, `None` for nothing. More than `most` bytes are as bad as none that can be read.
pub(crate) fn read(path: &Path, most: usize) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(on(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(on(path))?;
    if bytes.len() > most {
        return Err(on(path)(io::Error::other(format!("it has more than {most} bytes"))));
    }
    Ok(Some(bytes))
}

/// Gives a damaged file another name, in the place of an earlier one.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, FileError> {
    let aside = beside(path, "damaged");
    std::fs::rename(path, &aside).map_err(on(path))?;
    Ok(aside)
}

/// Makes a folder if there is none.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(path).map_err(on(path))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
