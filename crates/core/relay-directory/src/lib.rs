#![doc = include_str!("../README.md")]

mod app;
mod client;
mod command;
mod directory;
mod event;
mod fetch;
mod order;
mod refusal;
mod service;
mod signer;
mod standing;
mod stream;
mod succession;
pub mod timetable;

pub use app::{CHANNEL, DIRECTORY, DirectoryApp};
pub use client::{
    CLOCK_BEHIND_MAX_MS, ClientRefusal, DirectoryClient, EVIDENCE_BYTES_MAX, EVIDENCE_MAX, Evidence, HISTORY_MAX,
    SignedName, Taken,
};
pub use command::{COMMAND_BYTES_MAX, Checked, Command, Tick, Vote, Withdrawal};
pub use directory::{
    ADMISSIONS_MAX, CLOCK_SKEW_MAX_MS, DESCRIBES_MAX, Directory, JUDGED_AT_ONCE_MAX, KEPT_RECORDS_MAX, NEW_BYTES_MAX,
    NEW_RECORDS_MAX, RECORDS_MAX, REVISIONS_MAX, SPONSOR_BYTES_MAX, SPONSORED_LIFE_MAX_MS, SUCCESSIONS_MAX,
};
pub use event::Event;
pub use fetch::{Answer, EDITIONS_KEPT, Keeper, Request, SUCCESSIONS_ANSWERED};
pub use order::{Admission, Order, SignedOrder};
pub use refusal::Refusal;
pub use service::{SERVICE_BYTES_MAX, ServiceRecord, SponsoredService};
pub use signer::{HELD_MAX, HELD_OF_RELAY_MAX, Promise, SignRefusal, Signer, Vow};
pub use standing::{MemberStanding, MembersStanding, ServicesStanding, Standing};
pub use stream::{
    ANSWER_BYTES_MAX, CODE_TRY_AGAIN, CommandOutcome, FrameError, FrameReader, OF_A_STRANGER, REQUEST_BYTES_MAX,
    REQUESTS_IN_FLIGHT_MAX, SENTENCE_BYTES_MAX, ServiceAnswer, ServiceRequest, frame,
};
pub use succession::{SUCCESSION_BYTES_MAX, Succession, SuccessionError};

#[doc(hidden)]
pub mod fuzz;
