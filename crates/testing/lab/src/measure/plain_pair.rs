//! The plain proxy pair as two processes.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum as _;

use super::processes::Watched;
use crate::plain::Control;
use crate::process::Running;
use crate::relay::{Relay, RelayConfig};
use crate::scratch::{Scratch, free_tcp_address, free_udp_address};

/// How long the two may take until they accept connections.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Two running processes of this program; both end with this value.
#[derive(Debug)]
pub(super) struct PlainPair {
    entry: Running,
    exit: Running,
    /// Where connections are accepted.
    pub(super) address: SocketAddr,
    _relay: Option<Relay>,
    _folder: Scratch,
}

impl PlainPair {
    /// Connections go to `to`, through the relay if there is one.
    pub(super) fn start(to: SocketAddr, control: Control, relay: Option<RelayConfig>) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let (address, far) = (free_tcp_address()?, free_udp_address()?);
        let relay = relay.map(|relay| Relay::start(RelayConfig { to: far, ..relay })).transpose()?;
        let dialled = relay.as_ref().map_or(far, Relay::address);
        let start = |name: &str, listen: SocketAddr, to: SocketAddr| {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(name).arg("--listen").arg(listen.to_string()).arg("--to").arg(to.to_string());
            if let Some(control) = control.to_possible_value() {
                command.arg("--control").arg(control.get_name());
            }
            Running::start(name, &mut command, &folder.join(name))
        };
        let exit = start("plain-exit", far, to)?;
        let mut entry = start("plain-entry", address, dialled)?;
        entry.wait_until("listening", READY_WITHIN, || TcpStream::connect(address).is_ok())?;
        // The probe connection has to be gone before a server that serves one client at a time is asked.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self { entry, exit, address, _relay: relay, _folder: folder })
    }

    pub(super) fn watched(&self) -> Watched {
        Watched(vec![("plain entry".to_owned(), self.entry.pid()), ("plain exit".to_owned(), self.exit.pid())])
    }
}
