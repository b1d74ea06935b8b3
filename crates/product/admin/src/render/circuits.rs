//! The tunnel of an entry over circuits: a row for it and one for each leg; and the listing of circuits.

use super::memory::held_text;
use super::{binary, optional, printable, row};
use crate::status::{EntryTunnel, Leg};
use std::fmt::Write;

/// Letters of a node id that are shown on the screen.
const NAME_LETTERS: usize = 12;

/// The rows of the screen.
pub(super) fn rows(out: &mut String, tunnel: &EntryTunnel) {
    for one in tunnel.all() {
        let state = if one.session_up { "up" } else { "not up" };
        let rtt = optional(one.rtt_us, millis);
        let held = if tunnel.others.is_empty() { String::new() } else { format!(", {}", printable(&one.held)) };
        let number = if tunnel.others.is_empty() { tunnel.tunnels } else { one.number };
        row(out, "tunnel", &format!("{state}{held}, round trip {rtt}, number {number}, {} switches", one.switches));
        for leg in &one.legs {
            row(out, "leg", &leg_text(leg));
        }
    }
}

fn leg_text(leg: &Leg) -> String {
    let number = leg.number.map_or("-".to_owned(), |number| number.to_string());
    let path: Vec<String> = leg.path.iter().map(|name| short(name)).collect();
    let mut text = format!("{number} {}, {}", printable(&leg.state), path.join(" > "));
    if let Some(way) = &leg.way {
        let _ = write!(text, " ({})", printable(way));
    }
    if leg.number.is_some() {
        let (rtt, share) =
            (optional(leg.rtt_us, millis), optional(leg.share, |share| format!("{:.0} %", share * 100.0)));
        let loss = optional(leg.loss_per_mille, |loss| format!("{:.1} %", f64::from(loss) / 10.0));
        let _ = write!(text, ", round trip {rtt}, loss {loss}, {share} of data");
    }
    text
}

fn short(name: &str) -> String {
    printable(name).chars().take(NAME_LETTERS).collect()
}

fn millis(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1000.0)
}

/// One line for each leg, numbered through all tunnels: `hushwire circuit list`. With several, a line for each tunnel before.
pub fn list(tunnel: &EntryTunnel) -> String {
    let mut text = String::new();
    let mut place = 0;
    for one in tunnel.all() {
        if !tunnel.others.is_empty() {
            let _ = writeln!(text, "tunnel {}, {}", one.number, printable(&one.held));
        }
        for leg in &one.legs {
            let _ = writeln!(text, "{place}  {}", leg_text(leg));
            place += 1;
        }
    }
    text
}

/// All that is known of one leg, by its number in the list: `hushwire circuit show`.
pub fn show(tunnel: &EntryTunnel, place: usize) -> Option<String> {
    let (one, leg) = tunnel.all().flat_map(|one| one.legs.iter().map(move |leg| (one, leg))).nth(place)?;
    let mut text = String::new();
    let _ = writeln!(text, "state         {}", printable(&leg.state));
    for (hop, name) in leg.path.iter().enumerate() {
        let role = if hop + 1 == leg.path.len() {
            "exit"
        } else if hop == 0 {
            "guard"
        } else {
            "middle"
        };
        let _ = writeln!(text, "{role:13} {}", printable(name));
    }
    if let Some(way) = &leg.way {
        let _ = writeln!(text, "way           {}", printable(way));
    }
    let _ = writeln!(text, "round trip    {}", optional(leg.rtt_us, millis));
    let _ = writeln!(
        text,
        "loss          {}",
        optional(leg.loss_per_mille, |loss| format!("{:.1} %", f64::from(loss) / 10.0))
    );
    let _ = writeln!(
        text,
        "data sent     {} cells, {} of all",
        leg.data_cells,
        optional(leg.share, |share| format!("{:.0} %", share * 100.0))
    );
    let _ = writeln!(text, "received      {} cells", leg.received);
    let _ = writeln!(text, "tunnel holds  {}", held_text(&one.memory));
    let _ = writeln!(text, "its queues    {}", binary(one.memory.queues));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{screen, tests::full};
    use crate::status::{HeldMemory, Status};

    fn tunnel() -> EntryTunnel {
        let leg = |number: u8, share| Leg {
            number: Some(number),
            state: "linked".into(),
            path: [1, 2, 3].map(|hop| format!("hwn1relay{hop}of{number}long")).to_vec(),
            way: None,
            rtt_us: Some(42_000),
            share: Some(share),
            data_cells: 100,
            received: 200,
            loss_per_mille: Some(3),
        };
        let waiting = Leg { state: "waiting".into(), ..Leg::default() };
        let refusal = Some("2 guards are needed".to_owned());
        let legs = vec![leg(0, 0.25), leg(1, 0.75), waiting];
        let (rtt_us, held) = (Some(40_000), "in use".to_owned());
        EntryTunnel {
            number: 0,
            held,
            tunnels: 2,
            session_up: true,
            rtt_us,
            switches: 17,
            memory: HeldMemory { unread: 4 << 10, queues: 512 << 10, ..HeldMemory::default() },
            legs,
            refusal,
            others: Vec::new(),
        }
    }

    #[test]
    fn the_screen_has_the_tunnel_and_each_leg() {
        let status = Status { links: Vec::new(), circuits: Some(tunnel()), ..full() };
        let shown = screen(&status, false);
        for part in ["up, round trip 40.0 ms", "17 switches", "1 linked", "75 % of data", "- waiting"] {
            assert!(shown.contains(part), "{part}:\n{shown}");
        }
        assert!(!shown.contains("hwn1relay1of0long"), "names are cut:\n{shown}");
    }

    #[test]
    fn circuits_are_listed_and_shown_by_their_place() {
        let tunnel = tunnel();
        assert_eq!(list(&tunnel).lines().count(), 3);
        let shown = show(&tunnel, 1).expect("the second");
        assert!(shown.contains("tunnel holds  4.0 KiB (unread 4.0 KiB)\nits queues    512.0 KiB\n"), "{shown}");
        assert!(
            shown.contains("guard         hwn1relay1of1long") && shown.contains("exit          hwn1relay3of1long"),
            "{shown}"
        );
        assert_eq!(show(&tunnel, 3), None);
    }

    #[test]
    fn legs_are_numbered_through_several_tunnels() {
        let ready = EntryTunnel { number: 5, held: "ready".into(), legs: tunnel().legs[..2].to_vec(), ..tunnel() };
        let several = EntryTunnel { others: vec![ready], ..tunnel() };
        let listed = list(&several);
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!((lines[0], lines[4], lines.len()), ("tunnel 0, in use", "tunnel 5, ready", 7));
        assert!(lines[5].starts_with("3  0 linked"), "{listed}");
        assert!(show(&several, 4).is_some() && show(&several, 5).is_none());
        let status = Status { links: Vec::new(), circuits: Some(several), ..full() };
        let shown = screen(&status, false);
        assert!(shown.contains("up, ready, round trip 40.0 ms, number 5"), "{shown}");
    }
}
