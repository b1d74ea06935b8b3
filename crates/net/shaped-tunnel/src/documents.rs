//! The network's document on its way into a process: sealed memory that the supervisor hands over, read where time does not
//! matter.

use network_document::{DOCUMENT_BYTES_MAX, LoadError, NetworkDocument};
use shm_ring::{SegmentError, read_sealed};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use thiserror::Error;

/// Why a document cannot be had from the supervisor, which has read the same bytes. Its fault, or that of somebody who took its
/// place.
#[derive(Debug, Error)]
pub enum HandedDocumentError {
    /// No descriptor came with it.
    #[error("the supervisor did not hand over the network's document")]
    Missing,
    /// It is larger than a document can be.
    #[error("the supervisor announced a document of {0} bytes, and none has more than {DOCUMENT_BYTES_MAX}")]
    Large(usize),
    /// The memory cannot be read.
    #[error("the network's document cannot be read: {0}")]
    Memory(#[from] SegmentError),
    /// It is none.
    #[error("the network's document cannot be used: {0}")]
    Load(#[from] LoadError),
    /// The system gives no thread to read it in.
    #[error("there is no thread to read the network's document in: {0}")]
    Thread(#[source] io::Error),
}

/// Reads a document of `bytes` bytes out of sealed memory.
///
/// # Errors
/// [`HandedDocumentError`].
pub fn handed_document(memory: Option<OwnedFd>, bytes: usize) -> Result<NetworkDocument, HandedDocumentError> {
    let memory = memory.ok_or(HandedDocumentError::Missing)?;
    if bytes > DOCUMENT_BYTES_MAX {
        return Err(HandedDocumentError::Large(bytes));
    }
    Ok(NetworkDocument::load(&read_sealed(memory.as_fd(), bytes)?)?)
}

type Work<T> = Box<dyn FnOnce() -> Result<T, HandedDocumentError> + Send>;

/// Reads documents in a thread of its own, one at a time: a document of 5,000 relays takes as long as several slots. Of those that
/// come meanwhile the newest one is kept.
pub struct DocumentReader<T> {
    reading: Option<Receiver<Result<T, HandedDocumentError>>>,
    next: Option<Work<T>>,
}

impl<T: Send + 'static> DocumentReader<T> {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self { reading: None, next: None }
    }

    /// Begins to read a document of `bytes` bytes, and makes of it what is wanted, both in the other thread.
    pub fn begin(
        &mut self,
        memory: Option<OwnedFd>,
        bytes: usize,
        make: impl FnOnce(NetworkDocument) -> T + Send + 'static,
    ) {
        self.next = Some(Box::new(move || handed_document(memory, bytes).map(make)));
    }

    /// What was read, or why not. To be asked often: it begins with the next one too.
    pub fn poll(&mut self) -> Option<Result<T, HandedDocumentError>> {
        if let Some(reading) = &self.reading {
            let read = match reading.try_recv() {
                Ok(read) => read,
                Err(TryRecvError::Empty) => return None,
                // The thread has died of its work.
                Err(TryRecvError::Disconnected) => Err(HandedDocumentError::Missing),
            };
            self.reading = None;
            return Some(read);
        }
        let work = self.next.take()?;
        let (sender, receiver) = sync_channel(1);
        let begun = std::thread::Builder::new().name("document".into()).spawn(move || {
            // Nobody waits when the process ends.
            let _ = sender.send(work());
        });
        match begun {
            Ok(_) => self.reading = Some(receiver),
            Err(error) => return Some(Err(HandedDocumentError::Thread(error))),
        }
        None
    }

    /// Whether there is something to poll for.
    pub fn is_busy(&self) -> bool {
        self.reading.is_some() || self.next.is_some()
    }
}

impl<T: Send + 'static> Default for DocumentReader<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for DocumentReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentReader").field("reading", &self.reading.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn wait<T: Send + 'static>(reader: &mut DocumentReader<T>) -> Result<T, HandedDocumentError> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(read) = reader.poll() {
                return read;
            }
            assert!(Instant::now() < until && reader.is_busy(), "it is being read");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_no_document_is_refused_for_its_reason() {
        let sealed = |bytes: &[u8]| shm_ring::seal(c"document", bytes).expect("memory");
        let mut reader = DocumentReader::new();
        assert!(reader.poll().is_none() && !reader.is_busy());
        reader.begin(Some(sealed(b"nonsense")), 8, drop);
        assert!(matches!(wait(&mut reader), Err(HandedDocumentError::Load(LoadError::Text(_)))));
        reader.begin(Some(sealed(b"nonsense")), 9, drop);
        assert!(matches!(wait(&mut reader), Err(HandedDocumentError::Memory(SegmentError::TooShort { .. }))));
        reader.begin(Some(sealed(b"nonsense")), DOCUMENT_BYTES_MAX + 1, drop);
        assert!(matches!(wait(&mut reader), Err(HandedDocumentError::Large(_))));
        reader.begin(None, 8, drop);
        assert!(matches!(wait(&mut reader), Err(HandedDocumentError::Missing)));
        assert!(!reader.is_busy());
    }
}
