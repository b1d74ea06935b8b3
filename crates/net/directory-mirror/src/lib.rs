#![doc = include_str!("../README.md")]

mod clock;
mod files;
mod mirror;
mod publisher;
mod service;
mod sources;
mod status;

pub use clock::Clock;
pub use files::FileError;
pub use mirror::{Mirror, MirrorConfig, MirrorFiles, StartError, fetch_edition};
pub use publisher::{Outcome, Profile, Publisher, PublisherConfig, PublisherError, PublisherStatus, WithdrawError};
pub use service::{MirrorService, PASSED_ON_MAX};
pub use sources::{SOURCES_MAX, SOURCES_TRIED_MAX, Sources};
pub use status::{Counts, HeldEdition, MirrorStatus, SKEW_WARNED_MS};
