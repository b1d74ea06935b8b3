//! Both sides of one node's queues within one process.

use flow_queue::{Geometry, OpenError, QueueSide, Segments, Side, local_pair};
use shaped_node::queues::{FlowQueues, QueueFault};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
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

#[test]
fn a_reused_pair_shows_nothing_of_the_flow_before() -> TestResult {
    let (mut unshaped, mut shaped) = entry(1)?;
    let first = open(&mut unshaped, &mut shaped)?;
    assert_eq!(unshaped.write(0, b"secret of the first flow")?, 24);
    assert_eq!(shaped.write(0, b"and what it was answered")?, 24);
    assert_eq!(&shaped.read(0, 6)?[..], b"secret");
    // The peer's messages of this use are still on their way when the next one begins.
    shaped.send_message(&LocalMessage::Fin(first, 24))?;
    assert!(unshaped.allocate().is_none(), "the only pair is taken");
    unshaped.send_message(&LocalMessage::Closed(first, 24))?;
    shaped.send_message(&LocalMessage::Closed(first, 24))?;
    shaped.send_message(&LocalMessage::Reset(first, ResetReason::Denied))?;
    assert_eq!(unshaped.poll_message()?, Some(LocalMessage::Fin(first, 24)));
    assert_eq!(unshaped.poll_message()?, Some(LocalMessage::Closed(first, 24)));
    unshaped.discard(0, 24)?;
    unshaped.release(first);
    assert!(unshaped.allocate().is_none(), "the other side has not thrown away its rest yet");
    assert_eq!(shaped.poll_message()?, Some(LocalMessage::Closed(first, 24)));
    shaped.discard(0, 24)?;

    let second = open(&mut unshaped, &mut shaped)?;
    assert_eq!((second.index, second.use_count), (0, first.use_count + 1));
    assert_eq!(unshaped.poll_message()?, None, "the reset belonged to the first flow");
    assert_eq!((shaped.readable(0)?, unshaped.readable(0)?), (0, 0));
    assert_eq!(unshaped.write(0, b"new")?, 3);
    assert_eq!(&shaped.peek(0, 4096)?[..], b"new");
    assert_eq!(&shaped.read(0, 4096)?[..], b"new");
    assert_eq!(shaped.read_position(0), 27);
    Ok(())
}

#[test]
fn releasing_a_use_twice_or_late_gives_nothing_away() -> TestResult {
    let (mut unshaped, mut shaped) = entry(1)?;
    let first = open(&mut unshaped, &mut shaped)?;
    close(&mut unshaped, &mut shaped, first)?;
    unshaped.release(first);
    let second = unshaped.allocate().ok_or("the pair is free")?;
    unshaped.release(first);
    assert!(unshaped.allocate().is_none(), "the second flow still has the pair");
    unshaped.release(second);
    assert!(unshaped.allocate().is_some());
    assert!(unshaped.allocate().is_none());
    Ok(())
}

#[test]
fn a_side_that_never_drains_loses_only_its_own_pairs() -> TestResult {
    let (mut unshaped, mut shaped) = entry(3)?;
    let queue = open(&mut unshaped, &mut shaped)?;
    assert_eq!(unshaped.write(queue.index, b"never read")?, 10);
    shaped.send_message(&LocalMessage::Closed(queue, 0))?;
    unshaped.poll_message()?.ok_or("Closed")?;
    unshaped.release(queue);
    for _ in 0..10 {
        let other = unshaped.allocate().ok_or("two pairs are left")?;
        assert_ne!(other.index, queue.index);
        unshaped.release(other);
    }
    shaped.discard(queue.index, 10)?;
    let all: Vec<u16> = std::iter::from_fn(|| unshaped.allocate()).map(|queue| queue.index).collect();
    assert_eq!(all.len(), 3);
    assert!(all.contains(&queue.index));
    Ok(())
}

#[test]
fn a_pair_whose_own_rest_is_unread_is_not_reused() -> TestResult {
    let (mut unshaped, mut shaped) = entry(1)?;
    let queue = open(&mut unshaped, &mut shaped)?;
    assert_eq!(shaped.write(0, b"a late answer")?, 13);
    unshaped.release(queue);
    assert!(unshaped.allocate().is_none());
    unshaped.discard(0, 13)?;
    assert!(unshaped.allocate().is_some());
    Ok(())
}

#[test]
fn only_the_assigning_side_allocates() -> TestResult {
    let (mut unshaped, mut shaped) = local_pair(&geometry(2)?, Side::Shaped)?;
    assert!(unshaped.allocate().is_none());
    let queue = open(&mut shaped, &mut unshaped)?;
    unshaped.send_message(&LocalMessage::Syn(queue, syn()))?;
    assert_eq!(shaped.poll_message(), Err(QueueFault::Message), "only the assigner opens flows");
    Ok(())
}

