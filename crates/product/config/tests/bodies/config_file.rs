//! Any text as a configuration file: it is a configuration, or every problem of it is shown at a place in the file.

use config::Config;
use std::path::Path;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    service(text);
    match config::parse(text, Path::new("folder")) {
        Ok(config) => usable(&config),
        Err(diagnostics) => {
            assert!(diagnostics.iter().next().is_some(), "a refusal has a reason");
            for diagnostic in diagnostics.iter() {
                assert!(diagnostic.span.start <= diagnostic.span.end && diagnostic.span.end <= text.len());
                assert!(!diagnostic.problem.remedy().is_empty());
            }
            // Drawing takes longest by far, so each file is drawn in one way only.
            let shown = diagnostics.render("hushwire.toml", text, data.len() % 2 == 1);
            assert!(shown.contains("hushwire.toml"), "the file is named");
        }
    }
}

/// The same text as the file of a service node.
fn service(text: &str) {
    match config::parse_service(text, Path::new("folder")) {
        Ok(service) => {
            assert!((1..=config::HOSTS_MAX).contains(&service.hosts.len()));
            assert!(service.hosts.iter().all(|host| !host.ports.is_empty() && !host.name.is_empty()));
        }
        Err(diagnostics) => {
            let is_inside = |one: &config::Diagnostic| one.span.start <= one.span.end && one.span.end <= text.len();
            assert!(diagnostics.iter().next().is_some() && diagnostics.iter().all(is_inside));
            assert!(diagnostics.iter().all(|one| !one.problem.remedy().is_empty()));
        }
    }
}

/// What whoever holds a configuration need not check again.
fn usable(config: &Config) {
    assert!((1..=600).contains(&config.session_timeout.as_secs()));
    assert!(!config.key_file.as_os_str().is_empty());
    let queues = &config.queues;
    assert!(queues.max_flows > 0 && queues.queue_size.0.is_power_of_two());
    let _ = (config.warnings(), format!("{config:?}"));
}
