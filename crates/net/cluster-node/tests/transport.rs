//! Members on loopback sockets: certificates, streams, faults, restarts. Each defect of the original is a test named
//! `defect_...`; docs/original-defects.md lists them.

#[path = "transport/faults.rs"]
mod faults;
#[path = "transport/harness.rs"]
mod harness;
#[path = "transport/members.rs"]
mod members;
#[path = "transport/restarts.rs"]
mod restarts;
#[path = "transport/strangers.rs"]
mod strangers;
#[path = "transport/streams.rs"]
mod streams;
