//! Sending, receiving, asking, and ends.

use crate::by_number::{self, Set, option, recv, send, sendmsg, set_option, unread};
use crate::harness::{Case, exactly, hear, idle, pattern, pause, say, tell, tried};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, IoSlice, IoSliceMut, LineWriter, Read, Seek, SeekFrom, Write, copy};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

pub(crate) const CASES: &[Case] = &[
    ("names", names, names),
    ("slices", slices_server, slices_client),
    ("by-number", by_number_server, by_number_client),
    ("many-messages", many_messages_server, many_messages_client),
    ("flags", flags_server, flags_client),
    ("options", options, options),
    ("unread-bytes", unread_server, unread_client),
    ("clones", clones_server, clones_client),
    ("as-a-file", as_a_file_server, as_a_file_client),
    ("numbers", numbers_server, numbers_client),
    ("lines", lines_server, lines_client),
    ("to-the-end", to_the_end_server, to_the_end_client),
    ("kernel-copies", kernel_copies_server, kernel_copies_client),
    ("big-both-ways", big_both_ways, big_both_ways),
    ("shut-writing", shut_writing_server, shut_writing_client),
    ("shut-reading", shut_reading_server, shut_reading_client),
    ("shut-both", shut_both_server, shut_both_client),
    ("dropped-peer", dropped_peer_server, dropped_peer_client),
    ("unread-at-drop", unread_at_drop_server, unread_at_drop_client),
    ("wrong-calls", idle, wrong_calls_client),
    ("listeners", idle, listeners_client),
    ("pair", idle, pair_client),
    ("passed-descriptors", passed_server, passed_client),
    ("in-a-set-when-dropped", idle_then_end, dropped_in_set_client),
];

fn names(end: UnixStream) {
    let own = end.local_addr().expect("a connected socket has one");
    let peer = end.peer_addr().expect("a connected socket has one");
    say("own", (own.is_unnamed(), own.as_pathname(), own.as_abstract_name()));
    say("peer", (peer.is_unnamed(), peer.as_pathname(), peer.as_abstract_name()));
    tried("error", end.take_error().map(|error| error.map(|error| error.kind())));
    say("limits", (end.read_timeout().ok(), end.write_timeout().ok()));
    tell();
    hear();
}

fn slices_server(mut end: UnixStream) {
    let parts = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"twothree")];
    tried("write_vectored", end.write_vectored(&parts));
    tried("write", end.write(b"four"));
    tried("nothing", end.write(b""));
    tried("by reference", (&end).write_all(b"five"));
    tried("flush", end.flush());
    tried("formatted", write!(end, "{:04}", 6));
    tell();
    hear();
}

fn slices_client(mut end: UnixStream) {
    hear();
    let (mut first, mut second, mut third) = ([0; 3], [0; 0], [0; 8]);
    let parts = &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second), IoSliceMut::new(&mut third)];
    tried("read_vectored", end.read_vectored(parts));
    say("first", first);
    say("third", third);
    let mut four = [0; 4];
    tried("read_exact", end.read_exact(&mut four));
    say("four", four);
    tried("nothing", end.read(&mut []));
    say("take", exactly(&end, 8));
    tell();
}

fn by_number_server(end: UnixStream) {
    tried("send", send(&end, b"abc", 0));
    tried("sendmsg", sendmsg(&end, &[b"de", b"", b"fgh"], libc::MSG_NOSIGNAL));
    tried("elsewhere", by_number::send_elsewhere(&end, b"x"));
    for flags in [libc::MSG_MORE, libc::MSG_EOR, libc::MSG_DONTWAIT, libc::MSG_DONTROUTE] {
        tried("flag", send(&end, b"f", flags));
    }
    tell();
    hear();
}

fn by_number_client(end: UnixStream) {
    hear();
    tried("peek", by_number::recvmsg(&end, [1, 2], libc::MSG_PEEK));
    tried("recvmsg", by_number::recvmsg(&end, [1, 2], 0));
    say("rest", exactly(&end, 9));
    tried("empty", by_number::recvmsg(&end, [1, 2], libc::MSG_DONTWAIT));
    tell();
}

fn many_messages_server(end: UnixStream) {
    tried("sendmmsg", by_number::sendmmsg(&end, &[b"first", b"second", b"", b"third"]));
    tell();
    hear();
}

fn many_messages_client(end: UnixStream) {
    hear();
    // Of a stream, each takes what there is.
    let came = by_number::recvmmsg(&end, 8, 2, libc::MSG_WAITALL);
    tried("recvmmsg", came);
    tried("empty", by_number::recvmmsg(&end, 8, 2, libc::MSG_DONTWAIT));
    tell();
}

