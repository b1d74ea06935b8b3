#![doc = include_str!("../README.md")]

mod binary;
mod connection;
pub mod fuzz;
mod message;
mod reader;
mod text;

pub use connection::{Connection, Event, OUTPUT_BYTES_MAX, OUTSTANDING_BYTES_MAX, OUTSTANDING_MAX, Receipt};
pub use message::{
    Answer, DATA_BYTES_MAX, Effect, ErrorCode, From, Level, Message, NAME_BYTES_MAX, NAMES_MAX, Name, NameError, Of,
    Order, Refusal, Request, SessionId, SessionIdError, Submission, VERSION,
};
pub use reader::{BadMessage, Form, MAGIC, ReadError, Readable, Reader, encode};
