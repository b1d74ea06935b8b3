//! A node's disk: what was written, what of it was synced, and what a crash leaves.

use super::dice::Dice;
use identity::NodeId;
use replicated_log::record::{Header, LogDecoder, Places, Recovered};
use replicated_log::{ClusterId, Entry, LogIndex, LogReader, ReadError, Term, Write};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    synced: usize,
    /// In memory only; made again when the file is read.
    places: Places,
}

#[derive(Debug, Default)]
struct Files {
    checkpoints: BTreeMap<Term, Vec<u8>>,
    logs: BTreeMap<Term, Log>,
}

/// Shared between the world and the node's reader.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Files>>);

impl Disk {
    pub(super) fn new(cluster: ClusterId, node: NodeId, term: Term, checkpoint: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.begin_term(term, checkpoint, &Header { cluster, node, term }.encode());
        disk
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_term(&self, term: Term, checkpoint: Vec<u8>, header: &[u8]) {
        let mut files = self.files();
        files.checkpoints.insert(term, checkpoint);
        files.logs.insert(term, Log { bytes: header.to_vec(), synced: header.len(), places: Places::default() });
        // Older files would be kept for subscribers; nothing of this node may need them.
        files.checkpoints.retain(|kept, _| *kept == term);
        files.logs.retain(|kept, _| kept.0 + 1 >= term.0);
    }

    pub(super) fn write(&self, write: &Write) {
        match write {
            Write::Append { term, position, bytes, runs } => {
                let mut files = self.files();
                let log = files.logs.get_mut(term).expect("a term begins before its log is written");
                assert_eq!(log.bytes.len() as u64, *position, "the node knows how long its file is");
                log.bytes.extend_from_slice(bytes);
                runs.iter().for_each(|(from, count)| log.places.handle_run(*position, *from, *count));
            }
            Write::BeginTerm { term, checkpoint, log_header } => {
                self.begin_term(*term, checkpoint.clone(), log_header);
            }
        }
    }

    pub(super) fn sync(&self) {
        self.files().logs.values_mut().for_each(|log| log.synced = log.bytes.len());
    }

    /// The machine stops: of what was not synced, a part stays, perhaps altered, perhaps with noise behind it.
    pub(super) fn crash(&self, dice: &mut Dice) {
        for log in self.files().logs.values_mut() {
            let unsynced = log.bytes.len() - log.synced;
            let stays = dice.index(unsynced + 1);
            log.bytes.truncate(log.synced + stays);
            if stays > 0 && dice.once_in(2) {
                let place = log.synced + dice.index(stays);
                log.bytes[place] ^= 1 << dice.below(8);
            }
            if dice.once_in(4) {
                let noise = dice.index(40);
                log.bytes.extend((0..noise).map(|_| dice.bits() as u8));
            }
        }
    }

    /// What a shell does before it opens a node.
    pub(super) fn recover(&self, cluster: ClusterId, node: NodeId) -> Result<(Vec<u8>, Recovered), String> {
        let mut files = self.files();
        let (term, checkpoint) = files.checkpoints.last_key_value().ok_or("no checkpoint on the disk")?;
        let (term, checkpoint) = (*term, checkpoint.clone());
        let log = files.logs.get_mut(&term).ok_or("no log on the disk")?;
        let mut decoder = LogDecoder::new(Header { cluster, node, term });
        let (mut recovered, mut places) = (Recovered::default(), Places::default());
        for piece in log.bytes.chunks(4_096) {
            decoder.push(piece);
            while let Some((position, records)) = decoder.poll_batch().map_err(|error| error.to_string())? {
                places.handle_batch(position, &records);
                records.iter().for_each(|record| recovered.handle_record(record));
            }
        }
        let tail = decoder.finish().map_err(|error| error.to_string())?;
        recovered.file_length = tail.length;
        log.bytes.truncate(usize::try_from(tail.length).map_err(|_| "a long file")?);
        (log.synced, log.places) = (log.bytes.len(), places);
        Ok((checkpoint, recovered))
    }
}

impl LogReader for Disk {
    fn read_entries(&mut self, term: Term, from: LogIndex, to: LogIndex) -> Result<Vec<Entry>, ReadError> {
        let files = self.files();
        let log = files.logs.get(&term).ok_or(ReadError)?;
        let read_at = |position: u64, buffer: &mut [u8]| {
            let rest = log.bytes.get(position as usize..).ok_or(ReadError)?;
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok::<_, ReadError>(length)
        };
        log.places.read(from, to, read_at).map_err(|_| ReadError)
    }

    fn read_checkpoint(&mut self, term: Term, at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let files = self.files();
        let bytes = files.checkpoints.get(&term).ok_or(ReadError)?;
        let from = usize::try_from(at).map_err(|_| ReadError)?.min(bytes.len());
        Ok(bytes[from..bytes.len().min(from.saturating_add(length))].to_vec())
    }
}
