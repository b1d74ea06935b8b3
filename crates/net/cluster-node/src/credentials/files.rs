//! Certificates in files, and taking newer ones into use while the node runs.

use super::{CredentialStore, Credentials, CredentialsError, OwnKey};
use identity::NodeSecret;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Largest file of certificates that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why certificates in files cannot be used.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What they hold cannot be used.
    #[error("the certificate {} with the roots {} cannot be used: {source}", .certificate.display(), .roots.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The roots' file.
        roots: PathBuf,
        /// Why.
        source: CredentialsError,
    },
}

/// A private key that is kept to load certificates for it again.
#[derive(Debug, Clone)]
pub enum KeptKey {
    /// The node's own.
    Node(NodeSecret),
    /// Any, in PEM form.
    Pem(Zeroizing<String>),
}

impl KeptKey {
    /// To lend.
    pub fn lend(&self) -> OwnKey<'_> {
        match self {
            Self::Node(secret) => OwnKey::Node(secret),
            Self::Pem(text) => OwnKey::Pem(text),
        }
    }
}

/// Where a node's certificate and the roots are. The key is read once, by whoever checks its permissions.
#[derive(Clone)]
pub struct CredentialFiles {
    /// This node's certificate, in PEM form.
    pub certificate: PathBuf,
    /// The roots.
    pub roots: PathBuf,
    /// The key.
    pub key: KeptKey,
}

impl CredentialFiles {
    /// What is in the files.
    ///
    /// # Errors
    /// When they cannot be read or used.
    pub fn load(&self) -> Result<Credentials, FilesError> {
        let (certificate, roots) = (read(&self.certificate)?, read(&self.roots)?);
        Credentials::from_pem(&certificate, &self.key.lend(), &roots).map_err(|source| FilesError::Unusable {
            certificate: self.certificate.clone(),
            roots: self.roots.clone(),
            source,
        })
    }

    /// Puts what is in the files into the store whenever they have changed, or the process is told to (SIGHUP). Files that
    /// cannot be used are said in the log, and what was in the store stays. It runs until it is dropped.
    ///
    /// # Errors
    /// When the system does not pass signals on.
    pub async fn keep_fresh(self, store: CredentialStore, every: Duration) -> io::Result<()> {
        let mut told = signal(SignalKind::hangup())?;
        let mut seen = self.stamp();
        loop {
            let is_told = tokio::select! {
                signal = told.recv() => signal.is_some(),
                () = tokio::time::sleep(every) => false,
            };
            let stamp = self.stamp();
            if stamp == seen && !is_told {
                continue;
            }
            match self.load() {
                Ok(credentials) => {
                    store.replace(credentials);
                    seen = stamp;
                    tracing::info!("certificates were read anew; connections that stand keep the ones they began with");
                }
                Err(error) => {
                    // Said once for each change: a file may be half written, and is looked at again when it changes.
                    seen = stamp;
                    tracing::warn!(%error, "certificates in changed files cannot be used; those before stay in use");
                }
            }
        }
    }

    fn stamp(&self) -> [Option<(SystemTime, u64)>; 2] {
        [&self.certificate, &self.roots].map(|path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        })
    }
}

fn read(path: &Path) -> Result<String, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(failed(io::Error::other("it is larger than 1 MiB, so it holds something else")));
    }
    std::fs::read_to_string(path).map_err(failed)
}
