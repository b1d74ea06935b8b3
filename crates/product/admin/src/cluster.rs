//! A node of a cluster: what it is asked, what `hushwire cluster status --json` prints, and the screen for people.

use crate::directory::DirectoryService;
use crate::render::{UNKNOWN, duration, printable};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of [`ClusterStatus`]. Fields are added, never renamed or removed within a version.
pub const CLUSTER_SCHEMA_VERSION: u32 = 1;

/// What a node of a cluster may be asked. Members are named by node id or by the name in their certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ClusterRequest {
    /// How it stands.
    Status,
    /// Plan a change of those who vote: one joins, one leaves, or one takes another's place.
    Change {
        /// Who joins.
        add: Option<String>,
        /// Who leaves.
        remove: Option<String>,
    },
    /// Withdraw the plan.
    Withdraw,
    /// End the term: a checkpoint takes the place of what is in the log.
    EndTerm,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "became", rename_all = "snake_case")]
pub enum ClusterAnswer {
    /// To [`ClusterRequest::Status`].
    Status {
        /// How it stands.
        status: Box<ClusterStatus>,
    },
    /// It is done, or planned, on a majority.
    Done,
    /// It is not.
    NotDone {
        /// Why, in a sentence without a full stop.
        reason: String,
    },
}

/// How a node of a cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterStatus {
    /// [`CLUSTER_SCHEMA_VERSION`].
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// The node.
    pub node_id: String,
    /// The name in its certificate.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// For how many seconds it has run.
    pub uptime_s: u64,
    /// Where its pipe is.
    pub pipe: String,
    /// The term; 0 before it has joined.
    pub term: u64,
    /// Whether it votes in it.
    pub votes: bool,
    /// The leader's name, as far as it is known.
    pub leader: Option<String>,
    /// Whether that is this node.
    pub leads: bool,
    /// The offset of the next entry: everything before it has taken effect here.
    pub next: u64,
    /// Entries of the term that are decided.
    pub decided: u64,
    /// Entries of the term that are in this node's log.
    pub length: u64,
    /// Requests that wait for an answer.
    pub waiting: u64,
    /// Entries that took effect since the start.
    pub applied: u64,
    /// Syncs of the disk since the start.
    pub syncs: u64,
    /// What all of them took, in microseconds.
    pub sync_us: u64,
    /// The longest of them, in microseconds.
    pub longest_sync_us: u64,
    /// UTC seconds until when the certificate that this node shows is good.
    pub certificate_until_unix_s: Option<i64>,
    /// Seconds until then, by this node's clock; negative afterwards.
    pub certificate_left_s: Option<i64>,
    /// Who joins next, if a plan says so.
    pub joins: Option<String>,
    /// Who leaves next, if a plan says so.
    pub leaves: Option<String>,
    /// Everybody who votes or is let in, this node included.
    pub members: Vec<ClusterMember>,
    /// Handshakes that failed or were refused: strangers, or members with a bad certificate.
    pub refused_handshakes: u64,
    /// As a member of a directory: what its service has done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<DirectoryService>,
}

/// A member as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterMember {
    /// Its node id.
    pub node_id: String,
    /// The name in its certificate; `null` when this node's list of members does not have it.
    pub name: Option<String>,
    /// Whether it votes in the present term.
    pub votes: bool,
    /// Whether it is this node.
    pub own: bool,
    /// For how many seconds the connection has stood; `null` without one.
    pub connected_s: Option<u64>,
    /// Connections that were begun.
    pub connections: u64,
    /// Attempts to dial it that came to nothing.
    pub failed_dials: u64,
    /// What it did that it must not, by kind.
    pub faults: u64,
}

