//! The bookkeeping of queue pairs, message by message, against the other side's queues.

use super::*;
use flow_queue::{Side, local_pair};
use std::net::SocketAddr;
use std::task::Context;
use wire::flow::{Destination, FlowKind};

fn geometry() -> Geometry {
    Geometry::new(2, 4096, 1).expect("in range")
}

/// A board that opens flows, and the shaped side of its queues.
fn opening() -> (Rc<Board>, QueueSide) {
    let (unshaped, shaped) = local_pair(&geometry(), Side::Unshaped).expect("memory for queues");
    (Board::new(unshaped, &geometry(), true), shaped)
}

/// A board that takes flows up, and the shaped side of its queues.
fn taking_up() -> (Rc<Board>, QueueSide) {
    let (unshaped, shaped) = local_pair(&geometry(), Side::Shaped).expect("memory for queues");
    (Board::new(unshaped, &geometry(), false), shaped)
}

fn syn() -> Syn {
    let destination = Destination::from(SocketAddr::from(([192, 0, 2, 1], 80)));
    Syn { kind: FlowKind::Stream, client: 7, destination }
}

fn messages(shaped: &mut QueueSide) -> Vec<LocalMessage> {
    std::iter::from_fn(|| shaped.poll_message().expect("our own messages are right")).collect()
}

fn tell(board: &Board, shaped: &mut QueueSide, message: LocalMessage) {
    shaped.send_message(&message).expect("there is room");
    shaped.flush();
    while board.turn().expect("the protocol is kept") {}
}

#[test]
fn a_flow_in_good_order_gives_back_its_pair_once() {
    let (board, mut shaped) = opening();
    let port = board.open(syn()).expect("a free pair");
    let first = messages(&mut shaped);
    let [LocalMessage::Syn(queue, sent)] = &first[..] else { panic!("not one SYN: {first:?}") };
    let (queue, sent) = (*queue, sent.clone());
    assert_eq!(sent, syn());
    let address = SocketAddr::from(([192, 0, 2, 9], 9));
    tell(&board, &mut shaped, LocalMessage::Connected(queue, address));
    assert_eq!(port.connected(), Some(address));
    assert_eq!(port.write(b"question"), 8);
    port.send_fin();
    port.send_fin();
    assert_eq!(shaped.write(queue.index, b"answer"), Ok(6));
    tell(&board, &mut shaped, LocalMessage::Fin(queue, 6));
    assert!(!port.is_at_end());
    assert_eq!(&port.read(100)[..], b"answer");
    assert!(port.is_at_end());
    port.close(ResetReason::ByPeer);
    assert_eq!(messages(&mut shaped), [LocalMessage::Fin(queue, 8), LocalMessage::Closed(queue, 8)]);
    assert_eq!((board.used(), board.take_released()), (1, vec![]));
    assert_eq!(shaped.read(queue.index, 100).map(|bytes| bytes.len()), Ok(8));
    tell(&board, &mut shaped, LocalMessage::Closed(queue, 6));
    assert_eq!((board.used(), board.take_released()), (0, vec![7]));
}

#[test]
fn a_dropped_port_resets_its_flow_and_what_was_left_is_thrown_away() {
    let (board, mut shaped) = opening();
    let port = board.open(syn()).expect("a free pair");
    let queue = messages(&mut shaped)[0].queue();
    assert_eq!(shaped.write(queue.index, b"unread"), Ok(6));
    drop(port);
    assert_eq!(
        messages(&mut shaped),
        [LocalMessage::Reset(queue, ResetReason::ByPeer), LocalMessage::Closed(queue, 0)]
    );
    tell(&board, &mut shaped, LocalMessage::Closed(queue, 6));
    assert_eq!(board.used(), 0);
    assert_eq!(shaped.is_out_drained(queue.index), Ok(true), "no stale byte is left for the next flow");
}

#[test]
fn a_reset_is_answered_with_closed_alone() {
    let (board, mut shaped) = opening();
    let port = board.open(syn()).expect("a free pair");
    let queue = messages(&mut shaped)[0].queue();
    tell(&board, &mut shaped, LocalMessage::Reset(queue, ResetReason::Denied));
    tell(&board, &mut shaped, LocalMessage::Closed(queue, 0));
    assert_eq!(port.reset_received(), Some(ResetReason::Denied));
    port.close(ResetReason::ByPeer);
    assert_eq!(messages(&mut shaped), [LocalMessage::Closed(queue, 0)]);
    assert_eq!(board.used(), 0);
}

#[test]
fn closed_without_a_reason_counts_as_a_reset() {
    let (board, mut shaped) = opening();
    let port = board.open(syn()).expect("a free pair");
    let queue = messages(&mut shaped)[0].queue();
    tell(&board, &mut shaped, LocalMessage::Closed(queue, 0));
    assert_eq!(port.reset_received(), Some(ResetReason::ByPeer));
}

