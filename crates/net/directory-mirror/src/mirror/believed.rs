//! What a mirror believes and what of it is on the disk. All of it takes a while: the task calls it on a thread that may wait.

use super::{MirrorFiles, StartError};
use crate::files::{self, FileError};
use network_document::{EDITION_BYTES_MAX, NetworkDocument, NetworkId, SignedEdition};
use relay_directory::{Answer, ClientRefusal, DirectoryClient, Taken};
use std::path::PathBuf;

/// Bytes of a cache at most: an edition, two texts, and the names and signatures of the last editions.
const CACHE_BYTES_MAX: usize = EDITION_BYTES_MAX + 256 * 1024;

#[derive(Debug)]
pub(super) struct Believed {
    pub(super) client: DirectoryClient,
    files: MirrorFiles,
    /// Something was taken that is not in the cache yet.
    unsaved: bool,
    /// The network's file has not been written since the newest edition came.
    unwritten: bool,
    /// Proofs of forks that are on the disk.
    pub(super) proofs: Vec<PathBuf>,
}

impl Believed {
    /// As an earlier run left it, or anew; and what a person should know of that.
    pub(super) fn open(network: NetworkId, files: MirrorFiles) -> Result<(Self, Option<String>), StartError> {
        let new = |client| Self { client, files: files.clone(), unsaved: false, unwritten: true, proofs: Vec::new() };
        let bytes = files::read(&files.cache, CACHE_BYTES_MAX)?;
        let Some(bytes) = bytes else { return Ok((new(DirectoryClient::new(network)), None)) };
        match DirectoryClient::restore(network, &bytes) {
            Ok(client) => Ok((new(client), None)),
            // Magic and network stand in front.
            Err(_) if bytes.get(8..40).is_some_and(|of| *of != network.0) && bytes.starts_with(b"HWDIRC01") => {
                Err(StartError::OtherNetwork(files.cache))
            }
            Err(error) => {
                let aside = files::set_aside(&files.cache)?;
                let note = format!(
                    "{} was damaged ({error}) and is now {}; until the first edition comes, an older one than it had would be taken",
                    files.cache.display(),
                    aside.display()
                );
                tracing::warn!("{note}");
                Ok((new(DirectoryClient::new(network)), Some(note)))
            }
        }
    }

    /// True when all that was taken is on the disk, so that this node cannot forget it.
    pub(super) fn is_saved(&self) -> bool {
        !self.unsaved
    }

    /// Believes an answer, or does not.
    pub(super) fn take(&mut self, now_ms: u64, answer: Answer) -> Result<Taken, ClientRefusal> {
        let taken = self.client.handle_decoded(now_ms, answer);
        if matches!(taken, Ok(Taken::Edition(_) | Taken::Members(1..))) {
            (self.unsaved, self.unwritten) = (true, true);
        }
        taken
    }

    /// Brings what was taken to the disk, proofs of forks too. The cache goes first: whoever reads the network's file never goes by
    /// something that this node could forget.
    pub(super) fn save(&mut self, now_ms: u64) -> Result<(), FileError> {
        self.save_proofs()?;
        if self.unsaved {
            files::replace(&self.files.cache, &self.client.save())?;
            self.unsaved = false;
        }
        let edition = self.client.document(now_ms).and_then(NetworkDocument::as_edition);
        if let (true, Some(path), Some(edition)) = (self.unwritten, &self.files.network, edition) {
            files::replace(path, &edition.encode())?;
        }
        self.unwritten = false;
        Ok(())
    }

    fn save_proofs(&mut self) -> Result<(), FileError> {
        let network = self.client.network_id();
        for proof in &self.client.evidence()[self.proofs.len()..] {
            files::make_folder(&self.files.evidence)?;
            // It was read when it was taken.
            let hash = SignedEdition::decode(&proof.other).map_or([0; 32], |other| other.edition().hash());
            let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            let path = self.files.evidence.join(format!("fork-{}-{hash}", proof.known.name.index));
            files::replace(&path, &proof.encode(network))?;
            self.proofs.push(path);
        }
        Ok(())
    }
}
