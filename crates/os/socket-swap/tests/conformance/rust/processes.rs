//! Connections that more than one process has, or that other programs get.

use crate::by_number::{self, fork};
use crate::harness::{Case, exactly, hear, pause, say, tell, tried};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

pub(crate) const CASES: &[Case] = &[
    ("forked", forked_server, forked_client),
    ("child-stays", child_stays_server, child_stays_client),
    ("input-of-a-program", input_server, input_client),
    ("both-of-a-program", both_server, both_client),
    ("output-of-programs", output_server, output_client),
    ("inherited-number", inherited_server, inherited_client),
    ("closed-on-exec", closed_on_exec_server, closed_on_exec_client),
    ("replaced", replaced_server, replaced_client),
    ("passed-to-a-worker", worker_server, worker_client),
    ("killed-peer", killed_server, killed_client),
    ("leaving-peer", leaving_server, leaving_client),
];

fn forked_server(mut end: UnixStream) {
    tried("write", end.write_all(b"abcdef"));
    say("read", exactly(&end, 22));
    say("end", exactly(&end, 1));
}

fn forked_client(mut end: UnixStream) {
    let child = fork(|| {
        let got = exactly(&end, 3);
        i32::from((&end).write_all(b"from child,").is_err() || got != "abc")
    });
    say("child", child.ended());
    say("read", exactly(&end, 3));
    tried("write", end.write_all(b"from parent"));
}

fn child_stays_server(end: UnixStream) {
    let child = fork(|| {
        hear();
        i32::from((&end).write_all(b"last").is_err())
    });
    drop(end);
    tell();
    say("child", child.ended());
}

fn child_stays_client(mut end: UnixStream) {
    hear();
    tried("set", end.set_nonblocking(true));
    tried("not yet", end.read(&mut [0]));
    tried("set", end.set_nonblocking(false));
    tell();
    say("read", exactly(&end, 10));
}

fn input_server(end: UnixStream) {
    let ran = Command::new("cat").stdin(OwnedFd::from(end)).output();
    say("cat", ran.map(|ran| (ran.status.code(), String::from_utf8_lossy(&ran.stdout).into_owned())).ok());
}

fn input_client(mut end: UnixStream) {
    tried("write", end.write_all(b"before "));
    pause(100);
    tried("write", end.write_all(b"after"));
}

fn both_server(end: UnixStream) {
    let input = end.try_clone().expect("there are descriptors");
    let mut child = Command::new("tr");
    child.args(["a-z", "A-Z"]).stdin(OwnedFd::from(input)).stdout(OwnedFd::from(end));
    say("tr", child.status().ok());
}

fn both_client(mut end: UnixStream) {
    tried("write", end.write_all("question ".repeat(4000).as_bytes()));
    tried("shut", end.shutdown(Shutdown::Write));
    let mut answer = String::new();
    tried("read", end.read_to_string(&mut answer));
    say("same", answer == "QUESTION ".repeat(4000));
}

fn output_server(mut end: UnixStream) {
    for word in ["one", "two"] {
        let out = end.try_clone().expect("there are descriptors");
        let mut child = Command::new("echo");
        say("echo", child.arg(word).stdout(OwnedFd::from(out)).status().ok());
        tried("write", end.write_all(b"between\n"));
    }
}

fn output_client(end: UnixStream) {
    say("read", exactly(&end, 100));
}

/// A shell that reads a line from the descriptor and answers there, started with the descriptor open or closed on `exec`.
fn shell(end: &UnixStream) -> Command {
    let number = end.as_raw_fd();
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("read -r line <&{number} && echo \"from bash: $line\" >&{number}"));
    shell.stdin(Stdio::null()).stderr(Stdio::null());
    shell
}

fn inherited_server(mut end: UnixStream) {
    tried("inherit", by_number::control(&end, libc::F_SETFD, 0));
    say("bash", shell(&end).status().ok());
    tried("write", end.write_all(b"and the first"));
}

fn inherited_client(mut end: UnixStream) {
    tried("write", end.write_all(b"a line\n"));
    say("read", exactly(&end, 100));
}

fn closed_on_exec_server(mut end: UnixStream) {
    say("bash", shell(&end).status().ok());
    tried("write", end.write_all(b"still here"));
    say("read", exactly(&end, 6));
}

fn closed_on_exec_client(mut end: UnixStream) {
    say("read", exactly(&end, 10));
    tried("write", end.write_all(b"answer"));
}

fn replaced_server(mut end: UnixStream) {
    tried("write", end.write_all(b"before "));
    let child = fork(|| {
        let out = end.try_clone().expect("there are descriptors");
        let failed = Command::new("echo").arg("replaced").stdout(OwnedFd::from(out)).exec();
        failed.raw_os_error().unwrap_or(1)
    });
    say("child", child.ended());
    tried("write", end.write_all(b"behind"));
}

fn replaced_client(end: UnixStream) {
    say("read", exactly(&end, 100));
}

/// A worker that is there before the connection is passed to it.
fn worker_server(end: UnixStream) {
    let (own, others) = UnixStream::pair().expect("there are descriptors");
    let child = fork(|| {
        let Some(passed) = by_number::take_passed(&others).map(UnixStream::from) else { return 2 };
        let got = exactly(&passed, 4);
        i32::from((&passed).write_all(b"by the worker").is_err() || got != "work")
    });
    tried("pass", by_number::pass(&own, &end));
    drop(end);
    say("child", child.ended());
}

fn worker_client(mut end: UnixStream) {
    tried("write", end.write_all(b"work"));
    say("read", exactly(&end, 100));
}

fn killed_server(mut end: UnixStream) {
    tell();
    tried("read", end.read(&mut [0]));
    tried("read", end.read(&mut [0]));
    tried("write", end.write(b"x"));
}

fn killed_client(_end: UnixStream) {
    hear();
    pause(50);
    by_number::die();
}

fn leaving_server(mut end: UnixStream) {
    tried("read", end.read(&mut [0; 20]));
    tried("read", end.read(&mut [0]));
}

fn leaving_client(mut end: UnixStream) {
    tried("write", end.write_all(b"last"));
    // Without a word to the connection.
    std::mem::forget(end);
}