#[test]
fn messages_about_an_earlier_use_change_nothing() {
    let (board, mut shaped) = opening();
    drop(board.open(syn()).expect("a free pair"));
    let old = messages(&mut shaped)[0].queue();
    tell(&board, &mut shaped, LocalMessage::Closed(old, 0));
    let port = board.open(syn()).expect("a free pair");
    let new = messages(&mut shaped)[0].queue();
    assert_eq!((new.index, new.use_count), (old.index, old.use_count + 1));
    tell(&board, &mut shaped, LocalMessage::Reset(old, ResetReason::Protocol));
    assert_eq!(port.reset_received(), None);
}

#[test]
fn every_pair_is_used_and_no_more() {
    let (board, _shaped) = opening();
    let ports: Vec<_> = std::iter::from_fn(|| board.open(syn())).collect();
    assert_eq!((ports.len(), board.used()), (2, 2));
}

#[test]
fn the_end_of_a_generation_resets_its_flows_and_harms_nobody() {
    let (board, mut shaped) = opening();
    let port = board.open(syn()).expect("a free pair");
    messages(&mut shaped);
    board.detach(ResetReason::TunnelLost);
    assert_eq!(port.reset_received(), Some(ResetReason::TunnelLost));
    assert_eq!((port.room(), port.unread(), port.write(b"x")), (0, 0, 0));
    port.close(ResetReason::ByPeer);
    assert_eq!(messages(&mut shaped), []);
    assert!(board.open(syn()).is_none());
}

#[tokio::test]
async fn flows_of_the_other_side_are_taken_up_and_their_tasks_woken() {
    let (board, mut shaped) = taking_up();
    let queue = shaped.allocate().expect("a free pair");
    tell(&board, &mut shaped, LocalMessage::Syn(queue, syn()));
    let (arrived, port) = board.next_arrival().await;
    assert_eq!(arrived, syn());
    let woken = std::sync::Arc::new(Flag::default());
    let waker = woken.clone().into();
    port.register(Context::from_waker(&waker).waker());
    assert_eq!(shaped.write(queue.index, b"x"), Ok(1));
    while board.turn().expect("the protocol is kept") {}
    assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(&port.read(10)[..], b"x");
}

#[derive(Default)]
struct Flag(std::sync::atomic::AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_second_syn_for_a_pair_in_use_ends_the_generation() {
    let (board, mut shaped) = taking_up();
    let queue = shaped.allocate().expect("a free pair");
    tell(&board, &mut shaped, LocalMessage::Syn(queue, syn()));
    let again = QueueRef { use_count: queue.use_count + 1, ..queue };
    shaped.send_message(&LocalMessage::Syn(again, syn())).expect("there is room");
    assert_eq!(board.turn(), Err(QueueFault::Message));
    assert!(board.state.borrow().side.is_none());
}

#[test]
fn a_position_behind_what_was_read_ends_the_generation() {
    let (board, mut shaped) = taking_up();
    let queue = shaped.allocate().expect("a free pair");
    tell(&board, &mut shaped, LocalMessage::Syn(queue, syn()));
    let port = FlowPort::new(board.clone(), queue);
    assert_eq!(shaped.write(queue.index, b"bytes"), Ok(5));
    assert_eq!(&port.read(10)[..], b"bytes");
    shaped.send_message(&LocalMessage::Fin(queue, 3)).expect("there is room");
    assert_eq!(board.turn(), Err(QueueFault::Position));
    assert_eq!(port.reset_received(), Some(ResetReason::TunnelLost));
}

#[test]
fn a_last_position_that_was_never_written_ends_the_generation() {
    let (board, mut shaped) = opening();
    drop(board.open(syn()).expect("a free pair"));
    let queue = messages(&mut shaped)[0].queue();
    shaped.send_message(&LocalMessage::Closed(queue, 1 << 40)).expect("there is room");
    assert_eq!(board.turn(), Err(QueueFault::Position));
}

#[test]
fn records_go_whole_or_not_at_all() {
    use crate::records;
    let (board, mut shaped) = opening();
    let port = board.open(syn()).expect("a free pair");
    let queue = messages(&mut shaped)[0].queue();
    assert!(records::write(&port, &[1; 3000]));
    assert!(!records::write(&port, &[2; 3000]), "there is no room");
    assert!(!records::write(&port, &vec![0; 70_000]), "it has no length");
    assert_eq!(shaped.readable(queue.index), Ok(3002));
    // In three pieces, of which only the last completes it.
    for piece in [&[0u8][..], &[3], b"abc"] {
        assert_eq!(records::read(&port), Ok(None));
        assert_eq!(shaped.write(queue.index, piece), Ok(piece.len()));
    }
    assert_eq!(records::read(&port).map(|record| record.map(|record| record.to_vec())), Ok(Some(b"abc".to_vec())));
    assert_eq!(shaped.write(queue.index, &[0xff, 0xff]), Ok(2));
    assert_eq!(records::read(&port), Err(records::RecordTooLong));
}
