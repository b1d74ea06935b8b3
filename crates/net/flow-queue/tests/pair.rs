//! Both sides of one node's queues within one process.

use flow_queue::{Geometry, OpenError, QueueSide, Segments, Side, local_pair};
use shaped_node::queues::{FlowQueues, QueueFault};
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use wire::flow::{Destination, FlowKind, Host, ResetReason, Syn};
use wire::local::{LocalMessage, QueueRef};

type TestResult = Result<(), Box<dyn Error>>;

fn geometry(max_flows: u16) -> Result<Geometry, Box<dyn Error>> {
    Ok(Geometry::new(max_flows, 4096, 1)?)
}

/// The unshaped side assigns, as at the entry.
fn entry(max_flows: u16) -> Result<(QueueSide, QueueSide), Box<dyn Error>> {
    Ok(local_pair(&geometry(max_flows)?, Side::Unshaped)?)
}

fn syn() -> Syn {
    let host = Host::Ip(Ipv4Addr::LOCALHOST.into());
    Syn { kind: FlowKind::Stream, client: 7, destination: Destination { host, port: 80 } }
}

/// Opens a flow and lets the other side see its SYN.
fn open(assigner: &mut QueueSide, other: &mut QueueSide) -> Result<QueueRef, Box<dyn Error>> {
    let queue = assigner.allocate().ok_or("no queue pair is free")?;
    assigner.send_message(&LocalMessage::Syn(queue, syn()))?;
    assert_eq!(other.poll_message()?, Some(LocalMessage::Syn(queue, syn())));
    Ok(queue)
}

/// Both sides say `Closed`, throw away what they did not read, and the assigner releases the pair.
fn close(assigner: &mut QueueSide, other: &mut QueueSide, queue: QueueRef) -> TestResult {
    assigner.send_message(&LocalMessage::Closed(queue, assigner.write_position(queue.index)))?;
    other.send_message(&LocalMessage::Closed(queue, other.write_position(queue.index)))?;
    for side in [&mut *assigner, &mut *other] {
        match side.poll_message()? {
            Some(LocalMessage::Closed(closed, position)) if closed == queue => side.discard(queue.index, position)?,
            message => return Err(format!("instead of Closed: {message:?}").into()),
        }
    }
    assigner.release(queue);
    Ok(())
}

#[test]
fn a_flow_lives_from_syn_to_closed() -> TestResult {
    let (mut unshaped, mut shaped) = entry(4)?;
    let queue = open(&mut unshaped, &mut shaped)?;
    let index = queue.index;
    assert_eq!(unshaped.write(index, b"hello")?, 5);
    assert_eq!(shaped.poll_active(), Some(index));
    assert_eq!(shaped.poll_active(), None);
    assert_eq!(shaped.readable(index)?, 5);
    assert_eq!(&shaped.peek(index, 3)?[..], b"hel");
    assert_eq!(&shaped.read(index, 100)?[..], b"hello");
    assert_eq!((shaped.read_position(index), unshaped.write_position(index)), (5, 5));
    assert_eq!(unshaped.poll_active(), Some(index), "room is news to the writer");
    let address = SocketAddr::from(([127, 0, 0, 1], 80));
    for message in [
        LocalMessage::Connected(queue, address),
        LocalMessage::Fin(queue, 0),
        LocalMessage::Reset(queue, ResetReason::Denied),
    ] {
        shaped.send_message(&message)?;
        assert_eq!(unshaped.poll_message()?, Some(message));
    }
    close(&mut unshaped, &mut shaped, queue)?;
    assert_eq!(unshaped.poll_message()?, None);
    Ok(())
}
