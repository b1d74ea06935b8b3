//! `hushwire entry`, `hushwire exit` and the hidden `hushwire process`.

use crate::args::{NodeArgs, ProcessArgs, RoleArg};
use crate::budget::{Budget, Payer, Shared};
use crate::clock;
use crate::commands::network;
use crate::failure::{Code, Failure, Outcome};
use crate::logging;
use crate::plan::node_plan;
use crate::report::Reporter;
use crate::roles::ROLES;
use crate::settings;
use admin::protocol::{Request, Response};
use admin::server::{BindError, Server};
use admin::status::SCHEMA_VERSION;
use config::{Config, Role};
use node::{Beside, NodeError, StatusSource, StopHandle};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn entry(args: &NodeArgs) -> Outcome {
    run(args, RoleArg::Entry)
}

pub(crate) fn exit(args: &NodeArgs) -> Outcome {
    run(args, RoleArg::Exit)
}

/// One process of a node. Its exit codes are for its supervisor.
pub(crate) fn process(args: &ProcessArgs) -> ExitCode {
    logging::start_process();
    node::process_main(&args.role, ROLES)
}

/// The document of a node over circuits.
fn document(config: &Config) -> Option<&Path> {
    match &config.role {
        Role::Entry(entry) => entry.network.as_ref().map(|network| network.file.as_path()),
        Role::Exit(exit) => exit.network.as_ref().map(|network| network.file.as_path()),
    }
}

fn run(args: &NodeArgs, role: RoleArg) -> Outcome {
    let mut config = load(args, role)?;
    let mut plan = node_plan(&config)?;
    let mut warning = None;
    if let Some(document) = document(&config) {
        let document = network::document(document)?;
        // The network says it, not the file.
        config.network.packet_size = document.charter().packet_size();
        warning = clock::against_document(&document, settings::now_ms()?);
    }
    logging::pass_on(&config.log, &mut plan.launch.environment);
    logging::start(&config.log);
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let server = Server::bind(&config.admin.socket).map_err(|error| admin_socket(&error))?;
    let spent = Shared::default();
    let node_id = settings::keys(&config.key_file)?.node_secret.node_id().0;
    let budget = Budget::open(&config, node_id, spent.clone())?;
    let reporter = Reporter::new(&config, spent);
    let leash = args.leash;
    node::run_node(plan, |beside| async move {
        let started = budget.map(|budget| budget.start(beside.clone())).transpose();
        let payer = started.unwrap_or_else(|error| {
            tracing::error!(%error, "no thread for the budget: nothing is released, the rate is constant");
            None
        });
        let Beside { status: source, stop, orders: _ } = beside;
        if leash {
            end_with_input(stop.clone());
        }
        let reporter = Arc::new(reporter);
        let observed = observe(Arc::clone(&reporter), source.clone(), payer);
        let served = server.serve(move |request| answer(request, &reporter, &source, &stop));
        // Neither returns while the node runs.
        tokio::join!(observed, served);
    })
    .map_err(|error| node_failed(&error))
}

pub(super) fn answer(request: Request, reporter: &Reporter, source: &StatusSource, stop: &StopHandle) -> Response {
    match request {
        Request::Status => Response::Status { status: Box::new(reporter.status(&source.snapshot())) },
        Request::HopStatus => Response::Refused { reason: "this is a node, not a hop proxy".to_owned() },
        Request::Parts(_) => Response::Refused { reason: "this is a part, not a node of several parts".to_owned() },
        Request::Mirror | Request::Relay => {
            Response::Refused { reason: "this is a node of a link; ask its `status`".to_owned() }
        }
        Request::Cluster(_) => Response::Refused { reason: "this is a node of a link, not of a cluster".to_owned() },
        Request::Stop => {
            stop.stop();
            Response::Stopping
        }
        Request::Version => {
            Response::Version { version: env!("CARGO_PKG_VERSION").to_owned(), status_schema: SCHEMA_VERSION }
        }
    }
}

/// Looks at the node every second, whether somebody asks or not.
pub(super) async fn observe(reporter: Arc<Reporter>, source: StatusSource, payer: Option<Payer>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        every.tick().await;
        let node = source.snapshot();
        let session_is_up = reporter.observe(&node);
        if let Some(payer) = &payer {
            payer.look(session_is_up && !node.stopping);
        }
    }
}

/// Ends the node, at once, when standard input ends: whoever holds the other end of that pipe is gone.
pub(super) fn end_with_input(stop: StopHandle) {
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        // An input that cannot be read is one that has ended.
        let _ = std::io::copy(&mut input, &mut std::io::sink());
        stop.stop();
        stop.stop();
    });
}

pub(super) fn admin_socket(error: &BindError) -> Failure {
    match error {
        BindError::InUse(_) => Failure::from_error(Code::System, error)
            .remedy("ask it with `hushwire status`, or set admin.socket in one of the two files"),
        BindError::NotASocket(_) => Failure::from_error(Code::CannotCreate, error).remedy("set admin.socket"),
        BindError::System { source, .. } => {
            Failure::io("cannot open the admin socket", source).remedy("set admin.socket")
        }
    }
}

/// The node's errors say themselves what to do, behind a semicolon.
pub(super) fn node_failed(error: &NodeError) -> Failure {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((sentence, remedy)) => Failure::new(Code::System, sentence).remedy(remedy),
        None => Failure::new(Code::System, text),
    }
}

/// The configuration, if it is one of this role.
fn load(args: &NodeArgs, wanted: RoleArg) -> Result<Config, Failure> {
    let config = settings::load(&args.config)?;
    let found = match config.role {
        Role::Entry(_) => RoleArg::Entry,
        Role::Exit(_) => RoleArg::Exit,
    };
    if found == wanted {
        return Ok(config);
    }
    let (file, found, wanted) = (args.config.display(), found.name(), wanted.name());
    Err(Failure::new(Code::Configuration, format!("{file} is the configuration of an {found}, not of an {wanted}"))
        .remedy(format!("run `hushwire {found} -c {file}`, or name the file of the {wanted}")))
}