#[test]
fn a_message_about_a_pair_that_does_not_exist_is_a_breach() -> TestResult {
    let (mut unshaped, mut shaped) = entry(2)?;
    unshaped.send_message(&LocalMessage::Fin(QueueRef { index: 2, use_count: 0 }, 0))?;
    assert_eq!(shaped.poll_message(), Err(QueueFault::Message));
    Ok(())
}

#[test]
fn a_control_queue_that_nobody_reads_fills_without_harm() -> TestResult {
    let (mut unshaped, mut shaped) = entry(2)?;
    let queue = open(&mut unshaped, &mut shaped)?;
    for sent in 0..16 {
        assert_eq!(unshaped.send_message(&LocalMessage::Fin(queue, sent)), Ok(()));
    }
    assert_eq!(unshaped.send_message(&LocalMessage::Fin(queue, 16)), Err(QueueFault::ControlFull));
    for sent in 0..16 {
        assert_eq!(shaped.poll_message()?, Some(LocalMessage::Fin(queue, sent)));
    }
    assert_eq!(unshaped.send_message(&LocalMessage::Fin(queue, 16)), Ok(()));
    Ok(())
}

#[test]
fn many_stale_messages_do_not_hide_a_current_one() -> TestResult {
    let (mut unshaped, mut shaped) = entry(32)?;
    let queue = open(&mut unshaped, &mut shaped)?;
    let stale = QueueRef { use_count: queue.use_count.wrapping_sub(1), ..queue };
    for _ in 0..200 {
        shaped.send_message(&LocalMessage::Fin(stale, 0))?;
    }
    shaped.send_message(&LocalMessage::Fin(queue, 5))?;
    let found = (0..5).find_map(|_| {
        assert!(unshaped.has_news(), "so the caller does not sleep");
        unshaped.poll_message().transpose()
    });
    assert_eq!(found, Some(Ok(LocalMessage::Fin(queue, 5))));
    Ok(())
}

#[test]
fn activity_names_each_pair_once_a_pass() -> TestResult {
    let (mut unshaped, mut shaped) = entry(200)?;
    let touched = [0, 1, 63, 64, 130, 199];
    for index in touched {
        unshaped.write(index, b"x")?;
    }
    unshaped.write(64, b"y")?;
    let pass: Vec<u16> = std::iter::from_fn(|| shaped.poll_active()).collect();
    assert_eq!(pass, touched);
    assert_eq!(shaped.poll_active(), None);

    // Something that moves during a pass, behind it, comes with the next one.
    unshaped.write(10, b"x")?;
    unshaped.write(150, b"x")?;
    assert_eq!(shaped.poll_active(), Some(10));
    unshaped.write(10, b"z")?;
    assert_eq!(shaped.poll_active(), Some(150));
    assert!(shaped.has_news());
    assert_eq!(shaped.poll_active(), None);
    assert!(shaped.has_news());
    assert_eq!(shaped.poll_active(), Some(10));
    assert_eq!(shaped.poll_active(), None);
    assert!(!shaped.has_news());

    // Reading is news to the writer.
    shaped.read(199, 1)?;
    assert_eq!(std::iter::from_fn(|| unshaped.poll_active()).collect::<Vec<_>>(), [199]);
    Ok(())
}

#[test]
fn sockets_are_filled_and_emptied_straight_from_the_rings() -> TestResult {
    let (mut unshaped, mut shaped) = entry(1)?;
    let (mut application, socket) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    let kind = |result: std::io::Result<usize>| result.map_err(|error| error.kind());
    assert_eq!(kind(unshaped.write_from_fd(0, &socket, 100)), Err(std::io::ErrorKind::WouldBlock));
    assert_eq!(unshaped.read_into_fd(0, &socket, 100)?, 0, "the ring is empty");

    let sent: Vec<u8> = (0..5000u32).map(|number| (number * 7 / 3) as u8).collect();
    application.write_all(&sent)?;
    assert_eq!(unshaped.write_from_fd(0, &socket, usize::MAX)?, 4096);
    assert_eq!(kind(unshaped.write_from_fd(0, &socket, 100)), Err(std::io::ErrorKind::StorageFull));
    assert_eq!(shaped.poll_active(), Some(0));
    assert_eq!(shaped.read(0, 1000)?[..], sent[..1000]);
    assert_eq!(unshaped.write_from_fd(0, &socket, usize::MAX)?, 904, "across the wrap");
    assert_eq!(shaped.read(0, 8192)?[..], sent[1000..]);

    shaped.write(0, &sent[..3000])?;
    assert_eq!(unshaped.read_into_fd(0, &socket, 1000)?, 1000);
    assert_eq!(unshaped.read_into_fd(0, &socket, usize::MAX)?, 2000);
    assert_eq!(shaped.write(0, &sent[3000..])?, 2000);
    assert_eq!(unshaped.read_into_fd(0, &socket, usize::MAX)?, 2000, "across the wrap");
    let mut received = vec![0; 5000];
    application.read_exact(&mut received)?;
    assert_eq!(received, sent);

    drop(application);
    assert_eq!(unshaped.write_from_fd(0, &socket, 100)?, 0, "end of file");
    shaped.write(0, b"for nobody")?;
    assert_eq!(kind(unshaped.read_into_fd(0, &socket, 100)), Err(std::io::ErrorKind::BrokenPipe));
    assert_eq!(unshaped.readable(0)?, 10, "nothing was taken");
    Ok(())
}

