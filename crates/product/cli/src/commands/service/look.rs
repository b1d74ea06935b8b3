//! What a file says of its services, and whether they run.

use super::file::ServicesFile;
use crate::args::service::{ServiceFile, ShowArgs};
use crate::commands::status::{runtime, to_json};
use crate::failure::{Failure, Outcome};
use crate::settings;
use crate::terminal;
use config::{Host, HostPort, Service};
use onion_service::ServiceAddress;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

#[derive(Debug, Serialize)]
struct Listed {
    /// The version of this schema.
    version: u8,
    services: Vec<Shown>,
}

/// One service.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    address: String,
    key_file: String,
    ports: Vec<Port>,
    /// Who is let in; none: everybody who knows the address.
    clients: Vec<String>,
    /// Introduction points that are wanted.
    points: u8,
    /// Whether a node with this file runs and answers.
    runs: bool,
}

#[derive(Debug, Serialize)]
struct Port {
    port: u16,
    to: String,
}

fn shown(host: &Host, runs: bool) -> Result<Shown, Failure> {
    let secret = settings::service_secret(&host.key_file)?;
    Ok(Shown {
        name: host.name.clone(),
        address: ServiceAddress(secret.public_key()).to_string(),
        key_file: host.key_file.display().to_string(),
        ports: host.ports.iter().map(|HostPort { port, to }| Port { port: *port, to: to.to_string() }).collect(),
        clients: host.clients.iter().map(ToString::to_string).collect(),
        points: host.points,
        runs,
    })
}

/// Whether whoever runs these services answers.
fn runs(service: &Service) -> bool {
    runtime().is_ok_and(|runtime| runtime.block_on(admin::client::status(&service.admin.socket)).is_ok())
}

pub(super) fn list(args: &ServiceFile) -> Outcome {
    let file = ServicesFile::open(args.config.as_deref())?;
    let runs = file.service().is_some_and(runs);
    let mut services = Vec::new();
    for host in file.hosts() {
        services.push(shown(host, runs)?);
    }
    if args.json {
        terminal::say(&to_json(&Listed { version: 1, services })?);
        return Ok(());
    }
    if services.is_empty() {
        terminal::complain(&format!(
            "{} has no services; `hushwire service add NAME --to ADDRESS:PORT` makes one.\n",
            file.path.display()
        ));
        return Ok(());
    }
    let mut text = format!("{:<16} {:<62} {:<20} CLIENTS\n", "NAME", "ADDRESS", "PORTS");
    for service in &services {
        let ports: Vec<String> = service.ports.iter().map(|port| port.port.to_string()).collect();
        let clients = match service.clients.len() {
            0 => "everybody".to_owned(),
            count => count.to_string(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<16} {:<62} {:<20} {clients}", service.name, service.address, ports.join(" "));
    }
    terminal::say(&text);
    Ok(())
}

pub(super) fn show(args: &ShowArgs) -> Outcome {
    let file = ServicesFile::open(args.file.config.as_deref())?;
    let (service, place) = file.host(&args.name)?;
    let shown = shown(&service.hosts[place], runs(service))?;
    terminal::say(&if args.file.json { to_json(&shown)? } else { screen(&shown, &file.path) });
    Ok(())
}

fn screen(service: &Shown, file: &Path) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{what:<9} {value}");
    };
    line("name", &service.name);
    line("address", &service.address);
    line("key", &service.key_file);
    for port in &service.ports {
        line("port", &format!("{} leads to {}", port.port, port.to));
    }
    if service.clients.is_empty() {
        line("clients", "everybody who knows the address");
    }
    for client in &service.clients {
        line("client", client);
    }
    let runs = if service.runs { "yes" } else { "no, or its node gives no answer" };
    line("runs", runs);
    line("file", &file.display().to_string());
    text
}
