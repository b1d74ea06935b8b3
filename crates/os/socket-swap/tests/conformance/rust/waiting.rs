//! Readiness, time limits, signals and threads.

use crate::by_number::{Set, interrupt_after, poll};
use crate::harness::{Case, answers, exactly, hear, idle, pause, say, tell, tried};
use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLIN, EPOLLONESHOT, EPOLLOUT, POLLIN, POLLOUT};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) const CASES: &[Case] = &[
    ("not-blocking", answers::<1>, not_blocking_client),
    ("limits", answers::<1>, limits_client),
    ("full", full_server, full_client),
    ("polls", answers::<2>, polls_client),
    ("hang-up", hang_up_server, hang_up_client),
    ("epoll-level", answers::<3>, level_client),
    ("epoll-edge", answers::<3>, edge_client),
    ("epoll-once", answers::<2>, once_client),
    ("epoll-room", room_server, room_client),
    ("interrupted", answers::<1>, interrupted_client),
    ("restarted", answers::<1>, restarted_client),
    ("interrupted-wait", answers::<1>, interrupted_wait_client),
    ("reader-thread", reader_thread_server, reader_thread_client),
    ("shut-wakes-a-reader", idle, shut_wakes_client),
    ("turns-of-threads", turns_server, turns_client),
];

const LIMIT: Duration = Duration::from_millis(60);

/// Sends until no more goes in; returns how much did.
fn fill_up(mut end: &UnixStream) -> usize {
    let mut total = 0;
    end.set_nonblocking(true).expect("it is open");
    loop {
        match end.write(&[b'x'; 70_000]) {
            Ok(count) => total += count,
            Err(error) => {
                say("full", error.kind());
                return total;
            }
        }
    }
}

/// Takes what is there; returns how much that was.
fn drain(mut end: &UnixStream) -> usize {
    let (mut total, mut space) = (0, vec![0; 100_000]);
    end.set_nonblocking(true).expect("it is open");
    while let Ok(count @ 1..) = end.read(&mut space) {
        total += count;
    }
    end.set_nonblocking(false).expect("it is open");
    total
}

fn not_blocking_client(mut end: UnixStream) {
    tried("set", end.set_nonblocking(true));
    tried("read", end.read(&mut [0; 4]));
    let mut clone = end.try_clone().expect("there are descriptors");
    tried("shared", clone.read(&mut [0; 4]));
    tell();
    tried("poll", poll(&end, POLLIN, 5000));
    tried("read", end.read(&mut [0; 4]));
    tried("read_to_end", end.read_to_end(&mut Vec::new()));
    tried("set", end.set_nonblocking(false));
    tell();
}

fn limits_client(mut end: UnixStream) {
    tried("zero", end.set_read_timeout(Some(Duration::ZERO)));
    tried("set", end.set_read_timeout(Some(LIMIT)));
    tried("get", end.read_timeout());
    let before = Instant::now();
    tried("read", end.read(&mut [0]));
    tried("read_exact", end.read_exact(&mut [0]));
    let took = before.elapsed();
    say("in time", took >= 2 * LIMIT - Duration::from_millis(10) && took < Duration::from_secs(5));
    tried("set", end.set_read_timeout(None));
    tell();
    tried("read", end.read(&mut [0; 9]));
    tell();
}

fn full_server(mut end: UnixStream) {
    let sent = fill_up(&end);
    say("some", sent > 0);
    tried("poll", poll(&end, POLLOUT, 30));
    tried("set", end.set_nonblocking(false));
    tried("set", end.set_write_timeout(Some(LIMIT)));
    tried("get", end.write_timeout());
    tried("write", end.write(b"x"));
    tell();
    tried("poll", poll(&end, POLLOUT, 5000));
    hear();
    tried("write", end.write_all(&sent.to_le_bytes()));
}

fn full_client(mut end: UnixStream) {
    hear();
    let came = drain(&end);
    tell();
    let mut sent = [0; size_of::<usize>()];
    tried("read", end.read_exact(&mut sent));
    say("all", came == usize::from_le_bytes(sent));
}