#[test]
fn a_record_is_written_whole_or_not_at_all() -> TestResult {
    let (mut unshaped, mut shaped) = entry(1)?;
    assert!(unshaped.write_all(0, &[b"ab", &[7; 3000]])?);
    assert!(!unshaped.write_all(0, &[b"ab", &[8; 3000]])?);
    assert_eq!(shaped.readable(0)?, 3002);
    assert_eq!(unshaped.writable(0)?, 4096 - 3002);
    assert!(!unshaped.is_out_drained(0)?);
    shaped.discard(0, 3002)?;
    assert!(unshaped.is_out_drained(0)?);
    assert!(unshaped.write_all(0, &[b"ab", &[8; 3000]])?, "across the wrap");
    assert_eq!(shaped.read(0, 3)?[..], *b"ab\x08");
    assert_eq!(shaped.discard(0, 3002), Err(QueueFault::Position), "already behind");
    assert_eq!(shaped.discard(0, 6005), Err(QueueFault::Position), "not yet written");
    Ok(())
}

#[test]
fn reads_short_and_long_survive_the_reads_after_them() -> TestResult {
    let (mut unshaped, mut shaped) = entry(1)?;
    let mut kept = Vec::new();
    for number in 0..200u32 {
        let length = if number % 10 == 0 { 4096 } else { 1 + number as usize * 13 % 700 };
        unshaped.write(0, &vec![number as u8; length])?;
        kept.push((number as u8, length, shaped.peek(0, usize::MAX)?, shaped.read(0, usize::MAX)?));
    }
    for (byte, length, peeked, read) in kept {
        assert_eq!((peeked.len(), read.len()), (length, length));
        assert!(peeked.iter().chain(&read).all(|found| *found == byte));
    }
    Ok(())
}

#[test]
fn memory_beyond_the_warm_part_goes_back_when_flows_end() -> TestResult {
    const RING: usize = 1 << 20;
    let geometry = Geometry::new(40, RING as u32, 1)?;
    let segments = Segments::create(&geometry)?;
    let fds = segments.unshaped_side()?;
    let segment = fds[0].try_clone()?;
    let mut unshaped = QueueSide::open(&geometry, Side::Unshaped, true, fds)?;
    let mut shaped = QueueSide::open(&geometry, Side::Shaped, false, segments.shaped_side()?)?;
    let taken = || rustix::fs::fstat(&segment).map(|stat| stat.st_blocks as usize * 512);
    let flows: Vec<QueueRef> = (0..40).map(|_| open(&mut unshaped, &mut shaped)).collect::<Result<_, _>>()?;
    for queue in &flows {
        assert_eq!(unshaped.write(queue.index, &vec![0xA5; RING])?, RING);
    }
    assert!(taken()? >= 40 * RING);
    for queue in flows {
        close(&mut unshaped, &mut shaped, queue)?;
    }
    assert!(taken()? < 18 * RING, "16 MiB stay warm: {}", taken()?);
    let again = open(&mut unshaped, &mut shaped)?;
    assert_eq!(unshaped.write(again.index, b"fresh")?, 5);
    assert_eq!(&shaped.read(again.index, 100)?[..], b"fresh");
    Ok(())
}

#[test]
fn a_side_is_opened_only_with_what_was_made_for_it() -> TestResult {
    let geometry = geometry(2)?;
    let segments = Segments::create(&geometry)?;
    let open = |geometry: &Geometry, side, fds| QueueSide::open(geometry, side, true, fds).map(|_| ());
    assert_eq!(open(&geometry, Side::Shaped, segments.shaped_side()?), Ok(()));
    assert_eq!(open(&geometry, Side::Unshaped, segments.shaped_side()?), Err(OpenError::Mismatch));
    assert_eq!(open(&geometry.with_generation(2), Side::Shaped, segments.shaped_side()?), Err(OpenError::Mismatch));
    let mut fds = segments.shaped_side()?;
    fds.pop();
    assert_eq!(open(&geometry, Side::Shaped, fds), Err(OpenError::Descriptors(3)));
    let mut swapped = segments.shaped_side()?;
    swapped.swap(0, 1);
    assert!(matches!(open(&geometry, Side::Shaped, swapped), Err(OpenError::Segment(_))), "read-only cannot be ours");
    let larger = Geometry::new(2, 8192, 1)?;
    assert!(matches!(open(&larger, Side::Shaped, segments.shaped_side()?), Err(OpenError::Segment(_))));
    Ok(())
}
