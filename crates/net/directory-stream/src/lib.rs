#![doc = include_str!("../README.md")]

mod ask;
mod bucket;
mod open;
mod serve;

pub use ask::{ANSWER_TIME_MAX, AskError, Asker, STALL_MAX};
pub use bucket::Bucket;
pub use open::{Bytes, OPEN_TIME_MAX, Open, OpenError, Opening, Stream, UnixSource};
pub use os_net::unix_socket::{ListenError, listen};
pub use serve::{
    ANSWERS_KIB_MAX, Answers, CONNECTIONS_MAX, IDLE_MAX, Limits, REQUESTS_MAX, STRANGERS_MAX, serve, serve_stream,
};
