//! The nodes of a network on this machine, and how the recipe is followed.

use crate::failure::{Code, Failure, Outcome};
use crate::local::part::Part;
use crate::settings;
use crate::terminal;
use local_network::{Kind, Node, RecipeError, Runner};
use std::ffi::OsStr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that is waited for.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long nodes may end gently before they are told not to wait.
const GENTLY: Duration = Duration::from_secs(1);
/// How long they may take to end in all; who has not ended then is killed.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// When a node that was killed or drained is started again: late enough to see how the others go on without it.
pub(super) const RESTART_AFTER: Duration = Duration::from_secs(10);
/// Pause between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// All nodes. Dropping them kills them.
#[derive(Debug)]
pub(super) struct Nodes {
    folder: PathBuf,
    nodes: Vec<Machine>,
    begun: Instant,
    /// Whether somebody wants to end before all is there.
    is_ending: Arc<AtomicBool>,
}

/// One node.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) about: Node,
    running: Option<Part>,
    restart_at: Option<Instant>,
}

impl Nodes {
    pub(super) fn new(folder: &Path, is_ending: Arc<AtomicBool>) -> Self {
        Self { folder: folder.to_owned(), nodes: Vec::new(), begun: Instant::now(), is_ending }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Machine> {
        self.nodes.iter()
    }

    /// Starts nodes again that were killed or drained. One that ended by itself with an error is one.
    pub(super) fn look(&mut self) -> Outcome {
        self.nodes.iter_mut().try_for_each(|machine| machine.look(&self.folder))
    }

    /// Lets all of them end and waits until they have.
    pub(super) async fn stop(mut self) {
        let begun = Instant::now();
        self.parts().for_each(Part::ask_to_end);
        let mut is_asked_again = false;
        while begun.elapsed() < STOP_TIMEOUT && self.parts().any(Part::is_running) {
            if begun.elapsed() > GENTLY && !is_asked_again {
                is_asked_again = true;
                self.parts().for_each(Part::ask_to_end);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        self.nodes.iter_mut().filter_map(|machine| machine.running.as_mut())
    }

    /// The ends of all logs.
    pub(super) fn last_words(&mut self) -> String {
        self.parts().map(|part| part.log_tail()).collect()
    }

    /// Says how far it is.
    pub(super) fn tell(&self, what: &str) {
        terminal::say(&format!("{:>5.1} s  {what}\n", self.begun.elapsed().as_secs_f64()));
    }

    fn refuse_if_ending(&self) -> Outcome {
        if self.is_ending.load(Ordering::Relaxed) { Err(Failure::new(Code::Software, "asked to end")) } else { Ok(()) }
    }
}

impl Runner for Nodes {
    type Error = Failure;

    fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        self.refuse_if_ending()?;
        let ran = Command::new("/proc/self/exe")
            .arg0("hushwire")
            .args(arguments)
            .current_dir(&self.folder)
            .env_remove("HUSHWIRE_LOG")
            .stdin(Stdio::null())
            // Ctrl-C is for this program.
            .process_group(0)
            .output();
        let ran = ran.map_err(|error| Failure::io("cannot run a command of this program", &error))?;
        if ran.status.success() {
            return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
        }
        let sentence = format!("`hushwire {}` failed ({})", arguments.join(" "), ran.status);
        Err(Failure::new(Code::Software, sentence).detail(String::from_utf8_lossy(&ran.stderr).into_owned()))
    }

    fn start(&mut self, node: Node, more: &[&str]) -> Outcome {
        self.refuse_if_ending()?;
        let mut machine = Machine { about: node, running: None, restart_at: None };
        machine.spawn(&self.folder, more)?;
        self.nodes.push(machine);
        Ok(())
    }

    fn members(&self) -> Vec<String> {
        let members = self.nodes.iter().filter(|machine| machine.about.kind == Kind::Member);
        members.filter(|machine| machine.running.is_some()).map(|machine| machine.about.name.clone()).collect()
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> Result<bool, Failure>) -> Outcome {
        self.tell(&format!("waiting until {what}"));
        let begun = Instant::now();
        loop {
            self.refuse_if_ending()?;
            self.look()?;
            // Until its socket is there, the question itself fails.
            let answer = is_so(self);
            if matches!(answer, Ok(true)) {
                return Ok(());
            }
            if begun.elapsed() >= START_TIMEOUT {
                let sentence = format!("not within {} s: {what}", START_TIMEOUT.as_secs());
                let failure = Failure::new(Code::Software, sentence);
                let answer = answer.err().map_or(String::new(), |error| error.line() + "\n");
                return Err(failure.detail(answer + &self.last_words()));
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Machine {
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Part::pid)
    }

    /// When it is started again, if it does not run.
    pub(super) fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }

    fn spawn(&mut self, folder: &Path, more: &[&str]) -> Outcome {
        let file = folder.join(self.about.file());
        let mut arguments = vec![OsStr::new("node"), file.as_os_str()];
        arguments.extend(more.iter().map(OsStr::new));
        let log = folder.join(format!("{}.log", self.about.name));
        self.running = Some(Part::spawn(&self.about.name, &arguments, &log)?);
        Ok(())
    }

    fn look(&mut self, folder: &Path) -> Outcome {
        if let Some(part) = &mut self.running
            && let Some(status) = part.ended()
        {
            if is_fault(status) {
                let sentence = format!("{} ended by itself ({status})", part.name());
                return Err(Failure::new(Code::Software, sentence).detail(part.log_tail()));
            }
            self.running = None;
            self.restart_at = Some(Instant::now() + RESTART_AFTER);
        }
        if self.restart_at.is_some_and(|at| Instant::now() >= at) {
            self.restart_at = None;
            self.spawn(folder, &[])?;
        }
        Ok(())
    }
}

/// Neither killed nor drained.
fn is_fault(status: ExitStatus) -> bool {
    status.signal().is_none() && !status.success()
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        match error {
            RecipeError::NewFile(error) => settings::secret(&error),
            RecipeError::File { .. } => Self::from_error(Code::InputOutput, &error),
            RecipeError::Port(_) => {
                Self::from_error(Code::System, &error).remedy("all of 127.0.0.0/8 has to be this machine")
            }
            RecipeError::Printed(_) | RecipeError::NoMember => Self::from_error(Code::Software, &error),
        }
    }
}
