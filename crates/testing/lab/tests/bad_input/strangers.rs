//! Entries with wrong keys, and a scan of ports.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adversary::Direction;
use lab::network::Namespace;
use lab::pair::Role;
use lab::scratch::Scratch;

use super::rig::{GoodPair, Noise, Outcome, PACKET, WrongEntry, answers, fresh_keys, stranger, take_turn, wait_until};

/// Ports on either side of the door that are scanned.
const SCANNED: u16 = 200;
/// What the log of an entry says that gets no answer: every cause.
const CAUSES: [&str; 6] =
    ["several handshakes had no answer", "peer string", "address", "clock", "firewall", "packet size"];

#[test]
fn wrong_keys_meet_silence_and_are_told_the_causes() -> Outcome {
    let _turn = take_turn();
    let good = GoodPair::recorded("2 Mbit/s")?;
    let (door, right) = (good.door()?, good.exit_line()?);
    let scratch = Scratch::new()?;
    let other = fresh_keys(&scratch, "other.keys")?;
    let [node_id, link_key, door_key] = right.clone();
    let cases = [
        ("unknown peer", right),
        ("wrong key", [node_id.clone(), other[1].clone(), door_key]),
        ("stranger", [node_id, link_key, other[2].clone()]),
    ];
    let mut entries = Vec::new();
    for (reason, keys) in &cases {
        entries.push((reason, good.count(Role::Exit, reason)?, WrongEntry::start(door, keys)?));
    }
    for (reason, before, entry) in &mut entries {
        wait_until("the sentence with the causes", || Ok(entry.log()?.contains(CAUSES[0])))?;
        let log = entry.log()?;
        let sentences: Vec<&str> = log.lines().filter(|line| line.contains(CAUSES[0])).collect();
        assert!(sentences.len() == 1 && CAUSES.iter().all(|cause| sentences[0].contains(cause)), "{log}");
        let warnings = entry.status()?.warnings;
        assert!(warnings.iter().any(|warning| warning.sentence.contains("has not answered yet")), "{warnings:?}");
        // It goes on, and every try is counted at the exit.
        let tries = entry.relay.recording().records().len();
        wait_until("two more tries", || Ok(entry.relay.recording().records().len() >= tries + 2))?;
        good.wait_for(Role::Exit, reason, *before + tries as u64)?;
        good.fetch()?;
    }
    for (reason, _, entry) in &mut entries {
        entry.node.check()?;
        let sightings = entry.relay.recording().sightings();
        assert!(sightings.iter().all(|it| it.direction == Direction::Outward), "{reason}: the exit answered");
        assert!(sightings.iter().all(|it| it.length == PACKET), "{reason}: {sightings:?}");
    }
    drop(entries);
    good.wait_for_log(Role::Exit, "refused or dropped since the last such line: ")?;
    good.fetch()
}

#[test]
fn a_port_scan_gets_no_byte() -> Outcome {
    let _turn = take_turn();
    // On a loopback of its own: ports beside the door may be those of a test that runs beside this one, who answers.
    Namespace::new("scan")?.within(port_scan)
}

fn port_scan() -> Outcome {
    let good = GoodPair::recorded("2 Mbit/s")?;
    let door = good.door()?;
    let sizes = [0, 1, 48, PACKET];
    let before: BTreeMap<&str, u64> =
        [("stranger", good.count(Role::Exit, "stranger")?), ("wrong size", good.count(Role::Exit, "wrong size")?)]
            .into();
    let socket = stranger()?;
    let mut noise = Noise::new(7);
    let first = door.port().saturating_sub(SCANNED).max(1024);
    // The scan's own port may be among those scanned: what is sent to it comes back from nobody else.
    let own = socket.local_addr()?.port();
    for port in (first..=door.port().saturating_add(SCANNED)).filter(|port| *port != own) {
        for size in sizes {
            // Closed ports answer by ICMP, which a later send may report.
            let _ = socket.send_to(&noise.packet(size), SocketAddr::new(door.ip(), port));
        }
    }
    // Again and only the door, so that no send was lost to the report of a closed port.
    let socket_of_the_door = stranger()?;
    for size in sizes {
        socket_of_the_door.send_to(&noise.packet(size), door)?;
    }
    good.fetch()?;
    good.wait_for(Role::Exit, "stranger", before["stranger"] + 1)?;
    good.wait_for(Role::Exit, "wrong size", before["wrong size"] + 3)?;
    assert!(TcpStream::connect_timeout(&door, Duration::from_secs(1)).is_err(), "the door is no TCP port");
    assert_eq!((answers(&socket), answers(&socket_of_the_door)), (0, 0));
    good.fetch()
}
