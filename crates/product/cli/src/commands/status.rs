//! `hushwire status`: asks running nodes over their admin sockets.

use crate::args::StatusArgs;
use crate::commands::{check, node, service};
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use admin::client::AskError;
use admin::status::Status;
use config::{NodePart, PartPath};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Folders that are searched when no node is named; the first with a configuration counts.
const FOLDERS: [&str; 2] = [".", "/etc/hushwire"];

pub(crate) fn run(args: &StatusArgs) -> Outcome {
    if let Some(file) = args.config.as_deref().filter(|file| check::is_file_of_several(file)) {
        return several(file, args.json);
    }
    let sockets = sockets(args)?;
    let runtime = runtime()?;
    let mut answers = Vec::new();
    for socket in &sockets {
        answers.push(runtime.block_on(admin::client::status(socket)).map_err(|error| not_answered(&error))?);
    }
    terminal::say(&if args.json { to_json(&answers)? } else { screens(&answers) });
    Ok(())
}

/// A node of several parts, and those of its parts that have a status of this kind.
fn several(path: &Path, as_json: bool) -> Outcome {
    let file = settings::loaded(config::load_node(path))?;
    let parts = node::status(&file)?;
    let runtime = runtime()?;
    let services = file.service.iter().map(|part| part.admin.socket.clone());
    let sockets = [&file.exit, &file.entry].into_iter().flatten().map(|part| part.admin.socket.clone()).chain(services);
    // One that has just died is shown as such among the parts.
    let ask = |socket: PathBuf| runtime.block_on(admin::client::status(&socket)).ok();
    let answers: Vec<Status> = sockets.filter_map(ask).collect();
    terminal::say(&if as_json {
        to_json(&serde_json::json!({ "node": parts, "parts": answers }))?
    } else {
        format!("{}\n{}", parts.screen(), screens(&answers))
    });
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

fn sockets(args: &StatusArgs) -> Result<Vec<PathBuf>, Failure> {
    if let Some(socket) = &args.socket {
        return Ok(vec![socket.clone()]);
    }
    let files = match &args.config {
        Some(file) => vec![file.clone()],
        None => found_files(),
    };
    if files.is_empty() {
        return Err(Failure::new(
            Code::NoInput,
            "no entry.toml, exit.toml or service.toml is in this folder or in /etc/hushwire",
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
    let files = |folder: &&str| -> Vec<PathBuf> {
        let paths = ["entry.toml", "exit.toml", "service.toml"].map(|name| Path::new(folder).join(name));
        paths.into_iter().filter(|path| path.is_file()).collect()
    };
    FOLDERS.iter().map(files).find(|found| !found.is_empty()).unwrap_or_default()
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
