//! What `status` makes of figures, also of false ones.

use super::*;
use serde_json::{Value, json};

fn entry() -> Config {
    let keys = identity::KeyFile::from_random([[1; 32], [2; 32], [3; 32]]);
    let peer = keys.peer_string("192.0.2.1:4433".parse().ok()).reveal().to_string();
    let text = format!(
        "role = \"entry\"\nkey_file = \"k\"\npeer = {peer:?}\nshaping.down = \"2 Mbit/s\"\n\
         [[listen]]\nkind = \"proxy\"\naddress = \"127.0.0.1:1080\"\n"
    );
    config::parse(&text, "".as_ref()).expect("a good file")
}

fn process(name: &str, body: Value) -> Value {
    json!({
        "name": name, "state": "ready", "pid": 42, "restarts": 1, "uptime_s": 5, "cpu_s": 0.5, "rss_bytes": 4096,
        "shared_bytes": 0, "confinement": null, "last_fault": null, "crash_loop": false, "body": body,
        "body_age_ms": 0,
    })
}

fn node(up: bool) -> NodeStatus {
    node_on_path(up, 0)
}

fn node_on_path(up: bool, narrow: u64) -> NodeStatus {
    let missing = json!([{ "name": "landlock", "state": { "not_available": "too old a kernel" } }]);
    let shaped = json!({
        "node": {
            "mode": "constant",
            "links": [{
                "peer": "hwn1abcdefghijk", "up": up, "session_up": up, "rtt_us": 40_000, "loss_per_mille": 3, "rate_bits_per_second": 256_000,
                "configured_bits_per_second": 256_000, "allowed_bits_per_second": 256_000, "cells_per_second": 26, "steps_down": 0,
            }],
            "flows": 1,
            "counters": { "data_cells_sent": 5, "cover_cells_sent": 95, "dropped_WrongSize": 2, "bad_cells": 0 },
            "session_memory_max": 1_000_000,
            "last_minute": { "cells": 400, "data_cells": 5, "bytes": 900, "wait_mean_us": 4_000, "wait_p95_us": null },
        },
        "slots": null, "packets_sent": 100, "send_failures": 0, "too_narrow": narrow, "last_send_failure": null,
        "confinement": { "parts": missing },
    });
    let unshaped = json!({
        "flows_open": 1, "flows_opened": 3, "bytes_to_tunnel": 10, "bytes_from_tunnel": 20,
        "datagrams_dropped": 0, "ended": { "too_many_flows": 4, "malformed_request": 5 },
        "swapped": { "connections": 2, "linked": 1, "now": 1 },
    });
    let status = json!({
        "role": "entry", "uptime_s": 5, "generation": 1, "segments_bytes": 1 << 20, "stopping": false,
        "supervisor": process("supervisor", Value::Null),
        "shaped": process("shaped-client", shaped),
        "unshaped": process("unshaped-server", unshaped),
    });
    serde_json::from_value(status).expect("the supervisor's schema")
}

#[test]
fn figures_of_three_processes_make_one_status() {
    let status = Reporter::new(&entry(), Shared::default()).status(&node(true));
    let minute = status.last_minute.clone().expect("the shaped process has said it");
    assert_eq!((minute.useful_share, minute.data_cells_sent), (Some(0.0125), Some(5)));
    assert_eq!((minute.wait_mean_us, minute.wait_p95_us), (Some(5_000), None), "with the lead of a millisecond");
    assert_eq!(status.links.first().and_then(|link| link.state), Some(LinkState::Up));
    assert_eq!(status.schedule.send.map(|rate| rate.packets_per_second), Some(26));
    assert_eq!(status.schedule.receive.map(|rate| rate.bits_per_second), Some(2_048_000));
    let counters = &status.counters;
    assert_eq!((counters.packets_sent, counters.data_cells_sent, counters.missed_slots), (Some(100), Some(5), None));
    assert_eq!((counters.application_bytes_in, counters.application_bytes_out), (Some(10), Some(20)));
    let drops = [("client: malformed request".to_owned(), 5), ("wrong size".to_owned(), 2)];
    assert_eq!(counters.drops, drops.into());
    assert_eq!((status.flows.open, status.flows.refused), (Some(1), Some(4)));
    assert_eq!(status.flows.swapped.and_then(|swapped| swapped.get("linked").copied()), Some(1));
    let names: Vec<&str> = status.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["supervisor", "unshaped-server", "shaped-client"]);
    let warnings: Vec<&str> = status.warnings.iter().map(|warning| warning.sentence.as_str()).collect();
    assert_eq!(warnings, ["shaped-client is not confined by landlock: too old a kernel"]);
}

