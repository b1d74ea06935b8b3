//! `hushwire demo`: a whole network that does what it says one should try, survives a killed relay, and leaves nothing.

use crate::folder::Folder;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(90);

/// A demo that runs. It is killed with the value, and its nodes end with it.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a line of those that the demo says one should try, in its folder.
fn try_it(folder: &str, line: &str) -> Output {
    let ran = Command::new("sh").arg("-c").arg(format!("{line} 2>&1")).current_dir(folder).output();
    ran.expect("there is a shell")
}

fn works(folder: &str, line: &str) -> String {
    let ran = try_it(folder, line);
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "`{line}`: {said}");
    said
}

/// Processes whose command line names the folder.
fn processes(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("Linux");
    let lines = entries.flatten().filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(folder)).collect()
}

#[test]
fn a_whole_network_does_what_one_should_try_survives_a_death_and_leaves_nothing() {
    let folder = Folder::new("whole").expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hushwire"));
    command.args(["demo", "--rate", "1 Mbit/s"]).env("TMPDIR", &folder.0).env_remove("HUSHWIRE_LOG");
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut demo = Demo(started.expect("the program can be run"));
    let mut out = BufReader::new(demo.0.stdout.take().expect("it is piped")).lines().map_while(Result::ok);

    let mut said: Vec<String> = Vec::new();
    for line in out.by_ref() {
        said.push(line);
        // The first line about the wire stands behind everything else.
        if said.last().is_some_and(|line| line.starts_with("wire: ")) {
            break;
        }
    }
    let begins = |words: &str| said.iter().find_map(|line| line.trim_start().strip_prefix(words)).map(str::to_owned);
    let said_all = said.join("\n");
    let at = begins("cd ").unwrap_or_else(|| panic!("it names its folder:\n{said_all}"));
    let curl =
        begins("curl ").map(|rest| format!("curl --silent --fail --max-time 60 {rest}")).expect("a line with curl");
    assert!(works(&at, &curl).contains("It works"));

    let asked: Vec<&str> = said.iter().filter_map(|line| line.trim_start().strip_prefix("./hushwire ")).collect();
    let mut count = 0;
    for words in asked.iter().filter(|words| !words.starts_with("drain")) {
        let answer = works(&at, &format!("./hushwire {}", words.split("  ").next().unwrap_or_default()));
        assert!(answer.lines().count() >= 2, "`{words}`: {answer}");
        count += 1;
    }
    assert!(count >= 3, "status, circuits, directory:\n{said_all}");
    for node in ["d0", "d1", "d2", "r0", "r5", "x0", "e0"] {
        assert!(said.iter().any(|line| line.starts_with(&format!("{node} "))), "{node} has a row:\n{said_all}");
    }

    let kill = begins("kill -9 ").expect("whom to kill");
    let pid = kill.split(' ').next().unwrap_or_default();
    works(&at, &format!("kill -9 {pid}"));
    assert!(works(&at, &curl).contains("It works"), "the other leg goes on");
    let gone = out.by_ref().find(|line| line.contains("gone: "));
    assert!(gone.is_some_and(|line| line.contains("gone: r")), "the demo sees who is gone");

    let begun = Instant::now();
    works(&at, &format!("kill -INT {}", demo.0.id()));
    let last: Vec<String> = out.collect();
    assert!(demo.0.wait().is_ok_and(|status| status.success()), "{last:?}");
    assert!(begun.elapsed() < WITHIN && last.iter().any(|line| line.contains("Nothing is left behind")), "{last:?}");
    assert_eq!(std::fs::read_dir(&folder.0).expect("a folder").count(), 0, "no file is left");
    assert_eq!(processes(&folder.0.display().to_string()), Vec::<String>::new(), "no process is left");
}

#[test]
fn a_demo_is_one_kind_of_network() {
    let folder = Folder::new("demo-kinds").expect("a folder");
    for other in [["--relays", "3"], ["--keep", "net"]] {
        let ran = folder.run(&[&["demo", "--pair"], &other[..]].concat()).expect("the program can be run");
        assert_eq!((ran.code, ran.out.as_str()), (Some(64), ""), "{}", ran.err);
        assert!(ran.err.contains("cannot be used with"), "{}", ran.err);
    }
}
