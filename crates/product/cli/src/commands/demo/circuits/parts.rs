//! The processes of a demo: relays, exit and entry.

use super::home::Home;
use crate::args::RoleArg;
use crate::failure::{Code, Failure, Outcome};
use crate::local::pair::Node;
use crate::local::part::Part;
use admin::status::Status;
use local_network::LocalRelay;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the parts may take until a tunnel is up.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long they may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// When a relay that was killed is started again: late enough to see its leg replaced.
const RESTART_AFTER: Duration = Duration::from_secs(10);
/// Pause between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// All parts. Dropping them kills them.
pub(super) struct Parts {
    entry: Node,
    exit: Node,
    relays: Vec<Relay>,
    /// Legs that the tunnel is to have.
    legs: usize,
}

/// A relay that is not the exit.
pub(super) struct Relay {
    about: LocalRelay,
    log: PathBuf,
    running: Option<Part>,
    restart_at: Option<Instant>,
}

impl Parts {
    pub(super) fn start(home: &Home) -> Result<Self, Failure> {
        let mut relays = Vec::new();
        for about in home.network().relays() {
            let log = home.folder().join(format!("{}.log", about.name));
            let mut relay = Relay { about: about.clone(), log, running: None, restart_at: None };
            relay.spawn()?;
            relays.push(relay);
        }
        let exit = Node::spawn(RoleArg::Exit, home.folder())?;
        let entry = Node::spawn(RoleArg::Entry, home.folder())?;
        Ok(Self { entry, exit, relays, legs: home.shape().legs.into() })
    }

    pub(super) fn relays(&self) -> impl Iterator<Item = &Relay> {
        self.relays.iter()
    }

    /// What the entry says about itself.
    pub(super) async fn entry_status(&self) -> Result<Status, Failure> {
        self.entry.status().await
    }

    /// Starts relays again that were killed. One that ended by itself is an error, as is the end of entry or exit.
    pub(super) fn look(&mut self) -> Outcome {
        self.entry.part().check()?;
        self.exit.part().check()?;
        self.relays.iter_mut().try_for_each(Relay::look)
    }

    pub(super) async fn wait_until_up(&mut self) -> Outcome {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.look()?;
            // Until the socket is there, the question itself fails.
            if let Ok(status) = self.entry.status().await
                && super::live::is_whole(&status, self.legs)
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let sentence = format!("no tunnel is built within {} s", START_TIMEOUT.as_secs());
                let detail = self.entry.part().log_tail() + &self.exit.part().log_tail();
                return Err(Failure::new(Code::Software, sentence).detail(detail));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets all of them end and waits until they have; who does not is killed.
    pub(super) async fn stop(mut self) {
        let begun = Instant::now();
        for part in self.parts() {
            part.let_go();
        }
        while begun.elapsed() < STOP_TIMEOUT && self.parts().any(Part::is_running) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        let nodes = [self.entry.part(), self.exit.part()];
        nodes.into_iter().chain(self.relays.iter_mut().filter_map(|relay| relay.running.as_mut()))
    }
}

impl Relay {
    pub(super) fn name(&self) -> &str {
        &self.about.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.about.address
    }

    pub(super) fn pid_text(&self) -> String {
        self.running.as_ref().map_or_else(|| "none".to_owned(), |part| part.pid().to_string())
    }

    fn spawn(&mut self) -> Outcome {
        let arguments = [OsStr::new("relay"), self.about.config.as_os_str()];
        self.running = Some(Part::spawn(&self.about.name, &arguments, &self.log)?);
        Ok(())
    }

    fn look(&mut self) -> Outcome {
        if let Some(part) = &mut self.running
            && let Some(status) = part.ended()
        {
            if status.signal().is_none() {
                let sentence = format!("{} ended by itself ({status})", part.name());
                return Err(Failure::new(Code::Software, sentence).detail(part.log_tail()));
            }
            self.running = None;
            self.restart_at = Some(Instant::now() + RESTART_AFTER);
        }
        if self.restart_at.is_some_and(|at| Instant::now() >= at) {
            self.restart_at = None;
            self.spawn()?;
        }
        Ok(())
    }
}
