//! The models, in one program: each takes a processor for as long as it lasts, so those that are left at the end of one file share the
//! machine with the next.

#![allow(clippy::print_stdout, reason = "figures, and seeds that repeat a run, are told with --nocapture")]

mod budgets;
mod circuits;
mod cluster;
mod direct_legs;
mod directory;
mod documents;
mod exit;
mod exit_slots;
mod flows;
mod hops;
mod last_minute;
mod legs;
mod memory;
mod observer;
mod released_circuits;
mod releases;
mod service_node;
mod services;
mod shaped_circuits;
mod tunnels;
mod visits;
