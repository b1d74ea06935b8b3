//! What the shaped process of a node does, without sockets or clocks.

pub mod queues;
