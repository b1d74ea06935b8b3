//! `hushwire hop client|server|plan|key`: port hopping before any UDP program.

mod options;
mod plan;
mod status;

use crate::args::hop::HopCommand;
use crate::commands::hop::options::Telling;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::stop::StopSignals;
use crate::logging;
use crate::settings;
use crate::terminal;
use config::{Log, LogFormat, LogLevel};
use hop_proxy::{Client, Handle, Server, StartError, Warning};
use std::io;
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(command: HopCommand) -> Outcome {
    match command {
        HopCommand::Client(args) => {
            logging::start(&Log { level: LogLevel::Info, format: LogFormat::Text });
            let (settings, telling) = options::client(args)?;
            warn(&Warning::of_client(&settings));
            let client = Client::new(settings).map_err(|error| start(&error))?;
            for address in client.local_addresses() {
                tracing::info!(%address, "programs may send here");
            }
            let handle = client.handle();
            serve(&handle, telling, true, || client.run())
        }
        HopCommand::Server(args) => {
            logging::start(&Log { level: LogLevel::Info, format: LogFormat::Text });
            let (settings, telling) = options::server(args)?;
            warn(&Warning::of_server(&settings));
            let server = Server::new(settings).map_err(|error| start(&error))?;
            tracing::info!(ports = server.local_addresses().len(), "hearing clients");
            let handle = server.handle();
            serve(&handle, telling, false, || server.run())
        }
        HopCommand::Status(args) => status::run(&args),
        HopCommand::Plan(args) => plan::run(&args),
        HopCommand::Key { file } => make_key(&file),
    }
}

fn warn(warnings: &[Warning]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Runs the loop in this thread, and what asks it to end or to tell its counters beside it.
fn serve(handle: &Handle, telling: Telling, client: bool, run: impl FnOnce() -> io::Result<()>) -> Outcome {
    let Telling { counters, socket } = telling;
    let socket = socket.map(|path| status::open(&path)).transpose()?;
    let (aside, asked) = (handle.clone(), handle.clone());
    let runtime = runtime()?;
    let mut signals = {
        let _inside = runtime.enter();
        StopSignals::new()?
    };
    let waiting = std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let every = counters.unwrap_or(Duration::MAX / 2);
            let telling = async {
                match &socket {
                    Some(socket) => socket.serve(move |request| status::answer(request, &asked, client)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(telling);
            let mut tells = true;
            loop {
                tokio::select! {
                    () = signals.wait() => break,
                    () = &mut telling, if tells => tells = false,
                    () = tokio::time::sleep(every) => tracing::info!("{}", aside.counters()),
                }
            }
        });
        // Its file goes before the loop ends, and the process with it.
        drop(socket);
        aside.stop();
    });
    waiting.map_err(|error| Failure::new(Code::System, format!("no thread for signals: {error}")))?;
    run().map_err(|error| Failure::new(Code::System, format!("waiting for packets failed: {error}")))?;
    tracing::info!("{}", handle.counters());
    Ok(())
}

fn start(error: &StartError) -> Failure {
    let code = match error {
        StartError::Listen { source, .. } | StartError::NoPort { source, .. } | StartError::System(source)
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Code::Permission
        }
        StartError::Empty => Code::Usage,
        _ => Code::System,
    };
    let remedy = match error {
        StartError::Listen { .. } => "choose another --listen, or end the program that has it (`ss -ulpn`)",
        StartError::NoPort { .. } => "choose other --ports, or end the programs that have them (`ss -ulpn`)",
        StartError::Empty => "give --listen and --server, or --ports and --to",
        StartError::System(_) => "look at the limits of this process (`ulimit -a`)",
    };
    Failure::new(code, error.to_string()).remedy(remedy)
}

fn make_key(file: &Path) -> Outcome {
    let key = settings::new_hop_key()?;
    let text = key.reveal();
    config::create_secret_file(file, &format!("{}\n", text.as_str())).map_err(|error| settings::secret(&error))?;
    terminal::complain(&format!("Wrote {}. Copy it to the other end; nobody else may have it.\n", file.display()));
    Ok(())
}
