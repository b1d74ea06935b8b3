//! One module for each command.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod circuit;
pub(crate) mod cluster;
pub(crate) mod demo;
pub(crate) mod directory;
pub(crate) mod generate;
pub(crate) mod hop;
pub(crate) mod init;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod mirror;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod pki;
pub(crate) mod plan;
pub(crate) mod relay;
pub(crate) mod run;
pub(crate) mod service;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod swap;
pub(crate) mod verify;
pub(crate) mod version;
