//! Configuration and secrets for commands: loaded, checked, and every refusal turned into a [`Failure`].

use crate::commands::check;
use crate::failure::{Code, Failure};
use crate::terminal;
use config::{Config, LoadError, PartPath, SecretFileError};
use identity::{HopKey, KeyFile, ServiceSecret};
use shaping::RateClass;
use std::io::ErrorKind;
use std::path::Path;

/// Loads a configuration file.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    loaded(config::load(path))
}

/// Loads the configuration of an entry: a file of its own, or the part of a node's file.
pub(crate) fn entry_of(path: &Path) -> Result<Config, Failure> {
    if !check::is_file_of_several(path) || PartPath::of(path).part.is_some() {
        return load(path);
    }
    let node = loaded(config::load_node(path))?;
    node.entry.map(|entry| *entry).ok_or_else(|| {
        let sentence = format!("{} has no part [entry]", path.display());
        Failure::new(Code::Configuration, sentence).remedy("name the file of a node with an entry")
    })
}

/// What a file says, or why it cannot be used.
pub(crate) fn loaded<T>(result: Result<T, LoadError>) -> Result<T, Failure> {
    result.map_err(|error| match &error {
        LoadError::Read { source, .. } if source.kind() == ErrorKind::InvalidData => {
            Failure::from_error(Code::Configuration, &error).remedy("name the file that `hushwire init` wrote")
        }
        LoadError::Read { source, .. } => {
            Failure::io(&error, source).remedy("check the path, or write a file with `hushwire init`")
        }
        LoadError::TooLarge { .. } => {
            Failure::from_error(Code::Configuration, &error).remedy("name the file that `hushwire init` wrote")
        }
        LoadError::Invalid { path, text, diagnostics } => {
            let shown = path.display().to_string();
            let detail = diagnostics.render(&shown, text, terminal::errors_have_colour());
            Failure::from_error(Code::Configuration, &error)
                .detail(detail)
                .remedy(format!("correct the file, then run `hushwire check -c {shown}`"))
        }
    })
}

/// Reads a node's keys.
pub(crate) fn keys(path: &Path) -> Result<KeyFile, Failure> {
    config::read_keys(path).map_err(|error| secret(&error))
}

/// Reads the key of a hop proxy.
pub(crate) fn hop_key(path: &Path) -> Result<HopKey, Failure> {
    config::read_hop_key(path).map_err(|error| match error {
        SecretFileError::System { ref source, .. } if source.kind() == ErrorKind::NotFound => {
            Failure::io(&error, source).remedy(format!("make one with `hushwire hop key {}`", path.display()))
        }
        error => secret(&error),
    })
}

/// Reads the secret of an onion service.
pub(crate) fn service_secret(path: &Path) -> Result<ServiceSecret, Failure> {
    config::read_service_secret(path).map_err(|error| match error {
        SecretFileError::System { ref source, .. } if source.kind() == ErrorKind::NotFound => {
            Failure::io(&error, source)
                .remedy("`hushwire service add` makes one; if it was lost, so is the service's address")
        }
        error => secret(&error),
    })
}

/// A random key for a hop proxy.
pub(crate) fn new_hop_key() -> Result<HopKey, Failure> {
    Ok(HopKey::from_bytes(random()?))
}

/// A file of secrets that is not used.
pub(crate) fn secret(error: &SecretFileError) -> Failure {
    let remedy = error.remedy();
    let failure = match error {
        SecretFileError::System { source, .. } if source.kind() != ErrorKind::InvalidData => Failure::io(error, source),
        SecretFileError::Open { .. } | SecretFileError::Owner { .. } => Failure::from_error(Code::Permission, error),
        SecretFileError::Exists { .. } => Failure::from_error(Code::CannotCreate, error),
        _ => Failure::from_error(Code::Data, error),
    };
    failure.remedy(remedy)
}

/// The class of what `--rate` has.
pub(crate) fn rate(written: &str) -> Result<RateClass, Failure> {
    config::parse_rate(written)
        .map_err(|problem| Failure::new(Code::Data, format!("--rate {written:?}: {problem}")).remedy(problem.remedy()))
}

/// Random keys for a new node.
pub(crate) fn new_keys() -> Result<KeyFile, Failure> {
    Ok(KeyFile::from_random([random()?, random()?, random()?]))
}

/// Bytes of the system's random source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| Failure::new(Code::System, "the system gives no random bytes"))
        .map(|()| bytes)
}

/// Milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> Result<u64, Failure> {
    let utc = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let utc = utc.ok().and_then(|utc| u64::try_from(utc.as_millis()).ok());
    utc.ok_or_else(|| Failure::new(Code::System, "this machine's clock stands before 1970").remedy("set it"))
}

/// A free-looking UDP port for a new exit: drawn, so that exits do not stand out by a common one.
pub(crate) fn random_port() -> Result<u16, Failure> {
    let bytes = random()?;
    Ok(20_000 + u16::from_be_bytes(bytes) % 40_000)
}
