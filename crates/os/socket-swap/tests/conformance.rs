//! What unix stream sockets promise, case by case: a pair of C programs must see the same whichever of them is preloaded.

#[path = "support/c_programs.rs"]
mod c_programs;
#[path = "support/preload.rs"]
mod support;

use c_programs::{CONFORMANCE, compile};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Folder, library};

/// Cases at a time. They mostly sleep.
const AT_ONCE: usize = 6;
/// Cases in which no end can be seen to use its ring: one that goes back to its socket at once, or is killed.
const WITHOUT_COUNTS: &[&str] = &["peer-killed", "peer-exits"];

/// What the two sides of a case saw, and the counts of the library.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    server: String,
    client: String,
}

#[test]
fn every_case_is_the_same_swapped_and_plain() {
    let folder = Folder::new();
    let program = folder.path("conformance");
    compile(CONFORMANCE, &program);
    let listed = Command::new(&program).arg("list").output().expect("it was compiled");
    let names = String::from_utf8(listed.stdout).expect("names are text");
    let names: Vec<&str> = names.lines().collect();
    assert!(names.len() >= 95, "all cases are listed");
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = compare(&folder, &program, name);
                    wrong.lock().expect("no thread panics with it").extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panicked");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a case in all four combinations. Returns what differs from plain and plain.
fn compare(folder: &Folder, program: &Path, name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let (plain, _) = run(folder, program, name, [false, false]);
    for preloaded in [[true, true], [true, false], [false, true]] {
        let (seen, linked) = run(folder, program, name, preloaded);
        if seen != plain {
            wrong.push(format!("{name}, preloaded {preloaded:?}:\n{seen:#?}\nplain:\n{plain:#?}"));
        }
        let must_link = preloaded == [true, true] && !WITHOUT_COUNTS.contains(&name);
        if must_link && linked == 0 {
            wrong.push(format!("{name}: two preloaded ends were not linked, so the case has shown nothing"));
        }
        if preloaded != [true, true] && linked > 0 {
            wrong.push(format!("{name}: an end was linked to a plain one"));
        }
    }
    wrong
}

fn run(folder: &Folder, program: &Path, name: &str, preloaded: [bool; 2]) -> (Seen, usize) {
    let tag = format!("{name}-{}{}", u8::from(preloaded[0]), u8::from(preloaded[1]));
    let socket = folder.path(&tag);
    for pipe in ["up", "down"] {
        let path = folder.path(&format!("{tag}.{pipe}"));
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo is part of every system");
        assert!(made.success(), "no pipe at {}", path.display());
    }
    let counts = folder.path(&format!("{tag}.counts"));
    let start = |side: &str, preloaded: bool| {
        let mut command = Command::new(program);
        command.args([side, name]).arg(&socket).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("LD_PRELOAD");
        if preloaded {
            command.env("LD_PRELOAD", library()).env("HUSHWIRE_SWAP_STATS", &counts);
        }
        command.spawn().expect("it was compiled")
    };
    let (server, client) = (start("server", preloaded[0]), start("client", preloaded[1]));
    let seen = [server, client].map(|side| {
        let ran = side.wait_with_output().expect("it was started");
        let text = [ran.stdout, ran.stderr].concat();
        format!("{}{}", String::from_utf8_lossy(&text), ran.status)
    });
    let [server, client] = seen;
    let counts = std::fs::read_to_string(counts).unwrap_or_default();
    (Seen { server, client }, counts.matches("linked=1").count())
}
