//! The tests of the lab that may run side by side: real processes are mostly waited for, and Cargo runs one program of tests
//! after the other. Those that judge times are in `timed`.

mod bad_input;
mod circuits;
mod cluster;
mod curl;
mod direct_legs;
mod dns;
mod hops;
mod iperf;
mod kills;
mod link_refusals;
mod network;
mod releases;
mod shells;
mod start;
mod streams;
mod swap_check;
mod swap_entry;
