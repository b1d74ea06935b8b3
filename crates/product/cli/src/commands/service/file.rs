//! A file with services: a service node's own, or a node's with or without a table for them.

use crate::commands::check;
use crate::failure::{Code, Failure};
use crate::settings;
use config::{Config, Host, Listen, ListenKind, Mode, NodeFile, Role, Service};
use shaping::RateClass;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Folders that are searched when no file is named; the first with one of the names counts.
const FOLDERS: [&str; 2] = [".", "/etc/hushwire"];
const NAMES: [&str; 2] = ["node.toml", "service.toml"];

/// What a file says.
pub(super) enum Said {
    /// A service node's own file.
    Own(Box<Service>),
    /// A node of several roles.
    Several(Box<NodeFile>),
}

/// A file that was read.
pub(super) struct ServicesFile {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) said: Said,
}

impl ServicesFile {
    /// The one that was named, or the first that is found.
    pub(super) fn open(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => found().ok_or_else(|| {
                Failure::new(Code::NoInput, "no node.toml or service.toml is in this folder or in /etc/hushwire")
                    .remedy("name the file with -c FILE; `hushwire join` writes one from an invitation")
            })?,
        };
        let said = if check::is_file_of_several(&path) {
            Said::Several(Box::new(settings::loaded(config::load_node(&path))?))
        } else {
            Said::Own(Box::new(settings::loaded(config::load_service(&path))?))
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::io(format_args!("cannot read {}", path.display()), &error))?;
        Ok(Self { path, text, said })
    }

    /// Its services' part, if there is one.
    pub(super) fn service(&self) -> Option<&Service> {
        match &self.said {
            Said::Own(service) => Some(service),
            Said::Several(node) => node.service.as_deref(),
        }
    }

    pub(super) fn hosts(&self) -> &[Host] {
        self.service().map_or(&[], |service| &service.hosts)
    }

    /// The services' part, and the place of one of them.
    pub(super) fn host(&self, name: &str) -> Result<(&Service, usize), Failure> {
        let service = self.service();
        let found =
            service.and_then(|service| Some((service, service.hosts.iter().position(|host| host.name == name)?)));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.hosts().iter().map(|host| host.name.as_str()).collect();
            let has = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            Failure::new(Code::Usage, format!("{} has no service `{name}`", self.path.display())).remedy(has)
        })
    }

    /// Where relative paths of the file begin.
    pub(super) fn folder(&self) -> &Path {
        // The same one that the file was read with, or paths would not compare.
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// What stands before `host` in the names of tables.
    pub(super) fn prefix(&self) -> &'static str {
        match self.said {
            Said::Own(_) => "",
            Said::Several(_) => "service.",
        }
    }

    /// The command that lets a running node know.
    pub(super) fn next(&self) -> String {
        let shown = self.path.display();
        match self.said {
            Said::Own(_) => format!("start it anew: `hushwire service run -c {shown}`"),
            Said::Several(_) => format!("`hushwire reload {shown}`, or `hushwire node {shown}` if it does not run yet"),
        }
    }

    /// The table of services for a node that has none: through its own entry, at its rate.
    pub(super) fn fresh_table(&self) -> Result<Option<String>, Failure> {
        let Said::Several(node) = &self.said else { return Ok(None) };
        if node.service.is_some() {
            return Ok(None);
        }
        let shown = self.path.display();
        let lacks = |what: &str, remedy: &str| {
            Failure::new(Code::Configuration, format!("{shown} has no {what}, which services need"))
                .remedy(remedy.to_owned())
        };
        let mirror = node.mirror.as_ref().ok_or_else(|| {
            lacks(
                "[mirror], and so no document of a network",
                "`hushwire join INVITATION` writes a node's file that has one",
            )
        })?;
        let entry = node.entry.as_deref().ok_or_else(|| {
            lacks("[entry]", "records of services are published through one; `hushwire join INVITATION` writes it")
        })?;
        let directory = directory_listener(entry).ok_or_else(|| {
            lacks(
                "listener of kind \"directory\" at its entry",
                "add [[entry.listen]] with kind = \"directory\" and unix = \"directory-stream.sock\"",
            )
        })?;
        let shaping = match entry.shaping.mode {
            Mode::Off => "mode = \"off\"\n".to_owned(),
            _ => format!("mode = \"constant\"\nmax_rate = \"{} kbit/s\"\n", rate(entry) / 1_000),
        };
        // The comment is below the name, so that it goes with the table.
        let mut text = String::from("[service]\n# Made by `hushwire service add`; all keys: docs/services.md.\n");
        // Writing to a string does not fail.
        let _ = writeln!(text, "directory = {}", self.quoted(directory));
        let _ = writeln!(text, "\n[service.network]\nfile = {}", self.quoted(&mirror.network_file));
        let _ = writeln!(text, "guards_file = \"service.guards\"\n\n[service.shaping]\n{shaping}");
        Ok(Some(text))
    }

    /// A path as it stands in the file: relative where it can be.
    pub(super) fn quoted(&self, path: &Path) -> String {
        let shown = path.strip_prefix(self.folder()).unwrap_or(path);
        quoted(&shown.display().to_string())
    }
}

/// A text in TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

fn found() -> Option<PathBuf> {
    let files = FOLDERS.iter().flat_map(|folder| NAMES.map(|name| Path::new(folder).join(name)));
    files.into_iter().find(|path| path.is_file())
}

fn directory_listener(entry: &Config) -> Option<&Path> {
    let Role::Entry(entry) = &entry.role else { return None };
    let listener = entry.listeners.iter().find(|listener| matches!(listener.kind, ListenKind::Directory))?;
    match &listener.listen {
        Listen::Unix(path) => Some(path),
        Listen::Tcp(_) => None,
    }
}

/// The entry's own rate upwards.
fn rate(entry: &Config) -> u64 {
    match &entry.role {
        Role::Entry(entry) => entry.up.bits_per_second(),
        Role::Exit(_) => RateClass::SLOWEST.bits_per_second(),
    }
}
