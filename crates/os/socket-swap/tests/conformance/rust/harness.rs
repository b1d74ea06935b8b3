//! What the cases share: a settled connection, a way to take turns, and a record of what was seen.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// A name, and what the two sides do.
pub(crate) type Case = (&'static str, fn(UnixStream), fn(UnixStream));

/// Seconds until a side that hangs is ended.
const LIMIT: u32 = 60;

static RECORD: Mutex<String> = Mutex::new(String::new());
static PIPES: OnceLock<Pipes> = OnceLock::new();

struct Pipes {
    from_other: File,
    to_other: File,
}

/// Appends one observation. Only what a plain socket promises belongs here, so no amounts that depend on buffers.
pub(crate) fn say(what: &str, value: impl Debug) {
    let mut record = RECORD.lock().expect("no side panics with it");
    record.push_str(&format!("{what}: {value:?}\n"));
}

/// Says what a call gave, or its error, and returns it.
pub(crate) fn tried<T: Debug>(what: &str, outcome: io::Result<T>) -> Option<T> {
    match &outcome {
        Ok(value) => say(what, value),
        Err(error) => say(what, (error.kind(), error.raw_os_error())),
    }
    outcome.ok()
}

pub(crate) fn tell() {
    (&PIPES.get().expect("they were opened").to_other).write_all(b"t").expect("a pipe takes a byte");
}

/// Goes on when the other side has called `tell` as often as this side has called `hear`.
pub(crate) fn hear() {
    (&PIPES.get().expect("they were opened").from_other).read_exact(&mut [0]).expect("both sides hold the pipe");
}

pub(crate) fn pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Receives `count` bytes, or what comes before the end, as text.
pub(crate) fn exactly(mut end: &UnixStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    let mut done = 0;
    while done < count {
        match end.read(&mut bytes[done..]) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                say("failed", error.kind());
                break;
            }
        }
    }
    String::from_utf8_lossy(&bytes[..done]).into_owned()
}

/// Bytes that tell where they belong.
pub(crate) fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| ((index * 131 + index / 251 * 17 + seed) & 255) as u8).collect()
}

/// A side that only waits for the other one.
pub(crate) fn idle(_end: UnixStream) {
    hear();
}

/// A side that sends one letter for each `tell`, `COUNT` times, and then waits.
pub(crate) fn answers<const COUNT: usize>(mut end: UnixStream) {
    for letter in b"abcdefgh".iter().take(COUNT) {
        hear();
        pause(30);
        end.write_all(&[*letter]).expect("the other side reads");
    }
    hear();
}

/// Exchanges single bytes until a pair that can be swapped has been.
fn settle(mut end: &UnixStream, is_first: bool) {
    for turn in 0..200 {
        let mut byte = [turn];
        if is_first {
            end.write_all(&byte).expect("the other side is there");
        }
        end.read_exact(&mut byte).expect("the other side is there");
        assert_eq!(byte, [turn]);
        if !is_first {
            end.write_all(&byte).expect("the other side is there");
        }
    }
}

/// Runs one side of a case, and prints what it saw.
pub(crate) fn play(is_server: bool, (_, server, client): Case, at: &Path) {
    // SAFETY: sets a timer, whose signal ends the process.
    unsafe { libc::alarm(LIMIT) };
    let open = |name: &str| {
        let path = format!("{}.{name}", at.display());
        // Read and write at once, so that opening waits for nobody and the end of one side is no end of the pipe.
        File::options().read(true).write(true).open(path).expect("the pipes were made")
    };
    let (up, down) = (open("up"), open("down"));
    let (from_other, to_other) = if is_server { (up, down) } else { (down, up) };
    let opened = PIPES.set(Pipes { from_other, to_other });
    assert!(opened.is_ok(), "a side plays once");
    let end = if is_server {
        let listener = UnixListener::bind(at).expect("the folder is writable");
        listener.accept().expect("the other side connects").0
    } else {
        connect(at)
    };
    settle(&end, !is_server);
    if is_server {
        server(end)
    } else {
        client(end)
    }
    let record = RECORD.lock().expect("no side panics with it").replace(&at.display().to_string(), "PATH");
    io::stdout().write_all(record.as_bytes()).expect("the output is a pipe");
}

fn connect(at: &Path) -> UnixStream {
    for _ in 0..3_000 {
        if let Ok(end) = UnixStream::connect(at) {
            return end;
        }
        pause(10);
    }
    panic!("nobody listens")
}
