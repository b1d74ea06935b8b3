//! A program that answers each line with a line, over one connection that it keeps.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// The program, its lines, and where it says what is wrong.
#[derive(Debug)]
pub(super) struct Dialogue {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
    errors: PathBuf,
    silence: Duration,
}

impl Dialogue {
    /// Starts it. `silence`: how long an answer may take. `errors` takes what it complains of.
    pub(super) fn start(command: &mut Command, errors: &Path, silence: Duration) -> anyhow::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(errors)?);
        let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let input = Some(child.stdin.take().context("the pipe was asked for")?);
        let output = child.stdout.take().context("the pipe was asked for")?;
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            // Whoever asked may have given up.
            lines.for_each(|line| drop(tell.send(line)));
        });
        Ok(Self { child, input, answers, errors: errors.to_owned(), silence })
    }

    /// Says a line and waits for the answer; with how long that took.
    pub(super) fn ask(&mut self, line: &str) -> anyhow::Result<(String, Duration)> {
        let begun = Instant::now();
        let input = self.input.as_mut().context("it was ended")?;
        // One write, so that it leaves at once.
        let sent = input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush());
        sent.with_context(|| self.complaint())?;
        match self.answers.recv_timeout(self.silence) {
            Ok(answer) => Ok((answer, begun.elapsed())),
            Err(RecvTimeoutError::Timeout) => bail!("no answer for {:?}: {}", self.silence, self.complaint()),
            Err(RecvTimeoutError::Disconnected) => bail!("it has ended: {}", self.complaint()),
        }
    }

    /// Ends its input, and waits until it ends well.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        drop(self.input.take());
        // Its output ends with it.
        let more = self.answers.recv_timeout(self.silence);
        ensure!(matches!(more, Err(RecvTimeoutError::Disconnected)), "not ended: {more:?}");
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.complaint());
        Ok(())
    }

    fn complaint(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn lines_are_answered_and_ends_are_told() -> anyhow::Result<()> {
        let folder = Scratch::new()?;
        let start = |script: &str, silence| {
            Dialogue::start(Command::new("sh").args(["-c", script]), &folder.join("errors"), silence)
        };
        let mut echo = start("cat", Duration::from_secs(60))?;
        assert_eq!(echo.ask("one")?.0, "one");
        assert_eq!(echo.ask("another")?.0, "another");
        echo.end()?;
        let mut early = start("read line; echo why >&2; exit 3", Duration::from_secs(60))?;
        let error = early.ask("hello").expect_err("it ends").to_string();
        assert!(error.contains("it has ended: why"), "{error}");
        assert!(early.end().is_err());
        let silent = start("cat > /dev/null", SHORT)?.ask("hello").expect_err("it says nothing");
        assert!(silent.to_string().contains("no answer"), "{silent}");
        Ok(())
    }
}
