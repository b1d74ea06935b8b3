//! A pair of nodes on this machine, with servers and clients around it: what `demo` and `bench` are made of.

pub(crate) mod connect;
pub(crate) mod folder;
pub(crate) mod origin;
pub(crate) mod pair;
pub(crate) mod pattern;
pub(crate) mod stop;
pub(crate) mod usage;
