//! Services of a node.

use super::{duration, printable, row};
use crate::status::{HostedService, Services};

pub(super) fn rows(out: &mut String, services: &Services) {
    let Services { links, tunnels, joined, meetings, list } = services;
    row(out, "guards", &format!("{links} links"));
    row(out, "tunnels", &format!("{tunnels} of clients, over {joined} circuits; {meetings} are being met"));
    for service in list {
        row(out, "service", &text(service));
    }
}

fn text(service: &HostedService) -> String {
    let HostedService { name, points, points_wanted, published_for_s, tunnels, flows, work_bits, introductions } = service;
    let published = match published_for_s {
        Some(seconds) => format!("published for {}", duration(*seconds)),
        None => "NOT PUBLISHED".to_owned(),
    };
    let count = |name: &str| introductions.get(name).copied().unwrap_or(0);
    let refused: u64 = introductions.iter().filter(|(name, _)| *name != "accepted").map(|(_, count)| count).sum();
    let work = if *work_bits > 0 { format!(", asks for {work_bits} bits of work") } else { String::new() };
    format!(
        "{}: {points} of {points_wanted} introduction points, {published}; {tunnels} tunnels, {flows} flows; {} introductions, \
         {refused} refused{work}",
        printable(name),
        count("accepted")
    )
}
