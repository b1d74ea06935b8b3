//! Connection ids that any process of this node takes for possible ones.

use aws_lc_rs::rand;
use quinn::{ConnectionId, ConnectionIdGenerator};
use std::time::Duration;

/// Bytes of an id.
const ID_LEN: usize = 8;

/// Random ids. The library's own ones carry a mark of their process, so packets for its predecessor would be dropped in
/// silence, and peers would notice a restart only at the idle timeout instead of by a reset.
#[derive(Debug)]
pub(super) struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_LEN];
        rand::fill(&mut id).expect("the system gave random bytes when the node started, and does not stop");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
