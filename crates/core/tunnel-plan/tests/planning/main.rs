//! Paths, guards and pools over made-up networks.

mod guards;
mod network;
mod paths;
mod refusals;
mod year;
