//! Connections under tokio: its streams, halves, readiness, timers and programs.

use crate::harness::{Case, exactly, hear, idle, pattern, pause, say, tell, tried};
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream as Plain;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};

pub(crate) const CASES: &[Case] = &[
    ("tokio-echo", echo_server, echo_client),
    ("tokio-halves", halves, halves),
    ("tokio-readiness", readiness_server, readiness_client),
    ("tokio-limits", limits_server, limits_client),
    ("tokio-lines", lines_server, lines_client),
    ("tokio-relay", relay_server, relay_client),
    ("tokio-full", full_server, full_client),
    ("tokio-end", end_server, end_client),
    ("tokio-descriptor", descriptor_server, descriptor_client),
    ("tokio-many", idle, many_client),
    ("tokio-program", program_server, program_client),
];

/// Runs a side's work, in one thread as the runtime's own sockets do.
fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("there are descriptors").block_on(work);
}

fn adopt(end: Plain) -> UnixStream {
    end.set_nonblocking(true).expect("it is open");
    UnixStream::from_std(end).expect("a runtime is there")
}

fn echo_server(end: Plain) {
    run(async {
        let mut end = adopt(end);
        let (mut reading, mut writing) = end.split();
        let moved = tokio::io::copy(&mut reading, &mut writing).await;
        tried("moved", moved);
        tried("shut", writing.shutdown().await);
    });
}

fn echo_client(end: Plain) {
    run(async {
        let mut end = adopt(end);
        let mut total = 0;
        for turn in 0..200 {
            let out = pattern(1 + turn * turn % 9000, turn);
            end.write_all(&out).await.expect("the other side reads");
            let mut answer = vec![0; out.len()];
            end.read_exact(&mut answer).await.expect("the other side answers");
            assert_eq!(answer, out, "turn {turn}");
            total += out.len();
        }
        say("total", total);
        tried("shut", end.shutdown().await);
        tried("end", end.read(&mut [0; 8]).await);
    });
}

fn halves(end: Plain) {
    run(async {
        let (mut reading, mut writing) = adopt(end).into_split();
        let writer = tokio::spawn(async move {
            let done = writing.write_all(&pattern(2_000_000, 4)).await;
            (done.is_ok(), writing)
        });
        let mut got = vec![0; 2_000_000];
        tried("read", reading.read_exact(&mut got).await);
        say("same", got == pattern(2_000_000, 4));
        let (done, writing) = writer.await.expect("it does not panic");
        say("written", done);
        let whole = reading.reunite(writing).expect("they are one connection's");
        say("peer", whole.peer_addr().is_ok());
    });
}

fn readiness_server(mut end: Plain) {
    for piece in [&b"ab"[..], b"c"] {
        hear();
        pause(30);
        tried("write", end.write_all(piece));
    }
    hear();
}

fn readiness_client(end: Plain) {
    run(async {
        let end = adopt(end);
        say("writable", end.ready(Interest::WRITABLE).await.map(|ready| ready.is_writable()).ok());
        let mut space = [0; 1];
        tried("nothing", end.try_read(&mut space));
        tell();
        for _ in 0..2 {
            read_when_ready(&end, &mut space).await;
        }
        tried("drained", end.try_read(&mut space));
        tell();
        read_when_ready(&end, &mut space).await;
        let parts = &mut [io::IoSliceMut::new(&mut space)];
        tried("vectors", end.try_read_vectored(parts));
        tried("out", end.try_io(Interest::WRITABLE, || Ok(7)));
        tell();
    });
}

/// Waits and reads until there is something: the runtime may be woken for nothing.
async fn read_when_ready(end: &UnixStream, space: &mut [u8]) {
    loop {
        end.readable().await.expect("it is open");
        match end.try_read(space) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            came => {
                tried("read", came);
                say("bytes", &*space);
                return;
            }
        }
    }
}

fn limits_server(mut end: Plain) {
    hear();
    tried("write", end.write_all(b"late"));
    hear();
}

fn limits_client(end: Plain) {
    run(async {
        let mut end = adopt(end);
        let mut space = [0; 8];
        let waited = tokio::time::timeout(Duration::from_millis(60), end.read(&mut space)).await;
        say("too late", waited.is_err());
        tokio::select! {
            came = end.read(&mut space) => say("came", came.ok()),
            () = tokio::time::sleep(Duration::from_millis(30)) => say("nothing", true),
        }
        tell();
        tried("read", end.read_exact(&mut space[..4]).await);
        say("bytes", &space[..4]);
        tell();
    });
}

fn lines_server(end: Plain) {
    run(async {
        let (reading, mut writing) = adopt(end).into_split();
        let mut lines = BufReader::new(reading).lines();
        while let Some(line) = lines.next_line().await.expect("text comes") {
            let answer = format!("{} {line}\n", line.len());
            writing.write_all(answer.as_bytes()).await.expect("the other side reads");
        }
    });
}

fn lines_client(end: Plain) {
    run(async {
        let mut end = BufReader::new(adopt(end));
        for length in [0, 1, 500, 60_000, 2] {
            let line = "y".repeat(length) + "\n";
            end.write_all(line.as_bytes()).await.expect("the other side reads");
            let mut answer = String::new();
            tried("line", end.read_line(&mut answer).await);
            say("says", answer.split(' ').next());
        }
    });
}

