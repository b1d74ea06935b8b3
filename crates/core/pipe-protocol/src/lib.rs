#![doc = include_str!("../README.md")]

mod binary;
mod connection;
pub mod fuzz;
mod message;
mod reader;
mod text;

pub use connection::{Connection, Event, OUTPUT_BYTES_MAX, OUTSTANDING_BYTES_MAX, OUTSTANDING_MAX, Receipt};
pub use message::{
    Answer, DATA_BYTES_MAX, ErrorCode, From, KEY_BYTES_MAX, Key, Level, Message, NameError, Publication, Refusal,
    Request, SessionId, SessionIdError, TOPIC_BYTES_MAX, TOPICS_MAX, Topic, VERSION,
};
pub use reader::{BadMessage, Form, MAGIC, ReadError, Readable, Reader, encode};
