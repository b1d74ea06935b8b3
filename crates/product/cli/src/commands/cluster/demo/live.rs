//! What the cluster does: one line that changes, or one line every two seconds.

use super::nodes::Nodes;
use crate::terminal;
use admin::cluster::ClusterStatus;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// When lines are shown.
pub(super) struct Live {
    is_terminal: bool,
    next: Instant,
}

impl Live {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), next: Instant::now() }
    }

    /// Whether it is time for a line.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.next
    }

    pub(super) fn show(&mut self, nodes: &Nodes, statuses: &[Option<ClusterStatus>]) {
        self.next = Instant::now() + Duration::from_millis(if self.is_terminal { 500 } else { 2_000 });
        let rows: Vec<Row> = nodes
            .iter()
            .zip(statuses)
            .map(|(node, status)| Row {
                name: node.name(),
                pid: node.pid_text(),
                restarts: node.restarts(),
                status: status.as_ref(),
            })
            .collect();
        let line = line(&rows);
        // The line is replaced, and cut at the margin instead of wrapped.
        let text =
            if self.is_terminal { format!("\r\u{1b}[2K\u{1b}[?7l{line}\u{1b}[?7h") } else { format!("{line}\n") };
        terminal::say(&text);
    }

    /// Ends the line.
    pub(super) fn finish(&self) {
        if self.is_terminal {
            terminal::say("\n");
        }
    }
}

struct Row<'a> {
    name: &'a str,
    pid: String,
    restarts: u64,
    status: Option<&'a ClusterStatus>,
}

fn line(rows: &[Row<'_>]) -> String {
    // Of two who believe that they lead the one in the later term does.
    let newest = rows.iter().filter_map(|row| row.status).max_by_key(|status| (status.term, status.leads));
    let (term, leader) = match newest {
        Some(status) => (status.term.to_string(), status.leader.as_deref().unwrap_or("nobody")),
        None => ("unknown".to_owned(), "nobody"),
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!("term {term}, leader {leader} | entries: {}", rows.join(", "))
}

fn row(row: &Row<'_>) -> String {
    let Row { name, pid, restarts, status } = row;
    let again = match restarts {
        0 => String::new(),
        1 => " again".to_owned(),
        often => format!(" again, {often} times"),
    };
    match status {
        Some(status) => format!("{name} {} (process {pid}{again})", status.next),
        None if pid == "none" => format!("{name} down"),
        None => format!("{name} starting (process {pid}{again})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_leads_and_how_far_each_node_is() {
        let status = ClusterStatus { term: 2, next: 41, leader: Some("n2".into()), ..ClusterStatus::default() };
        let make = |name, pid: &str, restarts, status| Row { name, pid: pid.to_owned(), restarts, status };
        let rows = [make("n1", "7", 0, Some(&status)), make("n2", "8", 1, None), make("n3", "none", 2, None)];
        assert_eq!(
            line(&rows),
            "term 2, leader n2 | entries: n1 41 (process 7), n2 starting (process 8 again), n3 down"
        );
        assert_eq!(line(&[]), "term unknown, leader nobody | entries: ");
    }
}
