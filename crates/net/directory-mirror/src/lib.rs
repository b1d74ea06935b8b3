#![doc = include_str!("../README.md")]

mod clock;
mod files;
mod mirror;
mod publisher;
mod service;
mod services;
mod sources;
mod status;

pub use clock::Clock;
pub use files::FileError;
pub use mirror::{Mirror, MirrorConfig, MirrorFiles, StartError, fetch_edition};
pub use publisher::{Outcome, Profile, Publisher, PublisherConfig, PublisherError, PublisherStatus, WithdrawError};
pub use service::{
    MirrorService, MirrorStream, NO_RECORD_AGE_MAX, PASS_PATIENCE, PASSED_ON_MAX, QUESTIONS_MAX, RECORD_AGE_MAX,
    RECORD_PATIENCE, RECORDS_KEPT_MAX, STREAM_QUESTION_EVERY, STREAM_QUESTIONS_MAX, STREAM_RECORD_EVERY,
    STREAM_RECORDS_MAX,
};
pub use services::{DirectoryTime, PUBLISH_PATIENCE, PUBLISHING_MAX, PublishError, ServicePublisher, TIME_EVERY_MAX};
pub use sources::{SOURCES_MAX, SOURCES_TRIED_MAX, Sources};
pub use status::{Counts, HeldEdition, MirrorStatus, SKEW_WARNED_MS};
