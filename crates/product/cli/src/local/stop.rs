//! Being asked to end.

use crate::failure::{Code, Failure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// Ctrl-C, a service manager, or a terminal that goes away.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: it has another meaning.
    hangup: Option<Signal>,
}

impl StopSignals {
    /// From here on these signals no longer end the program by themselves. Needs a tokio runtime.
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { hangup: Some(hangup()?), ..Self::without_hangup()? })
    }

    /// The same without the terminal that goes away, for programs to which that signal says something else.
    pub(crate) fn without_hangup() -> Result<Self, Failure> {
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hangup: None })
    }

    /// Returns at the next of them. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            Some(_) = async { self.hangup.as_mut()?.recv().await } => {}
        }
    }
}

/// SIGHUP: files are to be read again. Needs a tokio runtime.
pub(crate) fn hangup() -> Result<Signal, Failure> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Code::System, format!("no signals: {error}")))
}

/// Gets a word when standard input ends, if somebody wants to know.
pub(crate) fn input_end(is_wanted: bool) -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    if is_wanted {
        std::thread::spawn(move || {
            // An input that cannot be read is one that has ended.
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = sender.send(());
        });
    }
    receiver
}
