//! A stock QUIC server and client as processes in two hosts of a network, for tests of whatever carries UDP between them.
//!
//! Both are `lab quic-server` and `lab quic-download`; a test of this crate passes `env!("CARGO_BIN_EXE_lab")`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::network::Namespace;
use crate::process::{self, Running};
use crate::quic_load::{Downloaded, Served};
use crate::scratch::Scratch;

/// How long a start, an end or a report may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// What the server prints once clients can come; the address follows.
pub const LISTENING: &str = "listening on";

/// A running server.
#[derive(Debug)]
pub struct QuicServer {
    running: Running,
    folder: Scratch,
}

const LOG: &str = "quic-server.log";

impl QuicServer {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(lab: &Path, namespace: &Namespace, listen: SocketAddr) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let log = folder.join(LOG);
        let mut command = namespace.command(lab)?;
        command.args(["quic-server", "--listen", &listen.to_string()]);
        let mut running = Running::start("quic-server", &mut command, &log)?;
        running.wait_until("listening", PATIENCE, || read(&log).contains(LISTENING))?;
        Ok(Self { running, folder })
    }

    /// What it says about its downloads, in the order in which they ended, as soon as so many have.
    ///
    /// # Errors
    /// If fewer have ended after half a minute, or it has ended itself.
    pub fn served(&mut self, count: usize) -> anyhow::Result<Vec<Served>> {
        let log = self.folder.join(LOG);
        self.running.wait_until("the reports", PATIENCE, || reports(&read(&log)).count() >= count)?;
        let text = read(&log);
        reports(&text).map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// Whole lines of JSON.
fn reports(log: &str) -> impl Iterator<Item = &str> {
    log.split_inclusive('\n').filter(|line| line.starts_with('{') && line.ends_with('\n'))
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// Downloads for a time, in windows of 100 ms. To do something meanwhile, call it in a thread.
///
/// # Errors
/// If no connection comes about or it breaks; with what the client says.
pub fn download(lab: &Path, namespace: &Namespace, to: SocketAddr, lasting: Duration) -> anyhow::Result<Downloaded> {
    let mut client = namespace.command(lab)?;
    client.args(["quic-download", "--to", &to.to_string(), "--ms", &lasting.as_millis().to_string()]);
    let output = process::run(&mut client, PATIENCE + lasting)?;
    serde_json::from_slice(&output.stdout).context("the client prints JSON")
}
