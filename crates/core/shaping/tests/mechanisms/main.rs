//! The mechanisms against their promises: noise against its distribution, counts against their sensitivity, releases
//! against the loss that is claimed for them. Every random test has a fixed seed and states how often it would be wrong.

mod mu_audit;
mod neighbours;
mod noise;
mod support;
