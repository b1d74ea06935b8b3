//! Every test of the command line in one program: processes that are waited for wait side by side in one program only.

mod circuits;
mod cluster;
mod cluster_pipe;
mod commands;
mod demo;
mod demo_circuits;
mod directory;
mod documents;
mod help;
mod hop;
mod node;
mod pair;
mod pki;
mod plan;
mod relay;
mod service;
mod sim;

#[path = "scratch/folder.rs"]
mod folder;
#[path = "scratch/network.rs"]
mod network;
#[path = "scratch/outcome.rs"]
mod outcome;
#[path = "scratch/pipe.rs"]
mod pipe;
#[path = "scratch/ports.rs"]
mod ports;