fn polls_client(mut end: UnixStream) {
    tried("room", poll(&end, POLLIN | POLLOUT, 0));
    tried("nothing", poll(&end, POLLIN, 20));
    tell();
    tried("news", poll(&end, POLLIN, -1));
    tried("level", poll(&end, POLLIN | POLLOUT, 0));
    tried("read", end.read(&mut [0; 9]));
    tried("none", poll(&end, POLLIN, 0));
    tell();
    tried("news", poll(&end, POLLIN, 5000));
    tried("read", end.read(&mut [0; 9]));
    tell();
}

fn hang_up_server(end: UnixStream) {
    hear();
    tried("shut", end.shutdown(Shutdown::Write));
    hear();
    drop(end);
    tell();
}

fn hang_up_client(mut end: UnixStream) {
    let set = Set::new();
    tried("add", set.change(EPOLL_CTL_ADD, &end, EPOLLIN | libc::EPOLLRDHUP));
    tried("nothing", set.wait(0));
    tell();
    tried("half", set.wait(5000));
    tried("half", poll(&end, POLLIN | libc::POLLRDHUP, 5000));
    tell();
    hear();
    tried("whole", set.wait(5000));
    tried("whole", poll(&end, POLLIN | libc::POLLRDHUP, 5000));
    tried("read", end.read(&mut [0]));
}

fn level_client(mut end: UnixStream) {
    let set = Set::new();
    tried("add", set.change(EPOLL_CTL_ADD, &end, EPOLLIN));
    tried("twice", set.change(EPOLL_CTL_ADD, &end, EPOLLIN));
    tried("nothing", set.wait(10));
    tell();
    tried("news", set.wait(5000));
    tried("level", set.wait(0));
    tried("read", end.read(&mut [0; 9]));
    tried("drained", set.wait(0));
    tried("both", set.change(EPOLL_CTL_MOD, &end, EPOLLIN | EPOLLOUT));
    tried("room", set.wait(0));
    tried("only news", set.change(EPOLL_CTL_MOD, &end, EPOLLIN));
    tell();
    tried("news", set.wait(-1));
    tried("read", end.read(&mut [0; 9]));
    tried("del", set.change(EPOLL_CTL_DEL, &end, 0));
    tried("del", set.change(EPOLL_CTL_DEL, &end, 0));
    tell();
    tried("none", set.wait(80));
    tried("read", end.read(&mut [0; 9]));
    tell();
}

fn edge_client(mut end: UnixStream) {
    let set = Set::new();
    tried("set", end.set_nonblocking(true));
    tried("add", set.change(EPOLL_CTL_ADD, &end, EPOLLIN | EPOLLET));
    for _ in 0..3 {
        tell();
        let mut space = [0; 9];
        // An edge may be told of twice, so what counts is that there is one for each piece.
        loop {
            let told = set.wait(5000);
            match end.read(&mut space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                came => {
                    tried("edge", told);
                    tried("read", came);
                    break;
                }
            }
        }
        tried("drained", end.read(&mut space));
    }
    tell();
}

fn once_client(mut end: UnixStream) {
    let set = Set::new();
    tried("add", set.change(EPOLL_CTL_ADD, &end, EPOLLIN | EPOLLONESHOT));
    for _ in 0..2 {
        tell();
        tried("once", set.wait(5000));
        tried("no more", set.wait(10));
        tried("again", set.change(EPOLL_CTL_MOD, &end, EPOLLIN | EPOLLONESHOT));
        tried("once", set.wait(5000));
        tried("read", end.read(&mut [0; 9]));
        tried("again", set.change(EPOLL_CTL_MOD, &end, EPOLLIN | EPOLLONESHOT));
    }
    tried("none", set.wait(10));
    tell();
}

/// Takes everything without a word of its own.
fn room_server(end: UnixStream) {
    for _ in 0..2 {
        hear();
        pause(30);
        say("came", drain(&end) > 0);
        tell();
    }
    hear();
}

