//! The files of a network, read and written.

use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use config::SecretFileError;
use identity::{OnionKey, OperatorSecret};
use network_document::{
    Charter, DOCUMENT_BYTES_MAX, DocumentError, Draft, Edition, LoadError, NetworkDocument, NetworkId, OnionKeyFile,
    SignedDescriptor, SignedEdition,
};
use node::DocumentFileError;
use onion::Interval;
use relay_node::{RelayNode, RelayNodeConfig};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Mode of a file that everybody may read.
pub(super) const PUBLIC: u32 = 0o644;
/// Mode of a file of secrets.
const SECRET: u32 = 0o600;

/// Reads no more than a document may have.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let taken = File::open(path).and_then(|file| file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    taken.map_err(|error| Failure::io(format!("cannot read {}", path.display()), &error))?;
    Ok(bytes)
}

fn wrong(path: &Path, error: DocumentError) -> Failure {
    Failure::new(Code::Data, format!("{}, {error}", path.display()))
}

pub(crate) fn charter(path: &Path) -> Result<Charter, Failure> {
    Charter::parse(&read(path)?).map_err(|error| wrong(path, error))
}

pub(super) fn descriptor(path: &Path, network: NetworkId) -> Result<SignedDescriptor, Failure> {
    SignedDescriptor::parse(&read(path)?, network).map_err(|error| wrong(path, error))
}

pub(super) fn draft(path: &Path) -> Result<Draft, Failure> {
    Draft::parse(&read(path)?).map_err(|error| wrong(path, error))
}

/// Reads a document that enough operators signed, or enough members of a directory.
pub(crate) fn document(path: &Path) -> Result<NetworkDocument, Failure> {
    node::read_document(path).map_err(|error| match error {
        DocumentFileError::Read { path, source } => Failure::io(format!("cannot read {}", path.display()), &source),
        DocumentFileError::Load { .. } => Failure::new(Code::Data, error.to_string()),
    })
}

/// An edition of a directory, whoever signed it; none if the file does not begin as one.
pub(super) fn edition(path: &Path) -> Result<Option<SignedEdition>, Failure> {
    let bytes = read(path)?;
    if !Edition::begins(&bytes) {
        return Ok(None);
    }
    let read = SignedEdition::decode(&bytes).map_err(LoadError::Edition);
    read.map(Some).map_err(|error| Failure::new(Code::Data, format!("{}, {error}", path.display())))
}

/// A relay of a document, if the document has it with its keys.
pub(crate) fn fitting_relay(
    node: RelayNodeConfig,
    document: &NetworkDocument,
    onion_keys: &OnionKeyFile,
) -> Result<RelayNode, Failure> {
    RelayNode::new(node, document.clone(), onion_keys, settings::random()?)
        .map_err(|error| Failure::from_error(Code::Configuration, &error))
}

/// Reads a relay's onion secrets.
pub(crate) fn onion_keys(path: &Path) -> Result<OnionKeyFile, Failure> {
    let text = config::read_secret_file(path).map_err(|error| match error {
        SecretFileError::System { ref source, .. } if source.kind() == ErrorKind::NotFound => {
            Failure::io(&error, source).remedy("make it with `hushwire network describe`")
        }
        error => settings::secret(&error),
    })?;
    OnionKeyFile::parse(&zeroize::Zeroizing::new(text)).map_err(|error| {
        Failure::new(Code::Data, format!("{} holds no onion secrets: {error}", path.display()))
            .remedy("restore it from a copy, or make new ones with `hushwire network describe`")
    })
}

/// The key of a directory node that no interval ends; its secret is made and stored if it is not there.
pub(crate) fn prepare_lasting_key(path: &Path) -> Result<OnionKey, Failure> {
    let mut file = if path.exists() { onion_keys(path)? } else { OnionKeyFile::default() };
    let had = file.lasting().is_some();
    let key = file.prepare_lasting(settings::random()?).onion_key();
    if !had {
        replace(path, &file.reveal(), SECRET)?;
    }
    Ok(key)
}

/// The onion key of an interval; its secret is made and stored if it is not there, and so is a directory node's lasting one.
pub(super) fn prepare_onion_key(path: &Path, interval: Interval, is_directory: bool) -> Result<OnionKey, Failure> {
    let mut file = if path.exists() { onion_keys(path)? } else { OnionKeyFile::default() };
    let had = file.of(interval).is_some() && (!is_directory || file.lasting().is_some());
    if is_directory {
        file.prepare_lasting(settings::random()?);
    }
    let key = file.prepare(interval, settings::random()?).onion_key();
    if !had {
        replace(path, &file.reveal(), SECRET)?;
    }
    Ok(key)
}

pub(crate) fn operator_secret(path: &Path) -> Result<OperatorSecret, Failure> {
    let text = zeroize::Zeroizing::new(config::read_secret_file(path).map_err(|error| settings::secret(&error))?);
    text.trim().parse().map_err(|error| {
        Failure::new(Code::Data, format!("{} is not an operator's key: {error}", path.display()))
            .remedy("name the file that `hushwire network operator` made")
    })
}

/// Makes a file that is not there yet.
pub(super) fn create(path: &Path, text: &str) -> Outcome {
    let made = File::options().write(true).create_new(true).mode(PUBLIC).open(path);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))
}

/// Puts a new file in place of an old one: after a crash there is one or the other.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Outcome {
    replace_with(path, text.as_bytes(), mode)
}

/// The same for a file that everybody may read.
pub(crate) fn replace_bytes(path: &Path, bytes: &[u8]) -> Outcome {
    replace_with(path, bytes, PUBLIC)
}

/// Puts these bytes in the place of a file that is there, for the same user and those who may read it.
pub(crate) fn replace_as_it_is(path: &Path, bytes: &[u8]) -> Outcome {
    // A link stays one.
    let found = std::fs::canonicalize(path).and_then(|path| path.metadata().map(|about| (path, about)));
    let (path, about) = found.map_err(|error| Failure::io(format!("cannot write {}", path.display()), &error))?;
    replace_with(&path, bytes, about.mode() & 0o777)?;
    let kept = std::fs::set_permissions(&path, about.permissions())
        .and_then(|()| std::os::unix::fs::chown(&path, Some(about.uid()), Some(about.gid())));
    kept.map_err(|error| {
        Failure::io(format!("cannot give {} back to its owner", path.display()), &error)
            .remedy("run this command as its owner, or correct it with `chown`")
    })
}

fn replace_with(path: &Path, bytes: &[u8], mode: u32) -> Outcome {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = Path::new(&name);
    let opened = File::options().write(true).create(true).truncate(true).mode(mode).open(fresh);
    let written = opened.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(fresh, path)).map_err(|error| {
        // The old file is still there; half a new one is of no use.
        let _ = std::fs::remove_file(fresh);
        Failure::io(format!("cannot write {}", path.display()), &error)
    })
}
