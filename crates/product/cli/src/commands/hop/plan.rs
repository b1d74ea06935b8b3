//! `hushwire hop plan`: what a server with a key hears, and the firewall lines for it.

use crate::args::hop::HopPlanArgs;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use os_net::clock::unix_time;
use port_hopping::keyed::{PlannedWindow, Schedule};
use port_hopping::ports::PortSet;
use serde_json::json;
use std::fmt::Write;
use std::time::Duration;

pub(crate) fn run(args: &HopPlanArgs) -> Outcome {
    let schedule = Schedule::new(&settings::hop_key(&args.key)?, args.ports.clone());
    let now = unix_time();
    let windows: Vec<PlannedWindow> = schedule.plan(now, args.windows).collect();
    let text = if args.json { as_json(&windows, &args.ports)? } else { as_text(now, &windows, &args.ports) };
    terminal::say(&text);
    Ok(())
}

fn as_text(now: Duration, windows: &[PlannedWindow], ports: &PortSet) -> String {
    let mut text = String::from("window (UTC)         open (seconds from now)   ports\n");
    for planned in windows {
        let seconds = |time: Duration| i128::from(time.as_secs()) - i128::from(now.as_secs());
        let list: Vec<String> = planned.ports.iter().map(u16::to_string).collect();
        let open = format!("{:+} to {:+}", seconds(planned.open_from), seconds(planned.open_until));
        let _ = writeln!(text, "{:<21}{open:<26}{}", clock(planned.window.begin()), list.join(" "));
    }
    let _ = write!(text, "\n{}", firewall(ports));
    text
}

/// The rules: closed ports that answer with ICMP would show which ones are open.
fn firewall(ports: &PortSet) -> String {
    let set = ports.to_string().replace(',', ", ");
    format!(
        "# Behind a firewall that drops: let the server hear its ports.\n\
         nft add rule inet filter input udp dport {{ {set} }} accept\n\
         # Without one: keep the closed ports as silent as the open ones.\n\
         nft add table inet hushwire\n\
         nft 'add chain inet hushwire out {{ type filter hook output priority 0; }}'\n\
         nft add rule inet hushwire out icmp type destination-unreachable icmp code port-unreachable drop\n\
         nft add rule inet hushwire out icmpv6 type destination-unreachable icmpv6 code port-unreachable drop\n"
    )
}

fn as_json(windows: &[PlannedWindow], ports: &PortSet) -> Result<String, Failure> {
    let list: Vec<_> = windows
        .iter()
        .map(|planned| {
            json!({
                "window": planned.window.0,
                "open_from_unix": planned.open_from.as_secs(),
                "open_until_unix": planned.open_until.as_secs(),
                "ports": planned.ports,
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "ports": ports.to_string(), "windows": list }));
    text.map(|text| text + "\n").map_err(|error| Failure::new(Code::Software, format!("no JSON: {error}")))
}

/// `hh:mm:ss` of a day in UTC.
fn clock(unix: Duration) -> String {
    let second = unix.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::HopKey;

    #[test]
    fn a_plan_shows_each_window_with_its_ports_and_ends_with_rules() {
        let ports: PortSet = "20000-20100,30000".parse().expect("ports");
        let schedule = Schedule::new(&HopKey::from_bytes([1; 32]), ports.clone());
        let now = Duration::from_secs(1_800_000_015);
        let windows: Vec<PlannedWindow> = schedule.plan(now, 3).collect();
        let text = as_text(now, &windows, &ports);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("08:00:00             -45 to +47 "), "{}", lines[1]);
        assert!(lines[2].starts_with("08:00:30             -15 to +77 "), "{}", lines[2]);
        assert!(text.contains("udp dport { 20000-20100, 30000 } accept"));
    }
}
