//! Runs the cases of a program in all four combinations of plain and preloaded ends, and compares what the two sides saw.
//!
//! The program is `PROGRAM list`, and `PROGRAM server|client CASE PATH`: two sides of a case, which take turns through the pipes
//! `PATH.up` and `PATH.down`.

use crate::support::{Folder, library};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases at a time. They mostly sleep.
const AT_ONCE: usize = 6;

/// A program of cases.
pub(crate) struct Suite<'a> {
    /// Starts it; words are added.
    pub(crate) program: &'a (dyn Fn() -> Command + Sync),
    /// So many cases it must have.
    pub(crate) cases_min: usize,
    /// Cases in which no end can be seen to use its ring: one that goes back to its socket at once, or is killed.
    pub(crate) without_counts: &'a [&'a str],
}

/// What the two sides of a case saw.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    server: String,
    client: String,
}

impl Suite<'_> {
    /// Fails with all that differs.
    pub(crate) fn compare(&self) {
        let listed = (self.program)().arg("list").output().expect("it was compiled");
        let names = String::from_utf8(listed.stdout).expect("names are text");
        let names: Vec<&str> = names.lines().collect();
        assert!(names.len() >= self.cases_min, "only {} cases are listed", names.len());
        let (folder, next, wrong) = (Folder::new(), AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let found = self.differences(&folder, name);
                        wrong.lock().expect("no thread panics with it").extend(found);
                    }
                });
            }
        });
        let wrong = wrong.into_inner().expect("no thread panicked");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Runs a case in all four combinations. Returns what differs from plain and plain.
    fn differences(&self, folder: &Folder, name: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let (plain, _) = self.run(folder, name, [false, false]);
        for preloaded in [[true, true], [true, false], [false, true]] {
            let (seen, linked) = self.run(folder, name, preloaded);
            if seen != plain {
                wrong.push(format!("{name}, preloaded {preloaded:?}:\n{seen:#?}\nplain:\n{plain:#?}"));
            }
            let must_link = preloaded == [true, true] && !self.without_counts.contains(&name);
            if must_link && !linked.iter().any(|count| count % 2 == 1) {
                wrong.push(format!("{name}: two preloaded ends were not linked, so the case has shown nothing"));
            }
            if preloaded != [true, true] && linked.contains(&1) {
                wrong.push(format!("{name}: an end was linked to a plain one"));
            }
        }
        wrong
    }

    /// What was seen, and for each preloaded process how many ends were linked: one, or more by two for each connection that a
    /// case makes with itself.
    fn run(&self, folder: &Folder, name: &str, preloaded: [bool; 2]) -> (Seen, Vec<usize>) {
        let tag = format!("{name}-{}{}", u8::from(preloaded[0]), u8::from(preloaded[1]));
        let socket = folder.path(&tag);
        for pipe in ["up", "down"] {
            let path = folder.path(&format!("{tag}.{pipe}"));
            let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo is part of every system");
            assert!(made.success(), "no pipe at {}", path.display());
        }
        let counts = folder.path(&format!("{tag}.counts"));
        let start = |side: &str, preloaded: bool| {
            let mut command = (self.program)();
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
        let linked = counts.split_whitespace().filter_map(|word| word.strip_prefix("linked=")?.parse().ok());
        (Seen { server, client }, linked.collect())
    }
}
