//! Nodes on this machine, with servers and clients around them: what `demo` and `bench` are made of.

pub(crate) mod connect;
pub(crate) mod folder;
pub(crate) mod origin;
pub(crate) mod pair;
pub(crate) mod part;
pub(crate) mod pattern;
pub(crate) mod ports;
pub(crate) mod stop;
pub(crate) mod usage;
