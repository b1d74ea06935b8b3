//! Making services and taking them away, and who is let in.

use super::edit;
use super::file::{Said, ServicesFile, quoted};
use crate::args::service::{AddArgs, ClientOf, ClientRemoveArgs, RemoveArgs};
use crate::commands::network::replace_as_it_is as replace_file;
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use config::{Diagnostics, Host, HostPort, Service};
use identity::{AccessKey, ServiceSecret};
use onion_service::ServiceAddress;
use std::path::Path;

/// Introduction points of a service if nothing is said.
const POINTS: u8 = 3;

pub(super) fn add(args: &AddArgs) -> Outcome {
    let file = ServicesFile::open(args.file.config.as_deref())?;
    if file.hosts().iter().any(|host| host.name == args.name) {
        return Err(Failure::new(Code::CannotCreate, format!("{} has a service `{}`", file.path.display(), args.name))
            .remedy("choose another name, or take that one away with `hushwire service remove`"));
    }
    let key_file = match &args.key {
        // It stands in the file as seen from there.
        Some(path) => std::path::absolute(path).map_err(|error| Failure::io("cannot find this folder", &error))?,
        None => file.folder().join(format!("{}.service-key", args.name)),
    };
    let host = Host {
        name: args.name.clone(),
        key_file,
        ports: vec![args.host_port()],
        clients: args.client.clone(),
        points: POINTS,
    };
    // The text first: nothing is made for a service that cannot be.
    let text = text_with(&file, &host)?;
    let secret = match &args.key {
        Some(_) => settings::service_secret(&host.key_file)?,
        None => make_key(&host.key_file)?,
    };
    replace_file(&file.path, text.as_bytes())?;
    let address = ServiceAddress(secret.public_key());
    terminal::say(&if args.file.json {
        let said = serde_json::json!({ "version": 1, "name": host.name, "address": address.to_string(), "key_file": host.key_file });
        crate::commands::status::to_json(&said)?
    } else {
        format!("{address}\n")
    });
    let made = if args.key.is_some() { "uses" } else { "made" };
    let who = match host.clients.len() {
        0 => "everybody who knows the address above is let in".to_owned(),
        count => format!("the address above lets {count} in"),
    };
    terminal::complain(&format!(
        "{}: `{}` at port {} leads to {}; {who}. It {made} {}: keep a copy, for without it the address is lost.\nNext: {}.\n",
        file.path.display(),
        host.name,
        args.port,
        args.to,
        host.key_file.display(),
        file.next()
    ));
    Ok(())
}

/// The secret of a new service, on the disk.
fn make_key(path: &Path) -> Result<ServiceSecret, Failure> {
    let secret = ServiceSecret::from_seed(settings::random()?);
    let address = ServiceAddress(secret.public_key());
    let text = format!("# Whoever has this line can be {address}.\n{}\n", &*secret.reveal());
    config::create_secret_file(path, &text).map_err(|error| settings::secret(&error))?;
    Ok(secret)
}

fn text_with(file: &ServicesFile, host: &Host) -> Result<String, Failure> {
    let ports: Vec<String> =
        host.ports.iter().map(|HostPort { port, to }| format!("{{ port = {port}, to = \"{to}\" }}")).collect();
    let mut table = format!(
        "[[{}host]]\nname = {}\nkey_file = {}\nports = [{}]\n",
        file.prefix(),
        quoted(&host.name),
        file.quoted(&host.key_file),
        ports.join(", ")
    );
    if !host.clients.is_empty() {
        table.push_str(&format!("clients = [{}]\n", texts(&host.clients).join(", ")));
    }
    let fresh = file.fresh_table()?;
    let had_none = fresh.is_some();
    let text = edit::with_host(&file.text, file.prefix(), &[fresh.unwrap_or_default(), table.clone()].concat());
    let hosts = [file.hosts(), std::slice::from_ref(host)].concat();
    if had_none {
        let found = read(&text, file).map_err(|error| unusable(file, &table, &text, Some(&error)))?;
        let is_good = found.is_some_and(|found| found.hosts == hosts);
        return if is_good { Ok(text) } else { Err(unusable(file, &table, &text, None)) };
    }
    checked(file, text, &hosts, &table)
}

pub(super) fn remove(args: &RemoveArgs) -> Outcome {
    let file = ServicesFile::open(args.config.as_deref())?;
    let (service, place) = file.host(&args.name)?;
    let key_file = service.hosts[place].key_file.clone();
    let text = if service.hosts.len() == 1 {
        let Said::Several(_) = &file.said else {
            return Err(Failure::new(
                Code::Configuration,
                format!(
                    "`{}` is the last service of {}, and a service node has one at least",
                    args.name,
                    file.path.display()
                ),
            )
            .remedy("stop that node, and put the file away"));
        };
        let text = edit::without_service(&file.text);
        let is_good = matches!(read(&text, &file), Ok(None));
        if !is_good {
            return Err(unusable(&file, &format!("nothing of [service] and of `{}`", args.name), &text, None));
        }
        text
    } else {
        let mut hosts = service.hosts.clone();
        hosts.remove(place);
        let text = edit::without_host(&file.text, file.prefix(), place).unwrap_or_default();
        checked(&file, text, &hosts, &format!("nothing of `{}`", args.name))?
    };
    replace_file(&file.path, text.as_bytes())?;
    terminal::complain(&format!(
        "{}: `{}` is out. Its key stays in {}; with that it can come back, also on another machine.\nNext: {}.\n",
        file.path.display(),
        args.name,
        key_file.display(),
        file.next()
    ));
    Ok(())
}

