//! What a file says of its services, and whether they run.

use super::file::ServicesFile;
use crate::args::service::{ServiceFile, ShowArgs};
use crate::commands::status::{runtime, to_json};
use crate::failure::{Failure, Outcome};
use crate::settings;
use crate::terminal;
use admin::render::duration;
use admin::status::Status;
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
    /// Seconds for which the directory has a record of it, as the node says; none: it has none, or nobody says.
    published_for_s: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Port {
    port: u16,
    to: String,
}

/// `said`: by whoever runs it; none if nobody answers.
fn shown(host: &Host, said: Option<&Status>) -> Result<Shown, Failure> {
    let secret = settings::service_secret(&host.key_file)?;
    let services = said.and_then(|status| status.services.as_ref());
    let running = services.and_then(|services| services.list.iter().find(|service| service.name == host.name));
    Ok(Shown {
        name: host.name.clone(),
        address: ServiceAddress(secret.public_key()).to_string(),
        key_file: host.key_file.display().to_string(),
        ports: host.ports.iter().map(|HostPort { port, to }| Port { port: *port, to: to.to_string() }).collect(),
        clients: host.clients.iter().map(ToString::to_string).collect(),
        points: host.points,
        runs: said.is_some(),
        published_for_s: running.and_then(|running| running.published_for_s),
    })
}

/// What whoever runs these services answers.
fn said(service: &Service) -> Option<Status> {
    runtime().ok()?.block_on(admin::client::status(&service.admin.socket)).ok()
}

pub(super) fn list(args: &ServiceFile) -> Outcome {
    let file = ServicesFile::open(args.config.as_deref())?;
    let said = file.service().and_then(said);
    let mut services = Vec::new();
    for host in file.hosts() {
        services.push(shown(host, said.as_ref())?);
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
    let shown = shown(&service.hosts[place], said(service).as_ref())?;
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
    line("published", &published(service));
    line("file", &file.display().to_string());
    text
}

/// Until when clients find it.
fn published(service: &Shown) -> String {
    match (service.runs, service.published_for_s) {
        (_, Some(seconds)) => format!("for {} more, and again before that", duration(seconds)),
        (true, None) => "not yet: the directory has no record of it that holds; the node's log says why".to_owned(),
        (false, None) => "nobody says; what the directory has of it lasts three hours at most".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_published_for_a_while_or_says_why_not() {
        let service = |runs, published_for_s| Shown {
            name: "web".into(),
            address: "hws1".into(),
            key_file: "web.service-key".into(),
            ports: Vec::new(),
            clients: Vec::new(),
            points: 3,
            runs,
            published_for_s,
        };
        let screen = |runs, seconds| screen(&service(runs, seconds), Path::new("node.toml"));
        assert!(screen(true, Some(7_384)).contains("published for 2 h 3 min more"));
        assert!(screen(true, None).contains("published not yet"));
        assert!(screen(false, None).contains("published nobody says"));
    }
}
