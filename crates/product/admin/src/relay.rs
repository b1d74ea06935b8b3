//! A relay: what `hushwire status` prints of one, and the screen for people. Sums, and the relays at the other ends of its links.

use crate::peers::Neighbour;
use crate::render::{duration, printable};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of [`RelayStatus`]. Fields are added, never renamed or removed within a version.
pub const RELAY_SCHEMA_VERSION: u32 = 1;

/// How a relay stands. Nothing says which circuit goes where, or who its clients are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayStatus {
    /// [`RELAY_SCHEMA_VERSION`].
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// The relay.
    pub node_id: String,
    /// Its process.
    pub pid: u32,
    /// For how many seconds it has run.
    pub uptime_s: u64,
    /// Links, half-open ones included.
    pub links: u64,
    /// Links of clients, or of nodes that are not in the document.
    pub clients: u64,
    /// Circuits.
    pub circuits: u64,
    /// Cells that wait for the rate.
    pub waiting: u64,
    /// Cells that went on.
    pub sent: u64,
    /// Cells that were dropped for want of room, or because they had waited too long.
    pub dropped: u64,
    /// Hop handshakes that were worked on.
    pub handshakes: u64,
    /// How often links went to another pair of ports.
    pub hops: u64,
    /// Packets that were no packet of a link: strangers, copies, what was altered.
    pub refused: u64,
    /// Packets that the system took.
    pub packets_sent: u64,
    /// Packets that the system did not take.
    pub send_failed: u64,
    /// Packets that came and belonged to a link.
    pub packets_received: u64,
    /// Relays at the other ends of links, at most 256 of them.
    pub neighbours: Vec<Neighbour>,
}

/// The screen.
pub fn screen(status: &RelayStatus) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "relay {}, running for {}\n", printable(&status.node_id), duration(status.uptime_s));
    let RelayStatus { links, clients, circuits, waiting, sent, dropped, handshakes, hops, .. } = status;
    let _ = writeln!(text, "links     {links}, {clients} of them of clients; {hops} hops");
    let _ = writeln!(text, "circuits  {circuits}, {handshakes} handshakes");
    let _ = writeln!(text, "cells     {sent} went on, {waiting} wait, {dropped} dropped");
    let (sent, received) = (status.packets_sent, status.packets_received);
    let (refused, failed) = (status.refused, status.send_failed);
    let _ = writeln!(text, "packets   {sent} sent, {received} received, {refused} refused, {failed} not sent");
    text
}