fn flags_server(mut end: UnixStream) {
    end.write_all(b"abcdef").expect("the other side reads");
    hear();
    for piece in [b"gh", b"ij", b"kl"] {
        end.write_all(piece).expect("the other side reads");
        pause(10);
    }
    hear();
    end.write_all(b"mn").expect("the other side reads");
    drop(end);
    tell();
}

fn flags_client(end: UnixStream) {
    tried("peek", recv(&end, 6, libc::MSG_PEEK | libc::MSG_WAITALL));
    tried("truncated", recv(&end, 2, libc::MSG_TRUNC));
    tried("read", recv(&end, 100, 0));
    tried("nothing", recv(&end, 1, libc::MSG_DONTWAIT));
    tell();
    tried("all", recv(&end, 6, libc::MSG_WAITALL));
    tell();
    tried("all at the end", recv(&end, 6, libc::MSG_WAITALL));
    hear();
    tried("end", recv(&end, 6, libc::MSG_PEEK));
}

fn options(end: UnixStream) {
    use libc::{
        SO_ACCEPTCONN, SO_DOMAIN, SO_ERROR, SO_KEEPALIVE, SO_PASSCRED, SO_PROTOCOL, SO_RCVBUF, SO_SNDBUF, SO_TYPE,
    };
    for name in [SO_TYPE, SO_DOMAIN, SO_PROTOCOL, SO_ERROR, SO_ACCEPTCONN, SO_KEEPALIVE, SO_PASSCRED] {
        tried("option", option(&end, libc::SOL_SOCKET, name));
    }
    for name in [SO_SNDBUF, SO_RCVBUF] {
        tried("set", set_option(&end, libc::SOL_SOCKET, name, 40_000));
        tried("buffer", option(&end, libc::SOL_SOCKET, name));
    }
    tried("no level", option(&end, libc::IPPROTO_TCP, libc::TCP_NODELAY));
    tried("no option", option(&end, libc::SOL_SOCKET, 9999));
    tried("no option", set_option(&end, libc::SOL_SOCKET, 9999, 1));
    tell();
    hear();
}

fn unread_server(mut end: UnixStream) {
    end.write_all(b"12345").expect("the other side reads");
    tell();
    hear();
}

fn unread_client(end: UnixStream) {
    hear();
    tried("unread", unread(&end));
    say("some", exactly(&end, 2));
    tried("unread", unread(&end));
    say("rest", exactly(&end, 3));
    tried("unread", unread(&end));
    tell();
}

fn clones_server(end: UnixStream) {
    let mut other = end.try_clone().expect("there are descriptors");
    drop(end);
    tried("by the clone", other.write_all(b"by the clone"));
    say("read", exactly(&other, 6));
    let third = other.try_clone().expect("there are descriptors");
    tried("blocks", third.set_nonblocking(true));
    tried("shared", other.read(&mut [0]));
    tried("shut", third.shutdown(Shutdown::Write));
    tried("both are", other.write(b"x"));
    tell();
}

fn clones_client(mut end: UnixStream) {
    say("read", exactly(&end, 12));
    tried("write", end.write_all(b"answer"));
    say("end", exactly(&end, 1));
    hear();
}

fn as_a_file_server(end: UnixStream) {
    let mut file = File::from(OwnedFd::from(end));
    tried("write", file.write_all(b"from a file"));
    let kind = file.metadata().expect("it is open").file_type();
    say("socket", (kind.is_socket(), kind.is_file()));
    tried("seek", file.seek(SeekFrom::Start(0)));
    tried("place", file.stream_position());
    tried("length", file.set_len(1));
    tried("sync", file.sync_all());
    tried("read_at", file.read_at(&mut [0], 0));
    tried("write_at", file.write_at(&[0], 0));
    let mut answer = [0; 6];
    tried("read", file.read_exact(&mut answer));
    say("answer", answer);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    tried("open", File::open(path).map(|_| ()));
}

fn as_a_file_client(mut end: UnixStream) {
    say("read", exactly(&end, 11));
    tried("write", end.write_all(b"answer"));
    say("end", exactly(&end, 1));
}

fn numbers_server(end: UnixStream) {
    use by_number::control;
    let high = control(&end, libc::F_DUPFD_CLOEXEC, 1200).expect("there are descriptors");
    say("high", high >= 1200);
    say("on exec", control(&end, libc::F_GETFD, 0).ok());
    let number = end.into_raw_fd();
    // SAFETY: the number was given up a moment ago.
    let mut end = unsafe { UnixStream::from_raw_fd(number) };
    tried("write", end.write_all(b"one"));
    drop(end);
    // SAFETY: the copy is this function's.
    let copy = unsafe { OwnedFd::from_raw_fd(high as i32) };
    tried("by the copy", send(&copy, b"two", 0));
    tried("no pipe", control(&copy, libc::F_GETPIPE_SZ, 0));
    tell();
    hear();
}

