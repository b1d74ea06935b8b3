//! Runs of the whole simulator: what must hold in every mode, and the targets.

mod modes;
mod targets;
