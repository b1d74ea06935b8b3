#![doc = include_str!("../README.md")]

mod address;
mod blinding;
mod client;
mod day;
mod descriptor;
mod introduction;
mod once;
mod service;
#[cfg(test)]
mod vectors;
mod work;

pub use address::{ADDRESS_SUFFIX, AddressError, ServiceAddress};
pub use blinding::{BlindingError, DaySecret};
pub use client::{Action, ClientConfig, ClientError, ClientIntroduction, INTRODUCTIONS_MAX};
pub use day::{DAY_MS, Day, DayKey, blinding_factor};
pub use descriptor::{
    AccessKeyError, CLIENTS_MAX, CONTENT_LEN, Descriptor, IntroductionPoint, OpenError, POINTS_MAX, WORK_BITS_MAX,
};
pub use introduction::{ANSWER_LEN, AnswerError, COOKIE_LEN, Cookie, INTRODUCTION_LEN, Meeting, RENDEZVOUS_MAX};
pub use service::{
    ConfigError, Figures, INTRODUCED_MAX, INTRODUCTIONS_PER_POINT_MAX, Introduced, IntroductionRefusal,
    POINTS_TRACKED_MAX, PointId, PointOrder, Publication, RECORD_LIFE_MAX, REPLAYS_MAX, ServiceConfig, ServiceCore,
};

#[doc(hidden)]
pub mod fuzz;
