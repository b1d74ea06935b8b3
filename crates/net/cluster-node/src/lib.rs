#![doc = include_str!("../README.md")]

pub mod clients;
pub mod driver;
pub mod files;
pub mod history;
pub mod pipe;
