//! What the tests judge by.

pub(crate) mod audit;
pub(crate) mod statistics;
