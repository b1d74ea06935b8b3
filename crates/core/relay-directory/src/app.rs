//! The directory on the replicated log.

use crate::directory::Directory;
use crate::event::Event;
use crate::fetch::{Keeper, Request};
use network_document::EncodingError;
use network_document::encoding::Reader;
use network_document::encoding::WriteBytes;
use replicated_log::AppId;
use replicated_log::apps::{App, Context, Notice, Output, RestoreError};
use std::sync::Arc;

/// The directory among the applications of the log.
pub const DIRECTORY: AppId = AppId(4);
/// The channel on which each published edition is told: its index and its hash.
pub const CHANNEL: &[u8] = b"directory";

/// A [`Directory`] as an application.
///
/// The answer to a command is a byte and a sentence: 0 when it has an effect, else [`crate::Refusal::code`] and why not. The log's
/// own time, which whoever leads writes, has no meaning here.
#[derive(Debug, Clone)]
pub struct DirectoryApp {
    directory: Directory,
    /// Editions that were told.
    told: u64,
}

impl DirectoryApp {
    /// With the state of a charter, or with one that [`Directory::begin_term`] took.
    pub fn new(directory: Directory) -> Self {
        Self { directory, told: 0 }
    }

    /// The state.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    fn told(&mut self, event: &Event) -> Option<Notice> {
        let Event::Published(name) = event else { return None };
        let mut body = Vec::new();
        body.u64(name.index);
        body.raw(&name.hash);
        let sequence = self.told;
        self.told += 1;
        Some(Notice { channel: CHANNEL.to_vec(), sequence, body })
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), EncodingError> {
        let mut input = Reader::new(bytes);
        let told = input.u64()?;
        self.directory = Directory::decode(Arc::clone(self.directory.charter()), input.remaining())?;
        self.told = told;
        Ok(())
    }
}

impl App for DirectoryApp {
    /// The body is a [`crate::Command`].
    fn apply(&mut self, _: Context, body: &[u8]) -> Output {
        let events = self.directory.apply(body);
        let notices = events.iter().filter_map(|event| self.told(event)).collect();
        let result = match events.as_slice() {
            [Event::Refused(refusal)] => [&[refusal.code()], refusal.to_string().as_bytes()].concat(),
            _ => [&[0][..], b"done"].concat(),
        };
        Output { result, notices }
    }

    /// The request is a [`Request`], the answer an [`crate::Answer`]; empty for anything else. Only the newest published edition
    /// is known here: [`Keeper`] has earlier ones.
    fn query(&self, request: &[u8]) -> Vec<u8> {
        let Ok(request) = Request::decode(request) else { return Vec::new() };
        let mut keeper = Keeper::default();
        self.directory.published().cloned().into_iter().for_each(|edition| keeper.keep(edition));
        self.directory.successions().cloned().for_each(|succession| keeper.keep_succession(succession));
        keeper.answer(&request).encode()
    }

    fn snapshot(&self) -> Vec<u8> {
        [self.told.to_be_bytes().to_vec(), self.directory.encode()].concat()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.read(bytes).map_err(|_| RestoreError)
    }
}
