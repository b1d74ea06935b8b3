//! The conformance programs, both ends preloaded, under checkers of memory: valgrind's, and the compiler's AddressSanitizer.
//! What the cases say is compared elsewhere (`conformance.rs`); a checker makes them slow, and some give up.

#[path = "support/c_programs.rs"]
mod c_programs;
#[path = "support/preload.rs"]
mod support;

use c_programs::{CONFORMANCE, compile, compile_with};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Folder, library};

/// Cases at a time.
const AT_ONCE: usize = 3;
/// Of a hundred cases, those whose connection must have been swapped: others end before, or check what stays plain.
const SWAPPED_MIN: usize = 80;

/// Runs every case, each side as `start` makes it, and returns what the checker wrote where it says a place in the code.
fn reports(folder: &Folder, program: &Path, start: impl Fn(&str) -> Command + Sync) -> Vec<String> {
    let listed = Command::new(program).arg("list").output().expect("it was compiled");
    let names = String::from_utf8(listed.stdout).expect("names are text");
    let names: Vec<&str> = names.lines().collect();
    let (next, swapped, found) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (text, linked) = run(folder, name, &start);
                    swapped.fetch_add(usize::from(linked), Ordering::Relaxed);
                    if text.contains("at 0x") || text.contains("AddressSanitizer") {
                        found.lock().expect("no thread panics with it").push(format!("{name}:\n{text}"));
                    }
                }
            });
        }
    });
    let swapped = swapped.into_inner();
    assert!(swapped >= SWAPPED_MIN, "only {swapped} of {} cases were swapped", names.len());
    found.into_inner().expect("no thread panicked")
}

/// One case: what the checker wrote, and whether the ends were linked.
fn run(folder: &Folder, name: &str, start: impl Fn(&str) -> Command) -> (String, bool) {
    let socket = folder.path(name);
    for pipe in ["up", "down"] {
        let made = Command::new("mkfifo").arg(folder.path(&format!("{name}.{pipe}"))).status();
        assert!(made.is_ok_and(|made| made.success()), "mkfifo is part of every system");
    }
    let counts = folder.path(&format!("{name}.counts"));
    let sides = ["server", "client"].map(|side| {
        let mut command = start(&format!("{name}.{side}"));
        command.args([side, name]).arg(&socket).env("HUSHWIRE_SWAP_STATS", &counts);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{error}; run scripts/install"))
    });
    let text = sides.map(|side| side.wait_with_output().expect("it was started").stderr).concat();
    let counts = std::fs::read_to_string(counts).unwrap_or_default();
    (String::from_utf8_lossy(&text).into_owned(), counts.contains("linked=1"))
}

#[test]
#[ignore = "every case under valgrind takes two minutes; cargo xtask long swap"]
fn valgrind_finds_nothing() {
    let folder = Folder::new();
    let program = folder.path("conformance");
    compile(CONFORMANCE, &program);
    let found = reports(&folder, &program, |_| {
        let mut command = Command::new("valgrind");
        command.args(["-q", "--error-exitcode=99"]).arg(&program).env("LD_PRELOAD", library());
        command
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
#[ignore = "every case under AddressSanitizer takes a minute; cargo xtask long swap"]
fn the_address_sanitizer_finds_nothing() {
    let folder = Folder::new();
    let program = folder.path("conformance");
    compile_with(&["-fsanitize=address", "-g"], CONFORMANCE, &program);
    let asked = Command::new("cc").arg("-print-file-name=libasan.so").output().expect("a C compiler called `cc`");
    let runtime = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    let found = reports(&folder, &program, |_| {
        let mut command = Command::new(&program);
        // Its part of the program must come first.
        command.env("LD_PRELOAD", format!("{runtime}:{}", library().display()));
        command.env("ASAN_OPTIONS", "detect_leaks=0:handle_segv=1");
        command
    });
    assert!(found.is_empty(), "{}", found.join("\n"));
}