fn numbers_client(end: UnixStream) {
    say("read", exactly(&end, 6));
    hear();
    tell();
}

fn lines_server(end: UnixStream) {
    let mut out = LineWriter::new(end.try_clone().expect("there are descriptors"));
    for line in BufReader::new(end).lines() {
        let line = line.expect("text comes");
        writeln!(out, "{} {line}", line.len()).expect("the other side reads");
    }
}

fn lines_client(end: UnixStream) {
    let mut lines = BufReader::with_capacity(1000, end.try_clone().expect("there are descriptors"));
    let mut out = BufWriter::new(end.try_clone().expect("there are descriptors"));
    for length in [0, 1, 900, 70_000, 3] {
        writeln!(out, "{}", "x".repeat(length)).expect("the other side reads");
        out.flush().expect("the other side reads");
        let mut line = String::new();
        lines.read_line(&mut line).expect("an answer comes");
        say("line", (line.len(), line.split(' ').next()));
    }
    tried("shut", end.shutdown(Shutdown::Write));
    let mut rest = String::new();
    tried("end", lines.read_line(&mut rest));
}

fn to_the_end_server(mut end: UnixStream) {
    tried("write", end.write_all(&pattern(300_000, 1)));
    tried("shut", end.shutdown(Shutdown::Write));
    let mut text = String::new();
    tried("text", end.read_to_string(&mut text));
    say("text", text);
}

fn to_the_end_client(mut end: UnixStream) {
    let mut few = Vec::new();
    tried("few", (&end).take(1000).read_to_end(&mut few));
    let mut rest = Vec::new();
    tried("rest", end.read_to_end(&mut rest));
    few.extend(rest);
    say("same", few == pattern(300_000, 1));
    tried("again", end.read_to_end(&mut few));
    tried("write", end.write_all("zwölf".as_bytes()));
}

/// Rust's library copies between descriptors by calls of the kernel that need no buffer.
fn kernel_copies_server(mut end: UnixStream) {
    let path = std::env::temp_dir().join(format!("conformance-copies-{}", std::process::id()));
    std::fs::write(&path, pattern(400_000, 5)).expect("the folder is writable");
    let mut file = File::open(&path).expect("it was written");
    tried("write", end.write_all(b"head"));
    tried("from a file", copy(&mut file, &mut end));
    tried("write", end.write_all(b"tail"));
    let mut into = File::create(&path).expect("the folder is writable");
    tried("into a file", copy(&mut (&end).take(250_000), &mut into));
    say("same", std::fs::read(&path).ok() == Some(pattern(250_000, 6)));
    std::fs::remove_file(path).expect("it was written");
    // From the connection to another socket, until it ends.
    let (mut own, other) = UnixStream::pair().expect("there are descriptors");
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut other = other;
        other.read_to_end(&mut all).expect("it comes");
        all
    });
    tried("into a socket", copy(&mut end, &mut own));
    drop(own);
    say("same", reader.join().expect("it reads") == pattern(150_000, 7));
}

fn kernel_copies_client(mut end: UnixStream) {
    say("head", exactly(&end, 4));
    let mut content = vec![0; 400_000];
    tried("file", end.read_exact(&mut content));
    say("same", content == pattern(400_000, 5));
    say("tail", exactly(&end, 4));
    tried("write", end.write_all(&pattern(250_000, 6)));
    tried("write", end.write_all(&pattern(150_000, 7)));
}

fn big_both_ways(end: UnixStream) {
    let mut out = end.try_clone().expect("there are descriptors");
    let writer = std::thread::spawn(move || out.write_all(&pattern(2_000_000, 3)).is_ok());
    let mut got = vec![0; 2_000_000];
    tried("read", (&end).read_exact(&mut got));
    say("same", (got == pattern(2_000_000, 3), writer.join().ok()));
}

fn shut_writing_server(mut end: UnixStream) {
    tried("write", end.write_all(b"bye"));
    tried("shut", end.shutdown(Shutdown::Write));
    tried("write", end.write(b"x"));
    say("read", exactly(&end, 10));
}

fn shut_writing_client(mut end: UnixStream) {
    say("read", exactly(&end, 10));
    tried("write", end.write_all(b"still"));
    tried("again", end.read(&mut [0]));
}

fn shut_reading_server(mut end: UnixStream) {
    tried("shut", end.shutdown(Shutdown::Read));
    tell();
    hear();
    tried("read", end.read(&mut [0]));
    tried("write", end.write(b"still"));
    tell();
}

fn shut_reading_client(mut end: UnixStream) {
    hear();
    tried("write", end.write(b"x"));
    tell();
    hear();
    say("read", exactly(&end, 5));
}

