//! The file under the database: ours alone, and never one that somebody slipped in.

use crate::error::{CreateError, OpenError};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Permission bits of others than the owner. Whoever writes changes what was spent; whoever reads learns when the node ran
/// and copies it.
const OTHERS: u32 = 0o077;

/// A new, empty file with mode 0600.
pub(crate) fn create(path: &Path) -> Result<File, CreateError> {
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CreateError::Exists(path.to_owned()),
        _ => CreateError::System { path: path.to_owned(), reason: error.to_string() },
    })
}

/// An existing regular file that only its owner may use, and that is not empty: the database would take an empty one for a
/// new one. Owner and mode are judged as `config::read_secret_file` judges those of keys.
pub(crate) fn open(path: &Path) -> Result<File, OpenError> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).write(true).custom_flags(no_follow.bits() as i32).open(path);
    let file = file.map_err(|source| match (source.kind(), rustix::io::Errno::from_io_error(&source)) {
        (ErrorKind::NotFound, _) => OpenError::Missing(path.to_owned()),
        (ErrorKind::IsADirectory, _) | (_, Some(rustix::io::Errno::LOOP)) => OpenError::NotAFile(path.to_owned()),
        _ => OpenError::System { path: path.to_owned(), source },
    })?;
    let about = file.metadata().map_err(|source| OpenError::System { path: path.to_owned(), source })?;
    if !about.is_file() {
        return Err(OpenError::NotAFile(path.to_owned()));
    }
    let (mode, owner, me) = (about.mode() & 0o7777, about.uid(), rustix::process::geteuid().as_raw());
    if owner != me && owner != 0 {
        return Err(OpenError::Owner { path: path.to_owned(), owner, me });
    }
    if mode & OTHERS != 0 {
        return Err(OpenError::Open { path: path.to_owned(), mode });
    }
    if about.len() == 0 {
        return Err(OpenError::Damaged { path: path.to_owned(), reason: "it is empty".to_owned() });
    }
    Ok(file)
}

/// Makes the name of a new file as lasting as its content.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
