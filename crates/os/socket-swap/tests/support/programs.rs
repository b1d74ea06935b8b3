//! Programs of other people, with and without the library.

use crate::support::{Folder, library};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Who is preloaded: server, client.
pub(crate) const COMBINATIONS: [[bool; 2]; 4] = [[false, false], [true, true], [true, false], [false, true]];

/// A server that ends with this.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Not by force: a server with processes of its own ends them.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

pub(crate) fn program(name: &str, preloaded: bool, folder: &Folder) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null()).env_remove("LD_PRELOAD");
    if preloaded {
        command.env("LD_PRELOAD", library()).env("HUSHWIRE_SWAP_STATS", folder.path("counts"));
    }
    command
}

pub(crate) fn start(command: Command, socket: &Path) -> Server {
    // Bound is not yet listening.
    start_until(command, || UnixStream::connect(socket).is_ok())
}

/// For a server of one connection, which must not be a try. Its client tries again until it listens.
pub(crate) fn start_for_one(command: Command, socket: &Path) -> Server {
    start_until(command, || socket.exists())
}

fn start_until(mut command: Command, is_there: impl Fn() -> bool) -> Server {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    let server = Server(command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; run scripts/install")));
    let began = Instant::now();
    while !is_there() {
        assert!(began.elapsed() < Duration::from_secs(60), "{name} does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    server
}

pub(crate) fn finish(mut command: Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command.output().unwrap_or_else(|error| panic!("{name}: {error}; run scripts/install"));
    assert!(ran.status.success(), "{name}: {} {}", ran.status, String::from_utf8_lossy(&ran.stderr));
    ran
}

pub(crate) fn counts_show_links(folder: &Folder) {
    let counts = std::fs::read_to_string(folder.path("counts")).unwrap_or_default();
    assert!(counts.lines().any(|line| !line.contains(" linked=0 ")), "nothing was swapped:\n{counts}");
}
