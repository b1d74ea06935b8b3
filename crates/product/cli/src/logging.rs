//! Log lines go to stderr; stdout is for what a command was asked for.

use config::{Log, LogFormat};
use std::ffi::OsString;
use tracing_subscriber::EnvFilter;

/// Overrides the file's level, with `tracing`'s filter syntax. A node gives its own level to its processes with it.
const LEVEL: &str = "HUSHWIRE_LOG";
/// With this a node gives its format to its processes.
const FORMAT: &str = "HUSHWIRE_LOG_FORMAT";
const JSON: &str = "json";

/// Starts logging as the file says.
pub(crate) fn start(log: &Log) {
    let from_environment = std::env::var(LEVEL).ok().and_then(|text| EnvFilter::try_new(text).ok());
    begin(from_environment.unwrap_or_else(|| EnvFilter::new(log.level.name())), log.format);
}

/// Starts logging in a process of a node, as its supervisor does.
pub(crate) fn start_process() {
    let level = std::env::var(LEVEL).ok().and_then(|text| EnvFilter::try_new(text).ok());
    let json = std::env::var_os(FORMAT).is_some_and(|format| format == JSON);
    begin(level.unwrap_or_else(|| EnvFilter::new("info")), if json { LogFormat::Json } else { LogFormat::Text });
}

/// Puts what [`start_process`] reads into the environment of a node's processes.
pub(crate) fn pass_on(log: &Log, environment: &mut Vec<(OsString, OsString)>) {
    if !environment.iter().any(|(name, _)| name == LEVEL) {
        environment.push((LEVEL.into(), log.level.name().into()));
    }
    environment.retain(|(name, _)| name != FORMAT);
    if log.format == LogFormat::Json {
        environment.push((FORMAT.into(), JSON.into()));
    }
}

fn begin(filter: EnvFilter, format: LogFormat) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever set a logger before (a test) keeps it.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(crate::terminal::errors_have_colour()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::LogLevel;

    #[test]
    fn processes_log_as_their_supervisor_unless_the_environment_says_otherwise() {
        let log = Log { level: LogLevel::Warn, format: LogFormat::Json };
        let mut environment = Vec::new();
        pass_on(&log, &mut environment);
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        assert_eq!(environment, vec![pair(LEVEL, "warn"), pair(FORMAT, JSON)]);
        let mut environment = vec![pair(LEVEL, "debug"), pair(FORMAT, JSON)];
        pass_on(&Log { format: LogFormat::Text, ..log }, &mut environment);
        assert_eq!(environment, vec![pair(LEVEL, "debug")]);
    }
}
