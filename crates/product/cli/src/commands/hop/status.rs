//! `hushwire hop status`, and the side that answers it.

use crate::args::hop::HopStatusArgs;
use crate::commands::status::{not_answered, runtime};
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use admin::hop_proxy::{HOP_SCHEMA_VERSION, HeldPlace, HopFlow, HopStatus};
use admin::protocol::{Request, Response};
use admin::server::{BindError, Server};
use admin::status::SCHEMA_VERSION;
use hop_proxy::{FlowStatus, Handle, Status};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long the loop may take to say what it does; a turn takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &HopStatusArgs) -> Outcome {
    let asked = runtime()?.block_on(admin::client::hop_status(&args.socket));
    let status = asked.map_err(|error| {
        not_answered(&error).remedy("give what the client or server was given as --socket, while it runs, as its user")
    })?;
    let text = if args.json {
        let text = serde_json::to_string_pretty(&status);
        text.map_err(|error| Failure::new(Code::Software, format!("the status cannot be written as JSON: {error}")))?
            + "\n"
    } else {
        admin::hop_proxy::screen(&status)
    };
    terminal::say(&text);
    Ok(())
}

/// Opens the socket of an end.
pub(crate) fn open(path: &Path) -> Result<Server, Failure> {
    Server::bind(path).map_err(|error| {
        let code = match &error {
            BindError::InUse(_) | BindError::NotASocket(_) => Code::CannotCreate,
            BindError::System { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Code::Permission
            }
            BindError::System { .. } => Code::System,
        };
        Failure::from_error(code, &error).remedy("choose another --socket, in a folder that exists")
    })
}

/// Answers one request. Waits for the loop, which is another thread's.
pub(crate) fn answer(request: Request, handle: &Handle, client: bool) -> Response {
    match request {
        Request::HopStatus => match handle.status(PATIENCE) {
            Some(status) => Response::HopStatus { status: Box::new(shown(status, client)) },
            None => Response::Refused { reason: "the loop does not answer".to_owned() },
        },
        Request::Stop => {
            handle.stop();
            Response::Stopping
        }
        Request::Version => {
            Response::Version { version: env!("CARGO_PKG_VERSION").to_owned(), status_schema: SCHEMA_VERSION }
        }
        Request::Status | Request::Cluster(_) | Request::Parts(_) | Request::Mirror | Request::Relay => {
            Response::Refused { reason: "this is a hop proxy, not a node".to_owned() }
        }
    }
}

fn shown(status: Status, client: bool) -> HopStatus {
    let held =
        |(place, left): (SocketAddr, Duration)| HeldPlace { place: place.to_string(), seconds_left: left.as_secs() };
    HopStatus {
        schema: HOP_SCHEMA_VERSION,
        client,
        flows_total: status.counters.flows,
        flows: status.flows.into_iter().map(flow).collect(),
        listening: status.listening.iter().map(SocketAddr::to_string).collect(),
        blocked: status.blocked.into_iter().map(held).collect(),
        counters: status.counters.to_string(),
    }
}

fn flow(flow: FlowStatus) -> HopFlow {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let place = |place: Option<SocketAddr>| place.map(|place| place.to_string());
    HopFlow {
        of: place(flow.of),
        local: place(flow.local),
        remote: place(flow.remote),
        age_ms: milliseconds(flow.age),
        bytes: flow.bytes,
        idle_ms: milliseconds(flow.idle),
        hops: flow.hops,
        causes: flow.causes.iter().map(ToString::to_string).collect(),
    }
}
