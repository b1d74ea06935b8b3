//! Files with secrets: checked before they are read, protected when they are made.

use identity::{AccessSecret, HopKey, KeyFile, KeyFileError, KeyTextError, ServiceSecret};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thiserror::Error;
use zeroize::Zeroizing;

/// Largest file of keys or users that is read, in bytes; a larger one is refused.
pub const SECRET_FILE_SIZE_MAX: u64 = 1 << 20;

/// Why a file with secrets is not used.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// It cannot be opened, read or made.
    #[error("cannot {action} {}", .path.display())]
    System {
        /// What was tried: read or write.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner may use it.
    #[error("{} has mode {mode:04o}: other users can read or write these secrets", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, who could replace these secrets; this program runs as user {me}", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        me: u32,
    },
    /// Not a regular file.
    #[error("{} is not a regular file", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Larger than [`SECRET_FILE_SIZE_MAX`].
    #[error("{} is larger than 1 MiB, so it holds something else", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It would be replaced.
    #[error("{} exists already and is never overwritten", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It holds no keys.
    #[error("{} is not a key file", .path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: KeyFileError,
    },
    /// It holds no key of a hop proxy.
    #[error("{} is not the key of a hop proxy: {source}", .path.display())]
    HopKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyTextError,
    },
    /// It holds no secret of an onion service.
    #[error("{} is not the key of a service: {source}", .path.display())]
    ServiceKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyTextError,
    },
    /// It holds no key that opens onion services.
    #[error("{} is not a key that opens services: {source}", .path.display())]
    AccessKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyTextError,
    },
    /// A line of a users file is not `user:password`.
    #[error("{}, line {line}: not `user:password`", .path.display())]
    User {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
}

impl SecretFileError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::System { path, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                format!("check the path; `hushwire keys new {}` makes new keys", path.display())
            }
            Self::System { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space on that disk and try again".to_owned()
            }
            Self::System { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                "it has to be UTF-8 text; restore it from a copy".to_owned()
            }
            Self::System { .. } => "check the path and who may use it".to_owned(),
            Self::Open { path, .. } => format!("run `chmod 600 {}`", path.display()),
            Self::Owner { path, me, .. } => format!("run `chown {me} {}`, or run as its owner", path.display()),
            Self::NotAFile { .. } | Self::TooLarge { .. } => "name the file that `hushwire init` wrote".to_owned(),
            Self::Exists { .. } => "choose another name, or move the old file away if nothing needs it".to_owned(),
            Self::Keys { .. } => {
                "restore it from a copy, or make new keys with `hushwire keys new` and tell the other node".to_owned()
            }
            Self::HopKey { .. } => {
                "copy the whole file from the other end, or make a new one with `hushwire hop key`".to_owned()
            }
            Self::ServiceKey { .. } => {
                "restore it from a copy; a service whose key is lost gets another address".to_owned()
            }
            Self::AccessKey { .. } => {
                "restore it from a copy, or make one with `hushwire service client new` and tell the service's operator"
                    .to_owned()
            }
            Self::User { .. } => "write one user, a colon and the password in each line".to_owned(),
        }
    }
}

/// Reads a file that only its owner may use: mode 0600 or less, owned by the user of this process (or by root).
///
/// The checks are made on the opened file, so it cannot be exchanged in between.
pub fn read_secret_file(path: &Path) -> Result<String, SecretFileError> {
    let failed = |source| SecretFileError::System { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(SecretFileError::NotAFile { path: path.to_owned() });
    }
    let (mode, owner, me) = (about.mode() & 0o7777, about.uid(), rustix::process::geteuid().as_raw());
    if owner != me && owner != 0 {
        return Err(SecretFileError::Owner { path: path.to_owned(), owner, me });
    }
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Open { path: path.to_owned(), mode });
    }
    if about.len() > SECRET_FILE_SIZE_MAX {
        return Err(SecretFileError::TooLarge { path: path.to_owned() });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Reads the key that both ends of a hop proxy share: one line, beside blank ones and comments.
pub fn read_hop_key(path: &Path) -> Result<HopKey, SecretFileError> {
    read_line(path, |path, source| SecretFileError::HopKey { path, source })
}

/// Reads the secret of an onion service, likewise.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_service_secret(path: &Path) -> Result<ServiceSecret, SecretFileError> {
    read_line(path, |path, source| SecretFileError::ServiceKey { path, source })
}

/// Reads a client's key that opens onion services, likewise.
///
/// # Errors
/// [`SecretFileError`].
pub fn read_access_secret(path: &Path) -> Result<AccessSecret, SecretFileError> {
    read_line(path, |path, source| SecretFileError::AccessKey { path, source })
}

fn read_line<T: FromStr<Err = KeyTextError>>(
    path: &Path,
    refused: impl FnOnce(PathBuf, KeyTextError) -> SecretFileError,
) -> Result<T, SecretFileError> {
    let text = Zeroizing::new(read_secret_file(path)?);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or("");
    line.parse().map_err(|source| refused(path.to_owned(), source))
}

/// Makes a file with mode 0600 and this content; never replaces one. It is on disk when this returns.
pub fn create_secret_file(path: &Path, content: &str) -> Result<(), SecretFileError> {
    let failed = |source| SecretFileError::System { action: "write", path: path.to_owned(), source };
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SecretFileError::Exists { path: path.to_owned() },
        _ => failed(error),
    })?;
    let written = file.write_all(content.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a file of secrets is of no use to anybody.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}

/// Reads a node's keys.
pub fn read_keys(path: &Path) -> Result<KeyFile, SecretFileError> {
    let text = zeroize::Zeroizing::new(read_secret_file(path)?);
    KeyFile::parse(&text).map_err(|source| SecretFileError::Keys { path: path.to_owned(), source })
}

/// Reads a users file: `user:password` lines; blank lines and lines that begin with `#` are ignored.
pub fn read_users(path: &Path) -> Result<Vec<(String, String)>, SecretFileError> {
    let text = zeroize::Zeroizing::new(read_secret_file(path)?);
    let mut users = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let refused = || SecretFileError::User { path: path.to_owned(), line: index + 1 };
        let (user, password) = line.split_once(':').ok_or_else(refused)?;
        if user.is_empty() || password.is_empty() {
            return Err(refused());
        }
        users.push((user.to_owned(), password.to_owned()));
    }
    Ok(users)
}
