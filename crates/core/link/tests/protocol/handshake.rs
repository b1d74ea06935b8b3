//! Handshakes: that they work, and that nothing else does.

use crate::net::{Net, SLOT};
use link::LinkEvent;
use std::time::Duration;

#[test]
fn a_pair_comes_up_in_one_round_trip_and_carries_cells_both_ways() {
    let (mut net, link) = Net::pair(|_| {});
    assert!(net.run_until(Duration::from_millis(200), |net| net.is_up(0) && net.is_up(1)));
    let LinkEvent::Up { link: up, rtt, fresh, dialled, parameters, .. } = net.nodes[0].events[0] else { panic!("up") };
    assert_eq!((up, fresh, dialled, parameters), (link, true, true, [0; 7]));
    assert!(rtt >= Duration::from_millis(40) && rtt <= Duration::from_millis(40) + 2 * SLOT, "{rtt:?}");
    net.run(Duration::from_secs(5));
    for node in 0..2 {
        let cells = &net.nodes[node].cells;
        assert!(cells.len() > 900, "{}", cells.len());
        assert!(cells.windows(2).all(|pair| pair[0] + 1 == pair[1]), "every cell, in order");
    }
    let LinkEvent::Up { parameters, dialled, node_id, .. } = net.nodes[1].events[1] else { panic!("up") };
    assert_eq!((parameters, dialled), ([0; 7], false));
    assert_eq!(node_id, Some(net.nodes[0].endpoint.config().node_id));
}
