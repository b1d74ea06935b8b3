//! What goes to stdout and stderr.

use std::io::{ErrorKind, IsTerminal, Write};

/// Writes to stdout. A reader that has gone away (`hushwire … | head`) is no error of ours: the program ends.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        // There is nobody left to tell.
        Ok(()) | Err(_) => {}
    }
}

/// Writes to stderr.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether stdout is a terminal that wants colours (<https://no-color.org>).
pub(crate) fn has_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The same for stderr.
pub(crate) fn errors_have_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether somebody can be asked.
pub(crate) fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks on stderr and reads one line; `default` for an empty one. `None` at the end of input.
pub(crate) fn ask(question: &str, default: &str) -> std::io::Result<Option<String>> {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    complain(&format!("{question}{shown}: "));
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let answer = line.trim();
    Ok(Some(if answer.is_empty() { default.to_owned() } else { answer.to_owned() }))
}
