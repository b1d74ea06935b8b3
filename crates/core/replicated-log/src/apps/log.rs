//! Ordered topics: every message of a topic has a number there, from 0, without a gap.

use super::{App, Context, Notice, Output, RestoreError};
use crate::checkpoint::CHECKPOINT_BYTES_MAX;
use std::collections::BTreeMap;
use wire::encoding::{Reader, WriteBytes};

/// Longest name of a topic, in bytes.
const TOPIC_BYTES_MAX: usize = 255;

/// Most topics. A message for one more is answered with `full` and has no other effect.
const TOPICS_MAX: usize = 65_536;

/// The application: it counts, and hands each message on to those who watch the topic. The messages are in the log.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The next number of each topic.
    topics: BTreeMap<Vec<u8>, u64>,
}

/// A message for a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRequest<'a> {
    /// Which topic; 1 to 255 bytes.
    pub topic: &'a [u8],
    /// What is said.
    pub data: &'a [u8],
}

impl<'a> LogRequest<'a> {
    /// The body of an entry: `length 1 | topic | data`. A longer topic is cut.
    pub fn encode(&self) -> Vec<u8> {
        let topic = &self.topic[..self.topic.len().min(TOPIC_BYTES_MAX)];
        [&[topic.len() as u8], topic, self.data].concat()
    }

    /// From the body of an entry; `None` when it is cut or its topic is empty.
    pub fn decode(body: &'a [u8]) -> Option<Self> {
        let (length, rest) = body.split_first()?;
        let (topic, data) = rest.split_at_checked(usize::from(*length))?;
        (!topic.is_empty()).then_some(Self { topic, data })
    }
}

impl App for Log {
    /// The answer is the message's number in the topic, 8 bytes; `bad` or `full` otherwise.
    fn apply(&mut self, _: Context, body: &[u8]) -> Output {
        let Some(request) = LogRequest::decode(body) else { return Output::answer(*b"bad") };
        if !self.topics.contains_key(request.topic) && self.topics.len() >= TOPICS_MAX {
            return Output::answer(*b"full");
        }
        let next = self.topics.entry(request.topic.to_vec()).or_default();
        let sequence = *next;
        *next += 1;
        let notice = Notice { channel: request.topic.to_vec(), sequence, body: request.data.to_vec() };
        Output { result: sequence.to_be_bytes().to_vec(), notices: vec![notice] }
    }

    /// The request is a topic, the answer its next number, 8 bytes.
    fn query(&self, topic: &[u8]) -> Vec<u8> {
        self.topics.get(topic).copied().unwrap_or_default().to_be_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (topic, next) in &self.topics {
            out.bytes(topic);
            out.u64(*next);
        }
        out
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.topics.clear();
        let mut input = Reader::new(bytes);
        while !input.remaining().is_empty() {
            let topic = input.bytes(CHECKPOINT_BYTES_MAX).map_err(|_| RestoreError)?.to_vec();
            self.topics.insert(topic, input.u64().map_err(|_| RestoreError)?);
        }
        Ok(())
    }
}
