//! The schedule over several links, against what one link would carry.

use super::*;
use crate::pacing::Ceilings;
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{Endpoint, EndpointConfig, Now, Peer};
use shaping::SlotLength;
use std::net::SocketAddr;

/// A Tuesday.
const UNIX_S: u64 = 1_800_000_000;

fn class(bits_per_second: u64) -> RateClass {
    RateClass::at_least(bits_per_second).expect("a class")
}

/// Names of links, as an endpoint gives them.
fn links(count: u8) -> Vec<LinkId> {
    let own = EndpointConfig::new(
        NodeSecret::from_seed([1; 32]).node_id(),
        LinkSecret::from_bytes([1; 32]),
        DoorKey::from_bytes([1; 32]),
    );
    let mut endpoint = Endpoint::new(own, [2; 32]);
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    let now = Now { instant: std::time::Instant::now(), unix_s: UNIX_S };
    let mut dial = |number: u8| {
        let peer = Peer {
            node_id: NodeSecret::from_seed([number; 32]).node_id(),
            link_key: LinkSecret::from_bytes([number; 32]).link_key(),
            door_key: DoorKey::from_bytes([number; 32]),
        };
        endpoint.dial(now, &peer, SocketAddr::from(([192, 0, 2, number], 1)), [0; 7]).expect("a fresh peer")
    };
    (10..10 + count).map(&mut dial).collect()
}

fn uplink(bits_per_second: u64, legs: u8) -> Uplink {
    let class = class(bits_per_second);
    let grounds = Grounds {
        ceilings: Ceilings { own: class, other: class },
        slot: SlotLength::DEFAULT,
        session_packet: 1222,
        from_slot: 0,
        unix_s: UNIX_S,
    };
    Uplink::new(Mode::Constant, &PacingConfig::Constant, grounds, legs)
}

/// Cells of each share in slots `0..slots`. Every spare that would have been made is checked as well.
fn run(uplink: &mut Uplink, slots: u64, unix_s: u64) -> Vec<u32> {
    let mut sums = vec![0; usize::from(uplink.shares())];
    for slot in 0..slots {
        uplink.poll(slot, unix_s, Traffic::default(), &mut None::<shaping::Noise>);
        let spare = uplink.peek(slot);
        let dealt = uplink.deal(slot);
        assert_eq!(spare, dealt, "a spare has as many packets as its slot");
        dealt.iter().for_each(|cells| sums[cells.lane] += cells.cells);
    }
    sums
}

#[test]
fn links_share_one_schedule_and_one_that_is_not_there_leaves_its_share_unsent() {
    let links = links(3);
    let in_use = |_: LinkId| true;
    let mut all = uplink(2_000_000, 3);
    assert!(links.iter().all(|link| all.add_link(*link, in_use)));
    let sums = run(&mut all, 2_000, UNIX_S);
    let whole = all.cells_per_second() * 10;
    assert!(sums.iter().sum::<u32>().abs_diff(whole as u32) <= 5, "{sums:?} of {whole}");
    assert!(sums.iter().all(|sum| sum.abs_diff(sums[0]) <= 1), "{sums:?}");
    let mut one_away = uplink(2_000_000, 3);
    one_away.add_link(links[0], in_use);
    one_away.add_link(links[2], in_use);
    assert_eq!(run(&mut one_away, 2_000, UNIX_S)[..2], sums[..2], "nobody gets more because another is away");
}

#[test]
fn a_share_goes_to_another_link_when_nothing_uses_the_one_that_has_it() {
    let links = links(3);
    let mut uplink = uplink(2_000_000, 2);
    assert!(uplink.add_link(links[0], |_| true) && uplink.add_link(links[1], |_| true));
    assert!(uplink.add_link(links[1], |_| true), "it has one already");
    assert!(!uplink.add_link(links[2], |_| true), "every share is in use");
    assert!(uplink.add_link(links[2], |link| link != links[0]));
    let shares = |uplink: &Uplink| [0, 1, 2].map(|place: usize| uplink.share_of(links[place]));
    assert_eq!(shares(&uplink), [None, Some(1), Some(0)]);
    let asked = uplink.asked_of(links[1]).expect("it has a share");
    assert_eq!((asked.mode(), asked.share(), asked.shares()), (1, 1, 2));
    assert_eq!((asked.class(), uplink.asked_of(links[0])), (class(2_000_000).number(), None));
    uplink.remove_link(links[1]);
    uplink.remove_link(links[0]);
    assert_eq!(shares(&uplink), [None, None, Some(0)]);
    assert!(uplink.add_link(links[0], |_| true));
    assert_eq!(shares(&uplink), [Some(1), None, Some(0)]);
}

/// A link whose own reports show loss carries less, evenly, and the others what they did.
#[test]
fn loss_caps_the_link_that_has_it_and_no_other() {
    let links = links(2);
    let mut uplink = uplink(10_000_000, 2);
    links.iter().for_each(|link| assert!(uplink.add_link(*link, |_| true)));
    let before = run(&mut uplink, 2_000, UNIX_S);
    uplink.handle_loss(links[1], 400, UNIX_S + 20);
    let edge = uplink.poll(2_000, UNIX_S + 25, Traffic::default(), &mut None::<shaping::Noise>);
    let slower = class(10_000_000).slower().expect("not the slowest");
    assert_eq!(edge, UplinkEdge { class: None, capped: vec![(links[1], slower)], epoch_began: false });
    let after = run(&mut uplink, 2_000, UNIX_S + 25);
    assert_eq!(after[0], before[0]);
    let wanted = u64::from(before[1]) * slower.bits_per_second() / class(10_000_000).bits_per_second();
    assert!(after[1].abs_diff(wanted as u32) <= 2, "{before:?} {after:?} {wanted}");
    let of = |link| uplink.classes_of(link).expect("it has a share");
    assert_eq!((of(links[0]).steps_down, of(links[1]).steps_down), (0, 1));
    assert_eq!((of(links[0]).in_force, of(links[1]).in_force), (class(10_000_000), slower));
}

/// A guard that is asked has slots of another one's link until it has a share, and adds none.
#[test]
fn a_guest_has_no_share_and_gives_its_place_up_for_one() {
    let links = links(3);
    let mut uplink = uplink(1_000_000, 2);
    assert!(links[..2].iter().all(|link| uplink.add_link(*link, |_| true)));
    uplink.set_guest(links[1], links[0]);
    assert_eq!(uplink.guest_of(links[0]), None, "it has a share");
    uplink.set_guest(links[2], links[0]);
    assert_eq!((uplink.guest_of(links[0]), uplink.guest_of(links[1])), (Some(links[2]), None));
    assert_eq!((uplink.share_of(links[2]), uplink.deal(0).len()), (None, 2));
    assert!(uplink.add_link(links[2], |link| link == links[1]));
    assert_eq!((uplink.share_of(links[2]), uplink.guest_of(links[0])), (Some(0), None));
    uplink.set_guest(links[0], links[2]);
    uplink.remove_link(links[0]);
    assert_eq!(uplink.guest_of(links[2]), None);
}
