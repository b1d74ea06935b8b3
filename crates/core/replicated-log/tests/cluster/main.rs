//! Three nodes in one thread, without faults but those that a test makes.

mod apps;
mod defects;
mod limits;
mod shell;
mod traps;
