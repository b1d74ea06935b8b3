//! os-net
