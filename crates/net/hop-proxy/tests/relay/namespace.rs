//! Tests that change the network: each runs in a process and a network namespace of its own.

use std::fs::File;
use std::io;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use crate::harness::{Outcome, PATIENCE};

/// Set in the process that runs in the namespace.
const INSIDE: &str = "HOP_PROXY_NAMESPACE";

/// Runs `body` of the test `name` in a namespace that has a loopback and nothing else, where this process is root.
pub(crate) fn inside(name: &str, body: impl FnOnce() -> Outcome) -> Outcome {
    with_limits(name, &[], body)
}

/// The same, with at most so many descriptors.
pub(crate) fn inside_with_descriptors(name: &str, descriptors: u32, body: impl FnOnce() -> Outcome) -> Outcome {
    with_limits(name, &["prlimit", &format!("--nofile={descriptors}:{descriptors}"), "--"], body)
}

fn with_limits(name: &str, limits: &[&str], body: impl FnOnce() -> Outcome) -> Outcome {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let program = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "--"]).args(limits).arg(program);
    command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    let output = command.output().map_err(|error| format!("the program `unshare` (util-linux) is needed: {error}"))?;
    let text = describe(&output);
    if !output.status.success() || !text.contains("1 passed") {
        return Err(format!("in its namespace the test failed:\n{text}").into());
    }
    Ok(())
}

/// A second namespace, at the other end of the link `here`: 10.9.0.1 is this side, 10.9.0.2 that one.
pub(crate) struct Elsewhere(Child);

impl Elsewhere {
    pub(crate) fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let elsewhere = Self(Command::new("unshare").args(["--net", "--", "sleep", "600"]).spawn()?);
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let deadline = Instant::now() + PATIENCE;
        while std::fs::read_link(elsewhere.file())? == own {
            assert!(Instant::now() < deadline, "the other namespace does not come");
            std::thread::sleep(Duration::from_millis(5));
        }
        let process = elsewhere.0.id();
        run("ip link add here type veth peer name there")?;
        run(&format!("ip link set there netns {process}"))?;
        run("ip addr add 10.9.0.1/24 dev here && ip link set here up")?;
        elsewhere.within(|| {
            run("ip link set lo up && ip addr add 10.9.0.2/24 dev there && ip link set there up").map_err(Into::into)
        })?;
        Ok(elsewhere)
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    /// Runs `body` there: what it opens, and the threads that it starts, belong to the other namespace.
    pub(crate) fn within<R: Send>(
        &self,
        body: impl FnOnce() -> Result<R, Box<dyn std::error::Error>> + Send,
    ) -> Result<R, Box<dyn std::error::Error>> {
        let there = File::open(self.file())?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let moved = rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&there),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                );
                moved.map_err(|error| error.to_string())?;
                body().map_err(|error| error.to_string())
            });
            thread.join().map_err(|_| "a panic in the other namespace")?.map_err(Into::into)
        })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command in the namespace.
pub(crate) fn run(command: &str) -> io::Result<()> {
    let output = Command::new("sh").args(["-c", command]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("`{command}`: {}", describe(&output))))
}

fn describe(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}
