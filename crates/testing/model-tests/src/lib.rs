#![doc = include_str!("../README.md")]

pub mod apps;
pub mod circuits;
pub mod cluster;
pub mod directory;
pub mod exit_slots;
pub mod exit_world;
pub mod leaks;
pub mod legs;
pub mod memory_queues;
pub mod noise;
pub mod pair;
pub mod policer;