pub(super) fn add_client(args: &ClientOf) -> Outcome {
    let file = ServicesFile::open(args.config.as_deref())?;
    let (service, place) = file.host(&args.name)?;
    let mut clients = service.hosts[place].clients.clone();
    if clients.contains(&args.key) {
        return Err(Failure::new(Code::Usage, format!("`{}` lets this client in already", args.name)));
    }
    let was_open = clients.is_empty();
    clients.push(args.key);
    set_clients(&file, service, place, clients)?;
    let now = if was_open { " Until now everybody who knows its address was; the others are out." } else { "" };
    terminal::complain(&format!(
        "{}: `{}` lets this client in.{now}\nNext: {}.\n",
        file.path.display(),
        args.name,
        file.next()
    ));
    Ok(())
}

pub(super) fn remove_client(args: &ClientRemoveArgs) -> Outcome {
    let ClientRemoveArgs { client: args, open } = args;
    let file = ServicesFile::open(args.config.as_deref())?;
    let (service, place) = file.host(&args.name)?;
    let mut clients = service.hosts[place].clients.clone();
    let Some(known) = clients.iter().position(|key| *key == args.key) else {
        return Err(Failure::new(Code::Usage, format!("this client is not on the list of `{}`", args.name))
            .remedy(format!("`hushwire service show {}` prints the list", args.name)));
    };
    clients.remove(known);
    if clients.is_empty() && !open {
        return Err(Failure::new(
            Code::Usage,
            format!(
                "it is the last client of `{}`; without a list everybody who knows the address is let in",
                args.name
            ),
        )
        .remedy("put another one on the list first, or add --open if that is meant"));
    }
    let now = if clients.is_empty() { "everybody who knows its address is let in" } else { "this client is out" };
    set_clients(&file, service, place, clients)?;
    terminal::complain(&format!("{}: `{}`: {now}.\nNext: {}.\n", file.path.display(), args.name, file.next()));
    Ok(())
}

fn set_clients(file: &ServicesFile, service: &Service, place: usize, clients: Vec<AccessKey>) -> Outcome {
    let written = texts(&clients);
    let text = edit::with_clients(&file.text, file.prefix(), place, &written).unwrap_or_default();
    let mut hosts = service.hosts.clone();
    hosts[place].clients = clients;
    let text = checked(file, text, &hosts, &format!("clients = [{}]", written.join(", ")))?;
    replace_file(&file.path, text.as_bytes())
}

fn texts(clients: &[AccessKey]) -> Vec<String> {
    clients.iter().map(|key| format!("\"{key}\"")).collect()
}

/// A changed text, if it says what was meant and everything else as before.
fn checked(file: &ServicesFile, text: String, hosts: &[Host], meant: &str) -> Result<String, Failure> {
    let found = read(&text, file).map_err(|error| unusable(file, meant, &text, Some(&error)))?;
    let is_good = match (found, file.service()) {
        (Some(found), Some(before)) => found == Service { hosts: hosts.to_vec(), ..before.clone() },
        _ => false,
    };
    if is_good { Ok(text) } else { Err(unusable(file, meant, &text, None)) }
}

/// The services' part of a text in the place of the file's.
fn read(text: &str, file: &ServicesFile) -> Result<Option<Service>, Diagnostics> {
    match &file.said {
        Said::Own(_) => config::parse_service(text, file.folder()).map(Some),
        Said::Several(before) => {
            let now = config::parse_node(text, file.folder())?;
            let rest = (&now.cluster, &now.mirror, &now.relay, &now.exit, &now.entry, &now.log, &now.admin_socket);
            let was = (
                &before.cluster,
                &before.mirror,
                &before.relay,
                &before.exit,
                &before.entry,
                &before.log,
                &before.admin_socket,
            );
            // Whoever compares sees that something else is there.
            Ok(if rest == was { now.service.map(|service| *service) } else { None })
        }
    }
}

fn unusable(file: &ServicesFile, meant: &str, text: &str, error: Option<&Diagnostics>) -> Failure {
    let shown = file.path.display().to_string();
    match error {
        // What was given is wrong: the name, a port, too many.
        Some(error) => Failure::new(Code::Data, format!("{shown} cannot have this; it is as it was"))
            .detail(error.render(&shown, text, terminal::errors_have_colour()))
            .remedy("give another value"),
        None => Failure::new(
            Code::Configuration,
            format!("{shown} is written in a way that is not changed here; it is as it was"),
        )
        .detail(format!("It should have:\n{meant}\n"))
        .remedy("change it with an editor"),
    }
}
