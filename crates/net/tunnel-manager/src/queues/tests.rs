//! Streams and their queue pairs, with this test for the core.

use super::*;
use crate::stream::TunnelStream;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll, Waker};
use tokio::io::ReadBuf;
use wire::flow::FlowKind;

const BUFFER: usize = 8;

struct World {
    queues: StreamQueues,
    bell: Arc<Bell>,
    now: Instant,
}

impl World {
    fn new(count: u16) -> Self {
        let bell = Arc::new(Bell::default());
        Self { queues: StreamQueues::new(count, BUFFER, Arc::clone(&bell)), bell, now: Instant::now() }
    }

    fn open(&mut self) -> Option<TunnelStream> {
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, 7)).into();
        let flow = self.queues.open(Syn { kind: FlowKind::Stream, client: 1, destination })?;
        Some(TunnelStream::new(flow))
    }

    /// What the driver does in a turn; returns what the core is told.
    fn turn(&mut self) -> Vec<LocalMessage> {
        for flow in self.bell.take().flows {
            self.queues.look_at(self.now, flow);
        }
        self.queues.handle_timeout(self.now);
        let messages = std::iter::from_fn(|| self.queues.poll_message().expect("no fault")).collect();
        while self.queues.poll_active().is_some() {}
        self.queues.free_closed();
        messages
    }

    fn say(&mut self, message: &LocalMessage) {
        self.queues.send_message(message).expect("no fault");
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn read(stream: &TunnelStream) -> Poll<std::io::Result<Vec<u8>>> {
    let mut bytes = [0; 64];
    let mut buffer = ReadBuf::new(&mut bytes);
    stream.flow().poll_read(&mut context(), &mut buffer).map_ok(|()| buffer.filled().to_vec())
}

fn connected(queue: QueueRef) -> LocalMessage {
    LocalMessage::Connected(queue, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
}

#[test]
fn bytes_go_through_bounded_pipes_and_ends_follow_them() {
    let mut world = World::new(1);
    let stream = world.open().expect("a queue pair");
    assert!(world.open().is_none(), "there is one");
    let queue = stream.flow().queue;
    assert!(matches!(world.turn()[..], [LocalMessage::Syn(of, _)] if of == queue));
    assert!(stream.flow().poll_connected(&mut context()).is_pending());
    world.say(&connected(queue));
    assert!(stream.flow().poll_connected(&mut context()).is_ready());

    assert!(matches!(stream.flow().poll_write(&mut context(), b"0123456789"), Poll::Ready(Ok(BUFFER))));
    assert!(stream.flow().poll_write(&mut context(), b"x").is_pending());
    assert_eq!(world.queues.readable(0), Ok(BUFFER));
    assert_eq!(world.queues.peek(0, 3).as_deref(), Ok(&b"012"[..]));
    world.queues.discard(0, 3).expect("a good position");
    assert_eq!(world.queues.discard(0, 99), Err(QueueFault::Position));
    assert_eq!(world.queues.read(0, 99).as_deref(), Ok(&b"34567"[..]));
    assert_eq!((world.queues.read_position(0), stream.control().bytes_in_flight()), (8, 0));

    assert_eq!(world.queues.write(0, b"abcdefghij"), Ok(BUFFER));
    assert_eq!(world.queues.writable(0), Ok(0));
    assert!(matches!(read(&stream), Poll::Ready(Ok(bytes)) if bytes == b"abcdefgh"));
    assert!(read(&stream).is_pending());
    world.say(&LocalMessage::Fin(queue, 8));
    assert!(matches!(read(&stream), Poll::Ready(Ok(bytes)) if bytes.is_empty()));
    assert!(world.turn().is_empty(), "this direction goes on");
    stream.control().half_close();
    assert_eq!(world.turn(), [LocalMessage::Fin(queue, 8), LocalMessage::Closed(queue, 8)]);
    assert!(world.open().is_none(), "the core has not closed it");
    world.say(&LocalMessage::Closed(queue, 8));
    world.turn();
    let again = world.open().expect("it is free");
    assert_eq!(again.flow().queue, QueueRef { index: queue.index, use_count: queue.use_count + 1 });
    // The old handle is about the old use.
    stream.control().reset();
    assert!(matches!(world.turn()[..], [LocalMessage::Syn(..)]));
}

/// The core takes messages in their order: a pair that were free before it has heard `Closed` would be taken for the old use's.
#[test]
fn a_queue_pair_is_not_used_again_before_the_core_has_heard_that_it_is_closed() {
    let mut world = World::new(1);
    let stream = world.open().expect("a queue pair");
    let queue = stream.flow().queue;
    world.turn();
    world.say(&LocalMessage::Reset(queue, ResetReason::Refused));
    world.say(&LocalMessage::Closed(queue, 0));
    assert!(matches!(stream.flow().poll_connected(&mut context()), Poll::Ready(Err(ResetReason::Refused))));
    assert!(matches!(read(&stream), Poll::Ready(Err(_))));
    for flow in world.bell.take().flows {
        world.queues.look_at(world.now, flow);
    }
    world.queues.free_closed();
    assert!(world.open().is_none(), "the message is on its way");
    assert_eq!(world.turn(), [LocalMessage::Closed(queue, 0)]);
    assert!(world.open().is_some());
}

#[test]
fn what_was_written_before_a_stream_is_dropped_leaves_and_what_comes_then_is_refused() {
    let mut world = World::new(2);
    let [kind, hurt] = [0, 1].map(|_| world.open().expect("a queue pair"));
    let [kind_queue, hurt_queue] = [kind.flow().queue, hurt.flow().queue];
    world.say(&connected(kind_queue));
    world.say(&connected(hurt_queue));
    world.turn();
    for stream in [&kind, &hurt] {
        assert!(stream.flow().poll_write(&mut context(), b"bye").is_ready());
    }
    drop((kind, hurt));
    let fins = [kind_queue, hurt_queue].map(|queue| LocalMessage::Fin(queue, 3));
    assert_eq!(world.turn(), fins);
    assert_eq!(world.queues.readable(kind_queue.index), Ok(3));
    world.say(&LocalMessage::Fin(kind_queue, 0));
    assert_eq!(world.queues.write(hurt_queue.index, b"more"), Ok(4));
    let ends = world.turn();
    assert!(ends.contains(&LocalMessage::Closed(kind_queue, 3)), "{ends:?}");
    assert!(ends.contains(&LocalMessage::Reset(hurt_queue, ResetReason::ByPeer)), "{ends:?}");
    assert!(ends.contains(&LocalMessage::Closed(hurt_queue, 3)), "{ends:?}");
}

#[test]
fn a_stream_that_was_dropped_waits_for_its_other_end_for_a_minute() {
    let mut world = World::new(1);
    let stream = world.open().expect("a queue pair");
    let queue = stream.flow().queue;
    world.say(&connected(queue));
    world.turn();
    drop(stream);
    assert_eq!(world.turn(), [LocalMessage::Fin(queue, 0)]);
    assert_eq!(world.queues.poll_timeout(), Some(world.now + ORPHAN_LIFE));
    world.now += ORPHAN_LIFE;
    assert_eq!(world.turn(), [LocalMessage::Reset(queue, ResetReason::ByPeer), LocalMessage::Closed(queue, 0)]);
    assert_eq!(world.queues.poll_timeout(), None);
}

/// Streams that the other end opens: each gets a queue pair while there are some, is answered when an application takes it, refused when
/// none does, and its pair is given back once.
#[test]
fn streams_that_come_are_taken_or_refused() {
    let mut world = World::new(2);
    assert_eq!(world.queues.allocate(), None, "here nobody may open any");
    world.queues = StreamQueues::taking(2, BUFFER, Arc::clone(&world.bell));
    let come = |world: &mut World, port: u16| {
        let queue = world.queues.allocate().expect("a pair");
        let destination = SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into();
        world.say(&LocalMessage::Syn(queue, Syn { kind: FlowKind::Stream, client: 1, destination }));
        let (came, flow) = world.queues.poll_came().expect("it came");
        assert_eq!((came, flow.queue), (port, queue));
        (queue, TunnelStream::new(flow))
    };
    let ((one, taken), (other, refused)) = (come(&mut world, 80), come(&mut world, 81));
    assert_eq!((world.queues.allocate(), world.turn()), (None, vec![]), "nobody has said anything yet");
    taken.flow().accept();
    drop(refused);
    let told = world.turn();
    let is_connected = |message: &LocalMessage| matches!(message, LocalMessage::Connected(queue, _) if *queue == one);
    assert!(is_connected(&told[0]), "{told:?}");
    assert_eq!(told[1..], [LocalMessage::Reset(other, ResetReason::Refused), LocalMessage::Closed(other, 0)]);
    world.say(&LocalMessage::Closed(other, 0));
    world.turn();
    assert_eq!(world.queues.open_count(), 1);
    // What the client wrote is there, and what the application writes goes out.
    assert_eq!(world.queues.write(one.index, b"hello"), Ok(5));
    assert!(matches!(read(&taken), Poll::Ready(Ok(bytes)) if bytes == b"hello"));
    assert!(matches!(taken.flow().poll_write(&mut context(), b"you"), Poll::Ready(Ok(3))));
    assert_eq!(world.turn(), []);
    assert_eq!(world.queues.read(one.index, 9).as_deref(), Ok(&b"you"[..]));
    // Too many wait.
    let (third, late) = come(&mut world, 80);
    late.flow().refuse(ResetReason::TooManyFlows);
    drop(late);
    assert_eq!(world.turn(), [LocalMessage::Reset(third, ResetReason::TooManyFlows), LocalMessage::Closed(third, 0)]);
}
