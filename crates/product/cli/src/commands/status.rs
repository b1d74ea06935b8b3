//! `hushwire status`: asks running nodes over their admin sockets.

use crate::args::StatusArgs;
use crate::commands::check::{Kind, kind};
use crate::commands::{service, whole};
use crate::failure::{Code, Failure, Outcome};
use crate::settings::{self, now_ms};
use crate::terminal;
use admin::client::AskError;
use admin::status::Status;
use config::{NodePart, PartPath};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Folders that are searched when no node is named; the first with a configuration counts.
const FOLDERS: [&str; 2] = [".", "/etc/hushwire"];

pub(crate) fn run(args: &StatusArgs) -> Outcome {
    let is_screen = |file: &Path| matches!(kind(file), Kind::OfPair | Kind::Service);
    let found = if args.config.is_none() && args.socket.is_none() { found_files() } else { Vec::new() };
    let named = args.config.as_deref().or(found.first().map(PathBuf::as_path));
    if let Some(file) = named.filter(|file| !is_screen(file)) {
        let status = whole::ask(file)?;
        terminal::say(&if args.json { to_json(&status)? } else { status.screen(now_ms()?, terminal::has_colour()) });
        return Ok(());
    }
    let sockets = sockets(args, found)?;
    let runtime = runtime()?;
    let mut answers = Vec::new();
    for socket in &sockets {
        answers.push(runtime.block_on(admin::client::status(socket)).map_err(|error| not_answered(&error))?);
    }
    terminal::say(&if args.json { to_json(&answers)? } else { screens(&answers) });
    Ok(())
}

/// A runtime for one command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::new(Code::System, format!("cannot start: {error}")))
}

/// Why a node gave no answer.
pub(crate) fn not_answered(error: &AskError) -> Failure {
    let (code, remedy) = match error {
        AskError::NotRunning(_) => (
            Code::Unavailable,
            "start it with `hushwire entry -c FILE`, `hushwire exit -c FILE` or `hushwire service run -c FILE`",
        ),
        AskError::NotAllowed(_) => (Code::Permission, "run this command as the user of the node"),
        AskError::Connection { .. } => (Code::InputOutput, "look at the node's log"),
        AskError::Silent(_) => (Code::Unavailable, "look at the node's log; it may be overloaded"),
        AskError::NotUnderstood(_) => (Code::Unavailable, "compare `hushwire version` with the node's"),
    };
    Failure::from_error(code, error).remedy(remedy)
}

fn sockets(args: &StatusArgs, found: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failure> {
    if let Some(socket) = &args.socket {
        return Ok(vec![socket.clone()]);
    }
    let files = match &args.config {
        Some(file) => vec![file.clone()],
        None => found,
    };
    if files.is_empty() {
        return Err(Failure::new(
            Code::NoInput,
            "no node.toml, entry.toml, exit.toml or service.toml is in this folder or in /etc/hushwire",
        )
        .remedy("name the node with -c FILE"));
    }
    files.iter().map(|file| admin_socket(file)).collect()
}

/// The admin socket that a file names, whichever of the three kinds it is.
fn admin_socket(file: &Path) -> Result<PathBuf, Failure> {
    let is_part = PartPath::of(file).part == Some(NodePart::Service);
    if is_part || service::is_file_of_services(file) {
        return settings::loaded(config::load_service(file)).map(|service| service.admin.socket);
    }
    settings::load(file).map(|config| config.admin.socket)
}

fn found_files() -> Vec<PathBuf> {
    FOLDERS.iter().map(|folder| found_in(Path::new(folder))).find(|found| !found.is_empty()).unwrap_or_default()
}

/// What a folder has to be asked: its node of several roles, which is asked as a whole, or each of the others.
fn found_in(folder: &Path) -> Vec<PathBuf> {
    let is_there = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
    match is_there("node.toml") {
        Some(node) => vec![node],
        None => ["entry.toml", "exit.toml", "service.toml"].into_iter().filter_map(is_there).collect(),
    }
}

/// A value as `--json` prints it.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Code::Software, format!("this cannot be written as JSON: {error}")))?;
    Ok(text + "\n")
}

fn screens(answers: &[Status]) -> String {
    let colour = terminal::has_colour();
    let screens: Vec<String> = answers.iter().map(|status| admin::render::screen(status, colour)).collect();
    screens.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_several_roles_is_found_and_asked_as_a_whole() {
        let folder = std::env::temp_dir().join(format!("hushwire-status-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        assert!(found_in(&folder).is_empty());
        for name in ["exit.toml", "entry.toml"] {
            std::fs::write(folder.join(name), "").expect("a file");
        }
        assert_eq!(found_in(&folder), ["entry.toml", "exit.toml"].map(|name| folder.join(name)));
        std::fs::write(folder.join("node.toml"), "").expect("a file");
        assert_eq!(found_in(&folder), [folder.join("node.toml")]);
        std::fs::remove_dir_all(folder).expect("it is there");
    }
}
