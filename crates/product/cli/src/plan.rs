//! From a parsed configuration to what the supervisor needs.