fn shut_both_server(mut end: UnixStream) {
    tried("write", end.write_all(b"last"));
    tried("shut", end.shutdown(Shutdown::Both));
    tried("shut", end.shutdown(Shutdown::Both));
    tried("read", end.read(&mut [0]));
    tried("write", end.write(b"x"));
    tell();
    hear();
}

fn shut_both_client(mut end: UnixStream) {
    hear();
    say("read", exactly(&end, 10));
    tried("write", end.write(b"x"));
    tried("poll", by_number::poll(&end, libc::POLLIN | libc::POLLOUT | libc::POLLRDHUP, 1000));
    tell();
}

fn dropped_peer_server(mut end: UnixStream) {
    tried("write", end.write_all(b"last"));
    drop(end);
    tell();
}

fn dropped_peer_client(mut end: UnixStream) {
    hear();
    tried("write", end.write(b"x"));
    tried("vectors", end.write_vectored(&[IoSlice::new(b"x")]));
    tried("sendmsg", sendmsg(&end, &[b"x"], 0));
    let killed = by_number::fork(|| {
        by_number::let_pipes_kill();
        i32::from(send(&end, b"x", 0).is_ok())
    });
    say("child", killed.ended());
    say("read", exactly(&end, 10));
    tried("error", end.take_error().map(|error| error.map(|error| error.kind())));
    tried("peer", end.peer_addr().map(|peer| peer.as_pathname().map(ToOwned::to_owned)));
}

fn unread_at_drop_server(end: UnixStream) {
    hear();
    drop(end);
    tell();
}

fn unread_at_drop_client(mut end: UnixStream) {
    tried("write", end.write_all(b"never read"));
    tell();
    hear();
    tried("read", end.read(&mut [0]));
    tried("read", end.read(&mut [0]));
}

fn wrong_calls_client(end: UnixStream) {
    let here = end.peer_addr().expect("it is connected").as_pathname().expect("it has a path").to_owned();
    tried("nowhere", UnixStream::connect("/nowhere").map(|_| ()));
    tried("no socket", UnixStream::connect("/dev/null").map(|_| ()));
    tried("taken", UnixListener::bind(here).map(|_| ()));
    tried("long", UnixListener::bind("/x".repeat(100)).map(|_| ()));
    let listener = UnixListener::from(OwnedFd::from(end));
    tried("accept", listener.accept().map(|_| ()));
    tell();
}

fn listeners_client(_end: UnixStream) {
    let name = SocketAddr::from_abstract_name(format!("hushwire-conformance-{}", std::process::id())).expect("a name");
    let listener = UnixListener::bind_addr(&name).expect("nobody else has it");
    tried("not blocking", listener.set_nonblocking(true));
    tried("nobody", listener.accept().map(|_| ()));
    let mut own = UnixStream::connect_addr(&name).expect("it listens");
    let (mut accepted, from) = listener.accept().expect("somebody connected");
    say("from", from.is_unnamed());
    for turn in 0..60 {
        own.write_all(&[turn]).expect("there is room");
        accepted.read_exact(&mut [0]).expect("a byte came");
        accepted.write_all(&[turn]).expect("there is room");
        own.read_exact(&mut [0]).expect("a byte came");
    }
    drop(listener);
    tried("write", own.write_all(b"still there"));
    say("read", exactly(&accepted, 11));
    tried("refused", UnixStream::connect_addr(&name).map(|_| ()));
    tell();
}

fn pair_client(_end: UnixStream) {
    let (mut own, mut other) = UnixStream::pair().expect("there are descriptors");
    for _ in 0..50 {
        own.write_all(&[7; 1000]).expect("there is room");
        other.read_exact(&mut [0; 1000]).expect("it came");
    }
    drop(own);
    tried("end", other.read(&mut [0]));
    tell();
}

fn passed_server(mut end: UnixStream) {
    let (own, mut other) = UnixStream::pair().expect("there are descriptors");
    other.write_all(b"in the pair").expect("there is room");
    tried("before", end.write_all(b"before"));
    tried("pass", by_number::pass(&end, &own));
    tried("behind", end.write_all(b"behind"));
    hear();
}

fn passed_client(end: UnixStream) {
    say("before", exactly(&end, 6));
    let passed = by_number::take_passed(&end).map(UnixStream::from);
    say("behind", exactly(&end, 6));
    say("passed", passed.map(|passed| exactly(&passed, 11)));
    tell();
}

fn idle_then_end(end: UnixStream) {
    say("end", exactly(&end, 1));
    tell();
}

fn dropped_in_set_client(end: UnixStream) {
    let set = Set::new();
    tried("add", set.change(libc::EPOLL_CTL_ADD, &end, libc::EPOLLIN | libc::EPOLLET));
    drop(end);
    tried("none", set.wait(20));
    hear();
}
