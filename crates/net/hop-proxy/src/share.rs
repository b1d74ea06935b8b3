//! A batch, grouped by whom it belongs to.

use os_net::datagram::{Departing, Inbox, Train};
use std::net::{IpAddr, SocketAddr};

use crate::table::Key;

/// Datagrams of one train that belong to one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) flow: Key,
    pub(crate) train: usize,
    /// First datagram, and how many.
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl Share {
    /// A whole train.
    pub(crate) fn whole(flow: Key, train: usize) -> Self {
        Self { flow, train, first: 0, count: usize::MAX }
    }
}

/// Sorts shares so that those of a flow stand together, each flow's in the order of arrival. Batches of one flow, the
/// common case, are left as they are.
pub(crate) fn group(shares: &mut [Share]) {
    if !shares.is_sorted_by_key(|share| share.flow) {
        shares.sort_by_key(|share| share.flow);
    }
}

/// The trains of shares, addressed.
pub(crate) fn departures<'a>(
    inbox: &'a Inbox,
    shares: &[Share],
    to: Option<SocketAddr>,
    from: Option<IpAddr>,
) -> Vec<Departing<'a>> {
    let cut = |share: &Share| {
        let train = inbox.train(share.train)?.train;
        if share.count == usize::MAX {
            return Some(train);
        }
        let segment = train.segment_bytes();
        let begin = share.first * segment;
        let end = (begin + share.count * segment).min(train.bytes().len());
        Some(Train::new(train.bytes().get(begin..end)?, segment, train.traffic_class()))
    };
    shares.iter().filter_map(cut).map(|train| Departing { to, from, train }).collect()
}

/// How many datagrams there are in trains.
pub(crate) fn datagrams(trains: &[Train<'_>]) -> u64 {
    trains.iter().map(|train| train.datagrams() as u64).sum()
}

/// Splits grouped shares into those of one flow each.
pub(crate) fn by_flow(shares: &[Share]) -> impl Iterator<Item = (Key, &[Share])> {
    shares.chunk_by(|one, next| one.flow == next.flow).filter_map(|shares| Some((shares.first()?.flow, shares)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;

    #[test]
    fn a_batch_is_grouped_and_each_flow_keeps_its_order() {
        let mut table = Table::new();
        let (one, two) = (table.insert(()), table.insert(()));
        let mut shares: Vec<Share> =
            [two, one, two, one].into_iter().enumerate().map(|(train, flow)| Share::whole(flow, train)).collect();
        group(&mut shares);
        let grouped: Vec<(Key, Vec<usize>)> =
            by_flow(&shares).map(|(flow, shares)| (flow, shares.iter().map(|share| share.train).collect())).collect();
        assert_eq!(grouped, [(one, vec![1, 3]), (two, vec![0, 2])]);
    }
}
