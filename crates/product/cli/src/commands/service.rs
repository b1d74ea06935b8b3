//! `hushwire service`: services of this machine, and who is let in.

mod change;
mod edit;
mod file;
mod look;
mod publish;
mod run;

use crate::args::service::{ClientCommand, ServiceCommand};
use crate::failure::Outcome;
use crate::settings;
use crate::terminal;
use config::Mode;
use identity::AccessSecret;
use onion_service::ServiceAddress;
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(command: ServiceCommand) -> Outcome {
    match command {
        ServiceCommand::Run(args) => run::run(&args),
        ServiceCommand::Add(args) => change::add(&args),
        ServiceCommand::List(args) => look::list(&args),
        ServiceCommand::Show(args) => look::show(&args),
        ServiceCommand::Remove(args) => change::remove(&args),
        ServiceCommand::Client(args) => match args.command {
            ClientCommand::New { file } => new_client(&file),
            ClientCommand::Add(args) => change::add_client(&args),
            ClientCommand::Remove(args) => change::remove_client(&args),
        },
    }
}

/// A key of a client: the secret stays, the public part is for the operators of services.
fn new_client(path: &Path) -> Outcome {
    let secret = AccessSecret::from_bytes(settings::random()?);
    let text =
        format!("# Opens services that have its public part on their lists. Keep it secret.\n{}\n", &*secret.reveal());
    config::create_secret_file(path, &text).map_err(|error| settings::secret(&error))?;
    terminal::say(&format!("{}\n", secret.access_key()));
    terminal::complain(&format!(
        "Wrote {}. The line above is for the operator of the service: `hushwire service client add NAME KEY`.\n",
        path.display()
    ));
    Ok(())
}

/// What `check` looks for to know a file of services.
const OWN_TABLE: &str = "[[host]]";

/// Looks at lines, for a file with a slip of the pen is no document.
pub(super) fn is_file_of_services(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.trim() == OWN_TABLE))
}

/// What is wrong with a file of services, or what it will do.
pub(super) fn check(path: &Path) -> Outcome {
    let file = settings::loaded(config::load_service(path))?;
    let mut text = format!("{} is good: {} services.\n", path.display(), file.hosts.len());
    for host in &file.hosts {
        let address = ServiceAddress(settings::service_secret(&host.key_file)?.public_key());
        let ports: Vec<String> = host.ports.iter().map(|at| format!("{} leads to {}", at.port, at.to)).collect();
        let who = match host.clients.len() {
            0 => "everybody who knows the address".to_owned(),
            count => format!("{count} clients"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:<9} {address}\n            {}; for {who}", host.name, ports.join(", "));
    }
    let _ = writeln!(text, "  asks      {}", file.directory.display());
    let (base, most) = (file.base_rate.bits_per_second() / 1_000, file.max_rate.bits_per_second() / 1_000);
    let _ = match file.shaping.mode {
        Mode::Off => writeln!(text, "  rate      mode off: nothing is hidden but the size of packets"),
        _ => writeln!(text, "  rate      {base} kbit/s always, and up to {most} kbit/s for each client that is there"),
    };
    terminal::say(&text);
    Ok(())
}
