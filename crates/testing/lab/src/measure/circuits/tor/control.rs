//! The control port of a C-tor client.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// How long an answer or an event may take.
const SILENCE: Duration = Duration::from_secs(90);
/// Lines of an answer at most; longer ones are refused.
const LINES_MAX: usize = 10_000;

/// An open and authenticated connection.
pub(super) struct Control {
    reader: BufReader<UnixStream>,
    /// Events that came between the lines of answers.
    events: Vec<String>,
}

impl Control {
    pub(super) fn open(socket: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).context("no control socket")?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut control = Self { reader: BufReader::new(stream), events: Vec::new() };
        control.command("AUTHENTICATE")?;
        Ok(control)
    }

    /// Builds circuits of the client's own choice, one after another, and closes each.
    pub(super) fn build(&mut self, count: usize) -> anyhow::Result<Vec<Duration>> {
        self.command("SETEVENTS CIRC")?;
        let mut times = Vec::new();
        for _ in 0..count {
            self.events.clear();
            let begun = Instant::now();
            let answer = self.command("EXTENDCIRCUIT 0 purpose=general")?;
            let id = answer.last().and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned();
            match self.wait_for_end(&id)?.as_str() {
                "BUILT" => times.push(begun.elapsed()),
                state => bail!("a circuit of C-tor is {state}"),
            }
            self.command(&format!("CLOSECIRCUIT {id}"))?;
        }
        Ok(times)
    }

    /// What became of a circuit.
    fn wait_for_end(&mut self, id: &str) -> anyhow::Result<String> {
        loop {
            // `650 CIRC ID STATE ...`
            let words = |event: &String| event.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let is_end = |state: &str| ["BUILT", "FAILED", "CLOSED"].contains(&state);
            let ended = self.events.drain(..).map(|event| words(&event)).find(|words| {
                words.get(2).is_some_and(|of| of == id) && words.get(3).is_some_and(|state| is_end(state))
            });
            if let Some(words) = ended {
                return Ok(words[3].clone());
            }
            let event = self.line()?;
            self.events.push(event);
        }
    }

    /// The first hop of the circuit that carries the first stream that is open.
    pub(super) fn guard_of_first_stream(&mut self) -> anyhow::Result<String> {
        let streams = self.command("GETINFO stream-status")?;
        // `ID SUCCEEDED CIRCUIT TARGET`, the first one behind the keyword.
        let circuit = streams.iter().find_map(|line| {
            let mut words = line.rsplit('=').next()?.split_whitespace().skip_while(|word| *word != "SUCCEEDED");
            words.nth(1).map(str::to_owned)
        });
        let circuit = circuit.with_context(|| format!("no stream is open: {streams:?}"))?;
        let circuits = self.command("GETINFO circuit-status")?;
        let line = circuits.iter().find_map(|line| {
            let line = line.trim_start_matches("250-circuit-status=").trim_start_matches("250+circuit-status=");
            line.strip_prefix(&format!("{circuit} "))
        });
        let line = line.with_context(|| format!("no circuit {circuit}: {circuits:?}"))?;
        first_hop(line).with_context(|| format!("no path in {line}"))
    }

    /// Sends a command and returns the lines of its answer.
    fn command(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        self.reader.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            ensure!(lines.len() < LINES_MAX, "an answer of C-tor has no end");
            if line.starts_with("650") {
                self.events.push(line);
                continue;
            }
            let kind = line.as_bytes().get(3).copied();
            let is_refusal = line.starts_with('5');
            lines.push(line);
            match kind {
                Some(b' ') if is_refusal => bail!("C-tor refuses `{command}`: {lines:?}"),
                Some(b' ') => return Ok(lines),
                Some(b'+') => self.data(&mut lines)?,
                _ => {}
            }
        }
    }

    /// Lines up to a lone dot.
    fn data(&mut self, lines: &mut Vec<String>) -> anyhow::Result<()> {
        loop {
            let line = self.line()?;
            if line == "." {
                return Ok(());
            }
            ensure!(lines.len() < LINES_MAX, "an answer of C-tor has no end");
            lines.push(line);
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.reader.read_line(&mut line).context("C-tor says nothing")?;
        ensure!(length > 0, "C-tor has closed its control socket");
        Ok(line.trim_end().to_owned())
    }
}

/// The nickname of the first hop in `BUILT $FINGERPRINT~NAME,...`.
fn first_hop(line: &str) -> Option<String> {
    let path = line.split_whitespace().find(|word| word.starts_with('$'))?;
    path.split(',').next()?.split('~').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn answers_and_events_are_told_apart() {
        let scratch = crate::scratch::Scratch::new().expect("the temporary folder is writable");
        let listener = UnixListener::bind(scratch.join("control")).expect("a socket");
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            let mut reader = BufReader::new(stream);
            let answers = [
                "250 OK\r\n",
                "250 OK\r\n",
                "650 CIRC 6 CLOSED\r\n250 EXTENDED 7\r\n650 CIRC 7 EXTENDED $A~r1\r\n650 CIRC 7 BUILT $A~r1,$B~x0\r\n",
                "250 OK\r\n",
                "250-stream-status=3 SUCCEEDED 9 127.0.0.1:80\r\n250 OK\r\n",
                "250+circuit-status=\r\n8 BUILT $A~r1\r\n9 BUILT $C~r4,$B~x0 PURPOSE=GENERAL\r\n.\r\n250 OK\r\n",
                "551 no\r\n",
            ];
            for answer in answers {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                reader.get_mut().write_all(answer.as_bytes())?;
            }
            std::io::Result::Ok(())
        });
        let mut control = Control::open(&scratch.join("control")).expect("it lets everybody in");
        assert_eq!(control.build(1).map(|times| times.len()).ok(), Some(1));
        assert_eq!(control.guard_of_first_stream().ok().as_deref(), Some("r4"));
        let refused = control.command("GETINFO nothing").expect_err("it is refused");
        assert!(refused.to_string().contains("551 no"), "{refused}");
        assert!(server.join().is_ok_and(|served| served.is_ok()));
    }
}