/// One who is told of changes takes it for "full" that less than all was sent, and waits to be told of room. So does tokio.
fn room_client(mut end: UnixStream) {
    let set = Set::new();
    tried("set", end.set_nonblocking(true));
    tried("add", set.change(EPOLL_CTL_ADD, &end, EPOLLOUT | EPOLLET));
    tried("empty", set.wait(5000));
    let piece = vec![b'x'; 1_000_000];
    for _ in 0..2 {
        let sent = end.write(&piece);
        say("less", sent.map(|count| count < piece.len()).ok());
        tell();
        tried("room", set.wait(5000));
        hear();
    }
    tell();
}

/// Later than a call takes to fall asleep on a busy machine: a signal that comes before interrupts nothing.
const LATER_MS: i64 = 150;

fn interrupted_client(mut end: UnixStream) {
    interrupt_after(LATER_MS, 0);
    tried("read", end.read(&mut [0; 9]));
    interrupt_after(LATER_MS, 0);
    let teller = std::thread::spawn(|| {
        pause(400);
        tell();
    });
    // It goes on after a signal by itself.
    let mut byte = [0; 1];
    tried("read_exact", end.read_exact(&mut byte));
    say("byte", byte);
    say("thread", teller.join().is_ok());
    tell();
}

fn restarted_client(mut end: UnixStream) {
    interrupt_after(LATER_MS, libc::SA_RESTART);
    let teller = std::thread::spawn(|| {
        pause(400);
        tell();
    });
    tried("read", end.read(&mut [0; 9]));
    say("thread", teller.join().is_ok());
    tell();
}

fn interrupted_wait_client(end: UnixStream) {
    let set = Set::new();
    tried("add", set.change(EPOLL_CTL_ADD, &end, EPOLLIN));
    for flags in [0, libc::SA_RESTART] {
        interrupt_after(LATER_MS, flags);
        tried("poll", poll(&end, POLLIN, 5000));
        interrupt_after(LATER_MS, flags);
        tried("epoll", set.wait(5000));
    }
    tell();
    tried("epoll", set.wait(5000));
    tell();
}

fn reader_thread_server(mut end: UnixStream) {
    for turn in 0..500u32 {
        end.write_all(&turn.to_le_bytes()).expect("the other side reads");
    }
    tried("shut", end.shutdown(Shutdown::Write));
    say("end", exactly(&end, 10));
}

fn reader_thread_client(mut end: UnixStream) {
    let (given, taken) = mpsc::channel();
    let mut reading = end.try_clone().expect("there are descriptors");
    let reader = std::thread::spawn(move || {
        let mut word = [0; 4];
        while reading.read_exact(&mut word).is_ok() {
            if given.send(u32::from_le_bytes(word)).is_err() {
                break;
            }
        }
    });
    say("in order", taken.iter().eq(0..500));
    say("thread", reader.join().is_ok());
    tried("write", end.write_all(b"thank you."));
}

fn shut_wakes_client(mut end: UnixStream) {
    let other = end.try_clone().expect("there are descriptors");
    let reader = std::thread::spawn(move || end.read(&mut [0]).map_err(|error| error.kind()));
    pause(100);
    tried("shut", other.shutdown(Shutdown::Both));
    say("reader", reader.join().ok());
    tell();
}

fn turns_server(mut end: UnixStream) {
    let mut byte = [0];
    for _ in 0..400 {
        end.read_exact(&mut byte).expect("the other side writes");
        end.write_all(&byte).expect("the other side reads");
    }
    hear();
}

fn turns_client(end: UnixStream) {
    let shared = std::sync::Mutex::new(end);
    std::thread::scope(|scope| {
        for number in 0..4u8 {
            let shared = &shared;
            scope.spawn(move || {
                for _ in 0..100 {
                    let mut end = shared.lock().expect("no thread panics with it");
                    end.write_all(&[number]).expect("the other side reads");
                    let mut byte = [0];
                    end.read_exact(&mut byte).expect("the other side answers");
                    assert_eq!(byte, [number], "the answer to this thread's byte");
                }
            });
        }
    });
    say("done", true);
    tell();
}
