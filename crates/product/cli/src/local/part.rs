//! A process that runs another command of this program, and ends with it.

use crate::failure::{Code, Failure, Outcome};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

/// Lines of a log that are shown when its process fails.
const LOG_TAIL: usize = 12;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    child: Child,
    /// The process ends when this closes, however this program ends.
    leash: Option<ChildStdin>,
    log: PathBuf,
}

impl Part {
    /// Starts this program with `arguments` and `--leash`; what it says goes to the end of `log`.
    pub(crate) fn spawn<A: AsRef<OsStr>>(name: &str, arguments: &[A], log: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::io(format!("cannot start {name}"), &error);
        let stderr = OpenOptions::new().create(true).append(true).open(log).map_err(failed)?;
        let mut child = Command::new("/proc/self/exe")
            .arg0("hushwire")
            .args(arguments)
            .arg("--leash")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            // Ctrl-C is for this program, which then ends its processes.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let leash = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, leash, log: log.to_owned() })
    }

    /// What it is called in sentences.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Outcome {
        if self.is_running() {
            return Ok(());
        }
        Err(Failure::new(Code::Software, format!("{} ended by itself", self.name)).detail(self.log_tail()))
    }

    /// Tells it to end, now.
    pub(crate) fn let_go(&mut self) {
        self.leash = None;
    }

    /// Asks it to end gently; a second time, not to wait any longer.
    pub(crate) fn ask_to_end(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_running()) {
            // It has not been waited for, so the process is this one, whether it still runs or not.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
        format!("last words of {}:\n  {}\n", self.name, tail.join("\n  "))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.is_running() {
            // Its own processes end with it: the kernel closes their channel.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
