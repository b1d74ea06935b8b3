//! Children that end with their owner.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a child that nobody waits for may take to end by itself before it is killed.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How long one may take that has to end by itself, on a busy machine.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How often a waiting loop looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of a log that an error shows, from its end.
const LOG_SHOWN: usize = 4_000;

/// A program that runs in the background with its output in a log file. It is ended on drop, with its process group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Running {
    /// Starts a command whose output goes to `log`.
    ///
    /// # Errors
    /// If the log cannot be made or the program cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let out = File::options().create(true).append(true).open(log).context("cannot make the log file")?;
        let errors = out.try_clone().context("cannot share the log file")?;
        command.stdin(Stdio::null()).stdout(out).stderr(errors).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }

    /// Fails with the log if it has ended.
    ///
    /// # Errors
    /// If it has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended early ({status}); its log ends with:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Waits until `holds`, while it runs.
    ///
    /// # Errors
    /// If it ends, or if nothing happens within `deadline`; both with the log.
    pub fn wait_until(
        &mut self,
        what: &str,
        deadline: Duration,
        mut holds: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        while !holds() {
            self.check()?;
            if started.elapsed() > deadline {
                bail!("{}: {what} did not happen in {deadline:?}; its log ends with:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Sends a signal to its process group.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended already.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Asks it to end, and kills it if it does not.
    ///
    /// # Errors
    /// If its end cannot be learned, or if it had to be killed.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM);
        match wait_for(&mut self.child, STOP_WITHIN)? {
            Some(status) => Ok(status),
            None => bail!("{} did not end within {STOP_WITHIN:?}; its log ends with:\n{}", self.name, self.log_tail()),
        }
    }
}

impl Drop for Running {
    #[expect(clippy::print_stderr, reason = "a failing test shows the logs of what it started")]
    fn drop(&mut self) {
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if !ended {
            self.signal(Signal::TERM);
            if !matches!(wait_for(&mut self.child, END_WITHIN), Ok(Some(_))) {
                self.signal(Signal::KILL);
                // It is killed; its status interests nobody.
                let _ = self.child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the log of {} ends with:\n{}", self.name, self.log_tail());
        }
    }
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be started, fails, or runs longer than `deadline`; with what it printed.
pub fn run(command: &mut Command, deadline: Duration) -> anyhow::Result<Output> {
    let output = run_to_end(command, deadline)?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}", output.status, printed(&output));
    }
    Ok(output)
}

/// The same, whatever its exit status is.
///
/// # Errors
/// If it cannot be started, or runs longer than `deadline`.
pub fn run_to_end(command: &mut Command, deadline: Duration) -> anyhow::Result<Output> {
    run_with(command, Vec::new(), deadline)
}

/// Runs a command to its end, which reads `input`, usually a script.
///
/// # Errors
/// If it cannot be started, fails, or runs longer than `deadline`; with what it printed and the input.
pub fn run_script(command: &mut Command, input: &str, deadline: Duration) -> anyhow::Result<Output> {
    let output = run_with(command, input.as_bytes().to_vec(), deadline)?;
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{}\nits input was:\n{input}", output.status, printed(&output));
    }
    Ok(output)
}

fn run_with(command: &mut Command, input: Vec<u8>, deadline: Duration) -> anyhow::Result<Output> {
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ends before it has read everything says why on its own.
        std::thread::spawn(move || io::Write::write_all(&mut pipe, &input));
    }
    let out = read_all(child.stdout.take());
    let errors = read_all(child.stderr.take());
    let Some(status) = wait_for(&mut child, deadline)? else {
        let _ = child.kill();
        let _ = child.wait();
        bail!("{command:?} did not end within {deadline:?}");
    };
    let read = |reader: std::thread::JoinHandle<Vec<u8>>| reader.join().unwrap_or_default();
    Ok(Output { status, stdout: read(out), stderr: read(errors) })
}

/// What a program printed, for a message.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// How often all threads of a process went to sleep since it started. Each time was followed by a wake-up.
///
/// # Errors
/// When there is no such process.
pub fn sleeps(pid: u32) -> io::Result<u64> {
    let mut sleeps = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(thread?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sleeps += line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sleeps)
}

/// Reads a pipe in a thread, so that a child never waits for its reader.
fn read_all(pipe: Option<impl io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A broken pipe ends the text.
            let _ = pipe.by_ref().read_to_end(&mut bytes);
        }
        bytes
    })
}

fn wait_for(child: &mut Child, deadline: Duration) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let elapsed = started.elapsed();
        if elapsed > deadline {
            return Ok(None);
        }
        // Short tools are not waited for much longer than they run.
        std::thread::sleep(LOOK_EVERY.min(elapsed / 4 + Duration::from_millis(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const SECONDS: Duration = Duration::from_secs(60);

    #[test]
    fn output_and_failure_are_told() {
        let output = run(Command::new("sh").args(["-c", "echo out; echo err >&2"]), SECONDS).expect("sh is everywhere");
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), SECONDS).expect_err("it fails");
        assert!(error.to_string().contains("why"), "{error}");
        let error = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).expect_err("it takes too long");
        assert!(error.to_string().contains("did not end"), "{error}");
        assert!(run(&mut Command::new("no-such-program"), SECONDS).is_err());
    }

    #[test]
    fn a_script_is_read_and_shown_when_it_fails() {
        let output = run_script(&mut Command::new("sh"), "echo from the script", SECONDS).expect("sh is everywhere");
        assert_eq!(output.stdout, b"from the script\n");
        let error = run_script(&mut Command::new("sh"), "exit 4", SECONDS).expect_err("it fails");
        assert!(error.to_string().ends_with("exit 4"), "{error}");
    }

    #[test]
    fn children_end_with_their_owner() {
        let scratch = Scratch::new().expect("the temporary folder is writable");
        let start = || {
            let mut command = Command::new("sh");
            command.args(["-c", "echo started; sleep 60"]);
            Running::start("sh", &mut command, &scratch.join("log")).expect("sh is everywhere")
        };
        let mut running = start();
        let log = scratch.join("log");
        let has_started = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("started"));
        running.wait_until("its first line", SECONDS, has_started).expect("it prints at once");
        let pid = running.pid();
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(start().stop().is_ok());
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let scratch = Scratch::new().expect("the temporary folder is writable");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such thing; exit 1"]);
        let mut running = Running::start("thing", &mut command, &scratch.join("log")).expect("sh is everywhere");
        let error = running.wait_until("readiness", SECONDS, || false).expect_err("it ends at once");
        assert!(error.to_string().contains("no such thing"), "{error}");
    }
}
