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
    let HostedService { name, points, points_wanted, published_for_s, tunnels, flows, work_bits, introductions } =
        service;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_says_how_it_is_reached_and_names_nobody() {
        let introductions =
            [("accepted", 7), ("forged", 2), ("too_fast", 3)].map(|(name, count)| (name.to_owned(), count));
        let service = HostedService {
            name: "we\u{1b}b".into(),
            points: 2,
            points_wanted: 3,
            published_for_s: Some(7_384),
            tunnels: 4,
            flows: 9,
            work_bits: 12,
            introductions: introductions.into(),
        };
        assert_eq!(
            text(&service),
            "we\u{fffd}b: 2 of 3 introduction points, published for 2 h 3 min; 4 tunnels, 9 flows; 7 introductions, 5 refused, \
             asks for 12 bits of work"
        );
        let unpublished = HostedService { published_for_s: None, ..service };
        assert!(text(&unpublished).contains("NOT PUBLISHED"));
        let mut out = String::new();
        rows(&mut out, &Services { links: 2, tunnels: 4, joined: 8, meetings: 1, list: vec![unpublished] });
        assert_eq!(out.lines().count(), 3, "{out}");
    }
}
