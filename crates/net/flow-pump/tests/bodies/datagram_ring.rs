//! Any bytes in the ring of a datagram flow, published in any pieces: the records that are found are those that a plain
//! reading of the whole finds.

use flow_pump::board::Board;
use flow_pump::records::{self, LENGTH_LEN};
use flow_queue::{Geometry, Side, local_pair};
use shaped_node::queues::FlowQueues;
use std::net::{Ipv4Addr, SocketAddr};
use wire::flow::{Destination, FlowKind, Syn};

const RING: usize = 4096;

/// Feeds one input; its first byte says in which pieces the rest is published.
pub(crate) fn run(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let geometry = Geometry::new(1, RING as u32, 1).expect("in range");
    let (unshaped, mut shaped) = local_pair(&geometry, Side::Unshaped).expect("memory for queues");
    let board = Board::new(unshaped, &geometry, true);
    let destination = Destination::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let port = board.open(Syn { kind: FlowKind::Datagrams, client: 1, destination }).expect("a free pair");
    let syn = shaped.poll_message().expect("our own message is right").expect("a SYN");
    let index = syn.queue().index;
    let (mut expected, refused) = plain(bytes);
    expected.reverse();
    let mut left = bytes;
    while !left.is_empty() {
        let part = &left[..left.len().min(usize::from(piece) + 1)];
        let written = shaped.write(index, part).expect("positions are right");
        assert!(written > 0, "a ring that is full holds a whole record");
        left = &left[written..];
        loop {
            match records::read(&port) {
                Ok(Some(record)) => {
                    assert_eq!(Some(record.to_vec()), expected.pop(), "another record was written");
                    let _ = wire::udp::decode(&record);
                }
                Ok(None) => break,
                Err(_) => {
                    assert!(refused && expected.is_empty(), "every record in front of it is read");
                    return;
                }
            }
        }
    }
    assert!(!refused && expected.is_empty(), "every whole record is read");
}

/// The whole records of `bytes`, and whether one behind them can never come.
fn plain(mut bytes: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_LEN>() {
        let length = usize::from(u16::from_be_bytes(*length));
        if length + LENGTH_LEN > RING {
            return (found, true);
        }
        let Some((record, behind)) = rest.split_at_checked(length) else { break };
        found.push(record.to_vec());
        bytes = behind;
    }
    (found, false)
}
