#![doc = include_str!("../README.md")]

pub mod filler;
pub mod keys;
pub mod noise;
pub mod window;
