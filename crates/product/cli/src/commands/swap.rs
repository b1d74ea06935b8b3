//! `hushwire swap`: runs a program with the library that swaps its unix sockets.

mod inspect;

use crate::args::swap::SwapArgs;
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use inspect::Verdict;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

const LIBRARY: &str = "libhushwire_swap.so";
/// Longest list that the library takes; a longer one would swap nothing.
const LIST_BYTES_MAX: usize = 4000;

pub(crate) fn run(args: SwapArgs) -> Outcome {
    if let Some(program) = &args.check {
        return check(program);
    }
    let Some((program, words)) = args.command.split_first() else {
        return Err(Failure::new(Code::Usage, "no program is given").remedy("hushwire swap -- PROGRAM ARGUMENTS"));
    };
    let library = library()?;
    let mut command = Command::new(program);
    command.args(words).env("LD_PRELOAD", preload(&library, std::env::var_os("LD_PRELOAD")));
    select(&mut command, "HUSHWIRE_SWAP_PATHS", "--path", &args.paths)?;
    select(&mut command, "HUSHWIRE_SWAP_PROGRAMS", "--program", &args.programs)?;
    command.env_remove("HUSHWIRE_SWAP_STATS");
    if args.stats {
        return with_counts(command, program);
    }
    // The program takes this one's place, with its number, terminal and signals.
    Err(Failure::io(Path::new(program).display(), &command.exec()))
}

/// The library beside this program, or in a `lib` beside its folder.
fn library() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::io("the path of this program", &error))?;
    let folder = own.parent().unwrap_or(Path::new("."));
    let places = [folder.join(LIBRARY), folder.join("../lib/hushwire").join(LIBRARY)];
    let found = places.iter().find(|path| path.exists());
    found.map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).ok_or_else(|| {
        Failure::new(Code::NoInput, format!("{LIBRARY} is not beside {}", own.display()))
            .remedy(format!("put {LIBRARY} into {}", folder.display()))
    })
}

fn preload(library: &Path, others: Option<OsString>) -> OsString {
    let mut list = library.as_os_str().to_owned();
    if let Some(others) = others.filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

fn select(command: &mut Command, variable: &str, option: &str, patterns: &[String]) -> Outcome {
    if patterns.is_empty() {
        command.env_remove(variable);
        return Ok(());
    }
    if let Some(pattern) = patterns.iter().find(|pattern| pattern.contains(':') || pattern.is_empty()) {
        return Err(Failure::new(
            Code::Usage,
            format!("{option} {pattern:?}: a pattern is not empty and has no colon"),
        ));
    }
    let list = patterns.join(":");
    if list.len() > LIST_BYTES_MAX {
        return Err(Failure::new(
            Code::Usage,
            format!("{option}: all patterns together exceed {LIST_BYTES_MAX} bytes"),
        ));
    }
    command.env(variable, list);
    Ok(())
}

/// Runs the program to its end, and prints what the library counted.
fn with_counts(mut command: Command, program: &OsStr) -> Outcome {
    let file = std::env::temp_dir().join(format!("hushwire-swap-{}", std::process::id()));
    // Made here and not by a program: nobody else may have put a link there.
    std::fs::File::create_new(&file).map_err(|error| Failure::io(file.display(), &error))?;
    command.env("HUSHWIRE_SWAP_STATS", &file);
    let ran = command.status();
    let counts = std::fs::read_to_string(&file).unwrap_or_default();
    let _ = std::fs::remove_file(&file);
    let status = ran.map_err(|error| Failure::io(Path::new(program).display(), &error))?;
    terminal::complain(&summary(&counts));
    match code(status) {
        0 => Ok(()),
        // The program's own code, which scripts expect to see.
        code => std::process::exit(code),
    }
}

/// One line for each process that had a connection.
fn summary(counts: &str) -> String {
    let lines: Vec<&str> = counts.lines().filter(|line| !line.contains(" connections=0 ")).collect();
    if lines.is_empty() {
        return "swap: no process had a connection that could be swapped\n".to_owned();
    }
    lines.iter().map(|line| format!("swap: {line}\n")).collect()
}

fn code(status: ExitStatus) -> i32 {
    // As shells do for programs that a signal ended.
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn check(program: &Path) -> Outcome {
    let file = inspect::find(program);
    let found = inspect::inspect(&file).map_err(|(file, error)| Failure::io(file.display(), &error))?;
    let text = match found.verdict {
        Verdict::Swapped => "its unix stream sockets are swapped where the other side is too",
        Verdict::NotElf => "stays plain: it is no program for this kind of processor",
        Verdict::Static => "stays plain: it is linked statically, so nothing can be put before its libc",
        Verdict::Musl => "stays plain, or does not start with it: its libc is musl, and the library is made for glibc",
        Verdict::Privileged => "stays plain: it runs with rights that you do not have, and ignores preloaded libraries",
        Verdict::Go => "stays plain: it is written in Go, which calls the kernel without libc",
        Verdict::IoUring => {
            "its connections through io_uring stay plain or fail over to other calls; the others are swapped"
        }
    };
    let script = found.interpreter.map(|interpreter| format!("a script of {}: ", interpreter.display()));
    terminal::say(&format!("{}: {}{text}\n", file.display(), script.unwrap_or_default()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_preloaded_libraries_stay() {
        let library = Path::new("/lib/a.so");
        assert_eq!(preload(library, None), "/lib/a.so");
        assert_eq!(preload(library, Some("/lib/b.so".into())), "/lib/a.so:/lib/b.so");
    }

    #[test]
    fn processes_without_connections_are_not_shown() {
        let counts = "pid=1 connections=0 linked=0\npid=2 connections=3 linked=1\n";
        assert_eq!(summary(counts), "swap: pid=2 connections=3 linked=1\n");
        assert!(summary("").contains("no process"));
    }
}