/// The screen. Texts from elsewhere cannot move the cursor of a terminal.
pub fn screen(status: &ClusterStatus) -> String {
    let mut text = String::new();
    let name = printable(&status.name);
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name}, running for {} as process {}", duration(status.uptime_s), status.pid);
    let leader = status.leader.as_ref().map_or(UNKNOWN.to_owned(), |leader| printable(leader));
    let role = match (status.leads, status.votes) {
        (true, _) => "leads",
        (false, true) => "follows",
        (false, false) => "does not vote",
    };
    let _ = writeln!(text, "term     {}, leader {leader}; this node {role}", status.term);
    let _ = writeln!(
        text,
        "entries  {} took effect; {} of the term's {} are decided; {} requests wait",
        status.next, status.decided, status.length, status.waiting
    );
    let _ = writeln!(text, "disk     {}", disk(status));
    let _ = writeln!(text, "shows    {}", certificate(status.certificate_left_s));
    let _ = writeln!(text, "pipe     {}", printable(&status.pipe));
    for (who, what) in [(&status.joins, "joins when it has caught up"), (&status.leaves, "leaves")] {
        if let Some(who) = who {
            let _ = writeln!(text, "planned  {} {what}", printable(who));
        }
    }
    for member in &status.members {
        let _ = writeln!(text, "member   {}", row(member));
    }
    if status.refused_handshakes > 0 {
        let _ = writeln!(text, "refused  {} handshakes", status.refused_handshakes);
    }
    text
}

fn disk(status: &ClusterStatus) -> String {
    let milliseconds = |microseconds: u64| microseconds as f64 / 1_000.0;
    match status.sync_us.checked_div(status.syncs) {
        None => "no syncs yet".to_owned(),
        Some(mean) => format!(
            "{} syncs of {:.1} ms on average, {:.1} ms at most",
            status.syncs,
            milliseconds(mean),
            milliseconds(status.longest_sync_us)
        ),
    }
}

fn certificate(left_s: Option<i64>) -> String {
    match left_s {
        None => "a certificate that this program cannot read".to_owned(),
        Some(left_s) if left_s < 0 => format!("a certificate that ended {} ago", duration(left_s.unsigned_abs())),
        Some(left_s) => format!("a certificate that is good for {}", duration(left_s.unsigned_abs())),
    }
}

fn row(member: &ClusterMember) -> String {
    let name = member.name.as_ref().map_or_else(
        || format!("{} (not in this node's list, so not connected)", printable(&member.node_id)),
        |name| printable(name),
    );
    let vote = if member.votes { "" } else { ", without a vote" };
    let state = match (member.own, member.connected_s) {
        (true, _) => "this node".to_owned(),
        (false, Some(seconds)) => format!("connected for {}", duration(seconds)),
        (false, None) => format!("not connected, {} attempts failed", member.failed_dials),
    };
    let faults = if member.faults > 0 { format!(", {} faults", member.faults) } else { String::new() };
    format!("{name}{vote}: {state}{faults}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_says_who_leads_and_who_is_there() {
        let member = |name: &str, connected_s| ClusterMember {
            name: Some(name.into()),
            votes: true,
            connected_s,
            ..ClusterMember::default()
        };
        let status = ClusterStatus {
            name: "n1".into(),
            pid: 12,
            pipe: "n1/pi\u{1b}pe".into(),
            term: 3,
            votes: true,
            leader: Some("n2".into()),
            next: 120,
            decided: 20,
            length: 21,
            syncs: 4,
            sync_us: 5_000,
            longest_sync_us: 2_400,
            certificate_left_s: Some(172_800),
            joins: Some("n4".into()),
            members: vec![
                ClusterMember { own: true, ..member("n1", None) },
                member("n2", Some(61)),
                ClusterMember { votes: false, failed_dials: 2, faults: 1, ..member("n4", None) },
                ClusterMember { node_id: "hwn1x".into(), votes: true, ..ClusterMember::default() },
            ],
            ..ClusterStatus::default()
        };
        let expected = "n1, running for 0 s as process 12\n\
            term     3, leader n2; this node follows\n\
            entries  120 took effect; 20 of the term's 21 are decided; 0 requests wait\n\
            disk     4 syncs of 1.2 ms on average, 2.4 ms at most\n\
            shows    a certificate that is good for 2 d 0 h\n\
            pipe     n1/pi\u{fffd}pe\n\
            planned  n4 joins when it has caught up\n\
            member   n1: this node\n\
            member   n2: connected for 1 min 1 s\n\
            member   n4, without a vote: not connected, 2 attempts failed, 1 faults\n\
            member   hwn1x (not in this node's list, so not connected): not connected, 0 attempts failed\n";
        assert_eq!(screen(&status), expected);
    }
}
