//! What a member begins with.

use aws_lc_rs::digest::{SHA256, digest};
use network_document::{Charter, EncodingError, Problem, TermFile};
use relay_directory::Directory;
use std::sync::Arc;
use thiserror::Error;

/// What is hashed before the names of a cluster, a network and a term.
const CLUSTER_CONTEXT: &[u8] = b"hushwire directory cluster 1";

/// Why there is nothing to begin with.
#[derive(Debug, Error)]
pub enum BeginningError {
    /// The charter has no directory.
    #[error("the charter is of version 1 and has no directory; `hushwire network new --directory` makes one that has")]
    NoDirectory,
    /// The bytes are no state of the network.
    #[error("the state that the term begins with cannot be used: {0}")]
    State(EncodingError),
    /// The term may not begin so.
    #[error("the term cannot begin with this state: {0}")]
    Term(Problem),
}

/// The first state of a directory: that of its charter, or the one with which a term outside the log begins.
///
/// # Errors
/// [`BeginningError`].
pub fn begin(charter: Arc<Charter>, term: Option<(&TermFile, &[u8])>) -> Result<Directory, BeginningError> {
    let Some((file, state)) = term else {
        return Directory::new(charter).map_err(|_| BeginningError::NoDirectory);
    };
    let mut directory = Directory::decode(charter, state).map_err(BeginningError::State)?;
    directory.begin_term(file).map_err(BeginningError::Term)?;
    Ok(directory)
}

/// The name of the cluster whose log has this directory: SHA-256(`hushwire directory cluster 1` | the cluster's own name | network
/// id | a byte, 1 with a term outside the log and else 0 | SHA-256 of that term's file, or zeros).
///
/// Members find the same log only if they agree on all of it, so none of them can begin with another state than the others.
pub fn cluster_of(cluster: [u8; 32], charter: &Charter, term: Option<&TermFile>) -> [u8; 32] {
    let of_term = term.map_or([0; 32], |term| sha256(term.text().as_bytes()));
    let flag = [u8::from(term.is_some())];
    sha256(&[CLUSTER_CONTEXT, &cluster, &charter.network_id().0, &flag, &of_term].concat())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}
