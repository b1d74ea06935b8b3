//! The state of a stand-alone hop client or server: what `hushwire hop status --json` prints, and the screen for people.

use crate::render::{UNKNOWN, decimal, duration, printable};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of this schema. Fields are added, never renamed or removed within a version.
pub const HOP_SCHEMA_VERSION: u32 = 1;

/// One end of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HopStatus {
    /// [`HOP_SCHEMA_VERSION`].
    pub schema: u32,
    /// Whether it is the client; else the server.
    pub client: bool,
    /// How many flows there are.
    pub flows_total: u64,
    /// The flows, at most 256 of them.
    pub flows: Vec<HopFlow>,
    /// Addresses and ports that it listens on, at most 256 of them.
    pub listening: Vec<String>,
    /// Places of servers that are held for blocked (client).
    pub blocked: Vec<HeldPlace>,
    /// The line of counters, as it stands in the log.
    pub counters: String,
}

/// One flow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HopFlow {
    /// The local program (client), the sender (server).
    pub of: Option<String>,
    /// This end of the pair in use.
    pub local: Option<String>,
    /// The other end of it (client), the target (server).
    pub remote: Option<String>,
    /// Milliseconds that the pair has been in use (client), that there has been a flow (server).
    pub age_ms: u64,
    /// Bytes in that time, both directions.
    pub bytes: u64,
    /// Milliseconds without a packet.
    pub idle_ms: u64,
    /// Hops since the flow began (client).
    pub hops: u64,
    /// Causes of the last of them, oldest first (client).
    pub causes: Vec<String>,
}

/// A place that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldPlace {
    /// Address and port.
    pub place: String,
    /// For how many seconds more it is not tried.
    pub seconds_left: u64,
}

/// The screen. Texts from elsewhere cannot move the cursor of a terminal.
pub fn screen(status: &HopStatus) -> String {
    let mut text = String::new();
    let what = if status.client { "hop client" } else { "hop server" };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{what}, {} flows, {}", status.flows_total, listening(&status.listening));
    for flow in &status.flows {
        let _ = writeln!(text, "{}", row(flow, status.client));
    }
    let hidden = status.flows_total.saturating_sub(status.flows.len() as u64);
    if hidden > 0 {
        let _ = writeln!(text, "and {hidden} more");
    }
    let held = |held: &HeldPlace| format!("{} for {}", printable(&held.place), duration(held.seconds_left));
    let blocked: Vec<String> = status.blocked.iter().map(held).collect();
    if !blocked.is_empty() {
        let _ = writeln!(text, "held blocked: {}", blocked.join(", "));
    }
    let _ = writeln!(text, "counters: {}", printable(&status.counters));
    text
}

/// Places that fit on a line; of more, how many there are.
fn listening(places: &[String]) -> String {
    const SHOWN_MAX: usize = 8;
    match places {
        [] => "listening nowhere".to_owned(),
        few if few.len() <= SHOWN_MAX => {
            format!("listening on {}", few.iter().map(|place| printable(place)).collect::<Vec<_>>().join(", "))
        }
        many => format!("listening on {} ports", many.len()),
    }
}

fn row(flow: &HopFlow, client: bool) -> String {
    let place = |place: &Option<String>| place.as_ref().map_or(UNKNOWN.to_owned(), |place| printable(place));
    let (age, bytes, idle) = (duration(flow.age_ms / 1000), decimal(flow.bytes), duration(flow.idle_ms / 1000));
    let (of, local, remote) = (place(&flow.of), place(&flow.local), place(&flow.remote));
    if !client {
        return format!("{of} on {local} to {remote} for {age}, {bytes}, idle for {idle}");
    }
    let mut row = format!("{of}: {local} to {remote} for {age}, {bytes}, idle for {idle}; {} hops", flow.hops);
    if !flow.causes.is_empty() {
        let causes: Vec<String> = flow.causes.iter().map(|cause| printable(cause)).collect();
        row = format!("{row}, last: {}", causes.join(", "));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> HopStatus {
        HopStatus {
            schema: HOP_SCHEMA_VERSION,
            client: true,
            flows_total: 300,
            flows: vec![HopFlow {
                of: Some("127.0.0.1:5000".into()),
                local: None,
                remote: Some("192.0.2.1:31234".into()),
                age_ms: 12_900,
                bytes: 3_410_000,
                idle_ms: 1_000,
                hops: 7,
                causes: vec!["interval over".into(), "lo\u{1b}ss".into()],
            }],
            listening: vec!["127.0.0.1:4433".into()],
            blocked: vec![HeldPlace { place: "192.0.2.1:21000".into(), seconds_left: 61 }],
            counters: "flows=300 ports=1".into(),
        }
    }

    #[test]
    fn the_screen_says_where_since_when_and_why() {
        let text = screen(&client());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[0], "hop client, 300 flows, listening on 127.0.0.1:4433");
        assert!(
            lines[1].starts_with("127.0.0.1:5000: unknown to 192.0.2.1:31234 for 12 s, 3.4 MB, idle for 1 s; 7 hops")
        );
        assert!(lines[1].contains("last: interval over, lo") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(lines[2], "and 299 more");
        assert!(lines[3].starts_with("held blocked: 192.0.2.1:21000 for 1 min"), "{text}");
        let server = HopStatus { listening: vec![String::new(); 9], ..HopStatus::default() };
        assert!(screen(&server).starts_with("hop server, 0 flows, listening on 9 ports\n"));
    }

    #[test]
    fn what_is_written_is_read_and_fields_of_later_versions_are_passed_over() -> Result<(), serde_json::Error> {
        let text = serde_json::to_string(&client())?;
        assert_eq!(serde_json::from_str::<HopStatus>(&text)?, client());
        assert_eq!(serde_json::from_str::<HopStatus>(r#"{"schema":2,"later":[]}"#)?.schema, 2);
        Ok(())
    }
}