/// Carries bytes both ways between the connection and a pair of its own.
fn relay_server(end: Plain) {
    run(async {
        let (mut near, mut far) = UnixStream::pair().expect("there are descriptors");
        let mut end = adopt(end);
        let echo = tokio::spawn(async move {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.expect("it comes");
            got.reverse();
            far.write_all(&got).await.expect("it is read");
        });
        tried("moved", tokio::io::copy_bidirectional(&mut end, &mut near).await);
        say("echo", echo.await.is_ok());
    });
}

fn relay_client(end: Plain) {
    run(async {
        let mut end = adopt(end);
        tried("write", end.write_all(&pattern(500_000, 2)).await);
        tried("shut", end.shutdown().await);
        let mut got = Vec::new();
        tried("read", end.read_to_end(&mut got).await);
        got.reverse();
        say("same", got == pattern(500_000, 2));
    });
}

fn full_server(end: Plain) {
    run(async {
        let end = adopt(end);
        let piece = pattern(50_000, 1);
        let mut total = 0;
        let refused = loop {
            match end.try_write(&piece) {
                Ok(count) => total += count,
                Err(error) => break error.kind(),
            }
        };
        say("full", (refused, total > 0));
        let room = tokio::time::timeout(Duration::from_millis(40), end.writable()).await;
        say("no room", room.is_err());
        tell();
        say("room", end.writable().await.is_ok());
        hear();
        say("more", end.try_write(&total.to_le_bytes()).ok());
        hear();
    });
}

fn full_client(end: Plain) {
    hear();
    run(async {
        let mut end = adopt(end);
        let mut total = 0;
        let mut space = vec![0; 100_000];
        // Until nothing comes any more.
        while let Ok(came) = tokio::time::timeout(Duration::from_millis(100), end.read(&mut space)).await {
            total += came.expect("it is open");
        }
        tell();
        let mut sent = [0; size_of::<usize>()];
        tried("read", end.read_exact(&mut sent).await);
        say("all", total == usize::from_le_bytes(sent));
        tell();
    });
}

fn end_server(end: Plain) {
    run(async {
        let mut end = adopt(end);
        tried("write", end.write_all(b"last words").await);
        drop(end);
        tell();
    });
}

fn end_client(end: Plain) {
    hear();
    run(async {
        let mut end = adopt(end);
        let ready = end.ready(Interest::READABLE | Interest::WRITABLE).await;
        say("ready", ready.map(|ready| ready.is_readable()).ok());
        let mut got = String::new();
        tried("read", end.read_to_string(&mut got).await);
        say("got", got);
        tried("write", end.write_all(b"x").await);
        tried("read", end.read(&mut [0]).await);
    });
}

fn descriptor_server(mut end: Plain) {
    hear();
    tried("write", end.write_all(b"xyz"));
    hear();
}

fn descriptor_client(end: Plain) {
    run(async {
        end.set_nonblocking(true).expect("it is open");
        // SAFETY: a connection has the same descriptor for as long as it lives.
        let watched = unsafe { AsyncFd::register_with_interest(end, Interest::READABLE) }.expect("a runtime is there");
        tell();
        loop {
            let mut guard = watched.readable().await.expect("it is open");
            let came = guard.try_io(|inner| {
                let mut space = [0; 8];
                io::Read::read(&mut inner.get_ref(), &mut space)
            });
            if let Ok(came) = came {
                tried("read", came);
                break;
            }
        }
        tell();
    });
}

/// A server and forty connections in one process, all under one set.
fn many_client(_end: Plain) {
    run(async {
        let path = std::env::temp_dir().join(format!("conformance-many-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("the folder is writable");
        let server = tokio::spawn(async move {
            let mut echoes = Vec::new();
            for _ in 0..40 {
                let (mut end, _) = listener.accept().await.expect("somebody connects");
                echoes.push(tokio::spawn(async move {
                    let (mut reading, mut writing) = end.split();
                    tokio::io::copy(&mut reading, &mut writing).await.expect("it is read")
                }));
            }
            let mut total = 0;
            for echo in echoes {
                total += echo.await.expect("it does not panic");
            }
            total
        });
        let mut clients = Vec::new();
        for number in 0..40 {
            let mut end = UnixStream::connect(&path).await.expect("it listens");
            clients.push(tokio::spawn(async move {
                for turn in 0..60 {
                    let out = pattern(1 + turn * number * 7, turn);
                    end.write_all(&out).await.expect("it is read");
                    let mut answer = vec![0; out.len()];
                    end.read_exact(&mut answer).await.expect("it is answered");
                    assert_eq!(answer, out, "connection {number}, turn {turn}");
                }
            }));
        }
        for client in clients {
            client.await.expect("it does not panic");
        }
        say("total", server.await.ok());
        std::fs::remove_file(path).expect("it was bound");
    });
    tell();
}

fn program_server(end: Plain) {
    run(async {
        let mut command = tokio::process::Command::new("tr");
        command.args(["a-z", "A-Z"]).stdin(Stdio::from(std::os::fd::OwnedFd::from(end))).stdout(Stdio::piped());
        let ran = command.output().await.expect("tr is part of every system");
        say("tr", (ran.status.code(), String::from_utf8_lossy(&ran.stdout).into_owned()));
    });
    tell();
}

fn program_client(mut end: Plain) {
    tried("write", end.write_all(b"from the other side"));
    tried("shut", end.shutdown(std::net::Shutdown::Write));
    hear();
    say("end", exactly(&end, 1));
}
