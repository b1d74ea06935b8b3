//! Log lines go to stderr; stdout is for what a command was asked for.

use config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Environment variable that overrides the file's level, with `tracing`'s filter syntax.
const OVERRIDE: &str = "HUSHWIRE_LOG";

/// Starts logging as the file says. A second call changes nothing.
pub(crate) fn start(log: &Log) {
    let filter = match std::env::var(OVERRIDE).ok().and_then(|text| EnvFilter::try_new(text).ok()) {
        Some(filter) => filter,
        None => EnvFilter::new(log.level.name()),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever set a logger before (a test) keeps it.
    let _ = match log.format {
        LogFormat::Text => builder.with_ansi(crate::terminal::errors_have_colour()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