#[test]
fn a_link_that_was_up_is_lost_and_one_that_never_was_is_connecting() {
    let reporter = Reporter::new(&entry(), Shared::default());
    let state = |node: &NodeStatus| reporter.status(node).links.first().and_then(|link| link.state);
    assert_eq!(state(&node(false)), Some(LinkState::Connecting));
    reporter.observe(&node(true));
    assert_eq!(state(&node(false)), Some(LinkState::Lost));
    let alarms = reporter.status(&node(false)).warnings;
    assert!(alarms.iter().any(|warning| warning.severity == Severity::Alarm), "{alarms:?}");
}

#[test]
fn an_entry_that_nobody_answers_is_told_four_causes_and_never_again_once_somebody_has() {
    let circuits = |up| {
        let mut found = node(up);
        found.shaped.body.as_mut().expect("figures")["node"]["circuits"] =
            json!({ "tunnels": [], "made": 1, "refusal": null });
        found
    };
    let told = |reporter: &Reporter, node: &NodeStatus| {
        let warnings = reporter.status(node).warnings;
        warnings.into_iter().find(|warning| warning.sentence.contains("no guard has answered since the start"))
    };
    let aged = || {
        let mut reporter = Reporter::new(&entry(), Shared::default());
        reporter.started = reporter.started.checked_sub(SILENCE_WARNED).expect("the machine has run for longer");
        reporter
    };
    assert_eq!(told(&Reporter::new(&entry(), Shared::default()), &circuits(false)), None, "it has just begun");
    let reporter = aged();
    let alarm = told(&reporter, &circuits(false)).expect("it is told");
    for cause in ["clock is wrong by more than a day", "door key", "no UDP", "1350 bytes"] {
        assert!(alarm.sentence.contains(cause), "{}", alarm.sentence);
    }
    reporter.observe(&circuits(false));
    assert!(reporter.log.lock().expect("no panic").silent, "the log was told");
    let peers = reporter.status(&circuits(true)).links;
    assert_eq!(peers.first().and_then(|link| link.node_id.as_deref()), Some("hwn1abcdefghijk"));
    assert_eq!(told(&reporter, &circuits(false)), None, "somebody has answered");
    assert!(
        aged().status(&node(false)).warnings.iter().any(|warning| warning.sentence.contains("packets of 1350 bytes"))
    );
}

#[test]
fn a_narrow_path_is_told_while_no_packet_passes() {
    let told = |up, narrow| {
        let warnings = Reporter::new(&entry(), Shared::default()).status(&node_on_path(up, narrow)).warnings;
        warnings.iter().any(|warning| warning.sentence.contains("does not carry packets of 1350 bytes"))
    };
    assert!(told(false, 3));
    assert!(!told(true, 3) && !told(false, 0));
}

/// Every number in `value` becomes `number`.
fn with_numbers(value: &mut Value, number: u64) {
    match value {
        Value::Number(_) => *value = number.into(),
        Value::Array(values) => values.iter_mut().for_each(|value| with_numbers(value, number)),
        Value::Object(fields) => fields.values_mut().for_each(|value| with_numbers(value, number)),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn a_process_that_lies_in_its_figures_does_not_end_the_supervisor() {
    let mut lying = node(true);
    let link = json!({ "peer": "", "up": true, "session_up": true, "rtt_us": 0, "loss_per_mille": 0,
        "rate_bits_per_second": 0, "configured_bits_per_second": 0, "allowed_bits_per_second": 0, "cells_per_second": 0, "steps_down": 0 });
    let shaped = lying.shaped.body.as_mut().expect("figures");
    shaped["node"]["links"] = json!([link.clone(), link]);
    shaped["slots"] = serde_json::to_value(os_net::slot_sender::Statistics::default()).expect("plain numbers");
    for body in [&mut lying.shaped.body, &mut lying.unshaped.body].into_iter().flatten() {
        with_numbers(body, u64::MAX);
    }
    // What is narrower than 64 bits would have the whole body refused.
    for link in lying.shaped.body.iter_mut().flat_map(|body| body["node"]["links"].as_array_mut()).flatten() {
        link["loss_per_mille"] = u16::MAX.into();
    }
    assert!(shaped_status(&lying).is_some(), "the figures have the right form");
    let reporter = Reporter::new(&entry(), Shared::default());
    reporter.observe(&lying);
    let status = reporter.status(&lying);
    assert_eq!(status.counters.packets_sent, Some(u64::MAX));
    assert_eq!(status.schedule.send.map(|rate| rate.bits_per_second), Some(u64::MAX));
}

#[test]
fn what_no_process_has_said_is_unknown() {
    let mut silent = node(true);
    (silent.shaped.body, silent.unshaped.body) = (None, None);
    let status = Reporter::new(&entry(), Shared::default()).status(&silent);
    assert!(status.links.is_empty());
    assert_eq!((status.counters.packets_sent, status.flows.open, status.flows.refused), (None, None, None));
    assert_eq!(status.memory.session_bound_bytes, None);
}
