//! A program under the library that answers what others send to it.

use crate::c_programs::compile;
use crate::support::{Folder, library};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// `programs/victim.c`, running.
pub(crate) struct Victim {
    child: Child,
    said: BufReader<ChildStdout>,
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// `end`, or the name of an error.
    pub(crate) how: String,
    /// When, by the clock that counts from the machine's start.
    pub(crate) at_ms: u64,
    /// Descriptors and segments that were open then, beyond those after the first connection.
    pub(crate) left_behind: [i64; 2],
}

impl Victim {
    /// At the socket `s` of the folder: it listens there, or connects to whoever does.
    pub(crate) fn start(folder: &Folder, connections: usize, connects: bool) -> Self {
        let program = folder.path("victim");
        compile(&["programs/victim.c"], &program);
        let mut command = Command::new(program);
        command.arg(folder.path("s")).arg(connections.to_string()).stdout(Stdio::piped());
        command.args(connects.then_some("connect"));
        command.env("LD_PRELOAD", library()).env("HUSHWIRE_SWAP_STATS", folder.path("counts"));
        let mut child = command.spawn().expect("it was compiled");
        let said = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self { child, said }
    }

    /// How its next connection ended. `None`: it is gone.
    pub(crate) fn ending(&mut self) -> Option<Ending> {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("the victim's output is text");
        let [how, at, descriptors, segments] = *line.split_whitespace().collect::<Vec<_>>() else { return None };
        let left_behind = [descriptors, segments].map(|count| count.parse().expect("a number"));
        Some(Ending { how: how.to_owned(), at_ms: at.parse().expect("a number"), left_behind })
    }

    /// Its last words, after all its connections.
    pub(crate) fn finish(mut self) -> String {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("the victim's output is text");
        assert!(self.child.wait().expect("it was started").success(), "the victim failed");
        rest
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
