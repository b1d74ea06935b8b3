//! `hushwire node`: several roles as one node, each a program of its own; `hushwire reload` and `drain`, which ask it.

mod control;
mod plan;

pub(crate) use control::{drain, reload, status};

use crate::args::node::NodeRunArgs;
use crate::commands::status::runtime;
use crate::failure::{Code, Failure, Outcome};
use crate::local::stop::{StopSignals, input_end};
use crate::logging;
use crate::settings;
use admin::parts::{Action, PARTS_SCHEMA_VERSION, PartsAnswer, PartsRequest, PartsStatus, Step};
use admin::protocol::{Request, Response};
use admin::server::Server;
use admin::status::SCHEMA_VERSION;
use config::{NodeFile, NodePart};
use node::Parts;
use plan::{Beginning, part_plan, steps};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the node.
const REQUESTS_MAX: usize = 16;

type Asked = (PartsRequest, oneshot::Sender<PartsAnswer>);

/// A node that runs.
struct Running {
    path: PathBuf,
    file: NodeFile,
    parts: Parts,
}

pub(crate) fn run(args: &NodeRunArgs) -> Outcome {
    let file = settings::loaded(config::load_node(&args.file))?;
    logging::start(&file.log);
    let beginning = Beginning { found: args.found, join: args.join };
    runtime()?.block_on(serve(args, file, beginning))
}

async fn serve(args: &NodeRunArgs, file: NodeFile, beginning: Beginning) -> Outcome {
    let admin = Server::bind(&file.admin_socket).map_err(|error| super::run::admin_socket(&error))?;
    let mut signals = StopSignals::without_hangup()?;
    let mut hangup =
        signal(SignalKind::hangup()).map_err(|error| Failure::new(Code::System, format!("no signals: {error}")))?;
    let mut let_go = input_end(args.leash);
    let (requests, mut received) = mpsc::channel::<Asked>(REQUESTS_MAX);
    let serving =
        tokio::spawn(async move { admin.serve_later(move |request| answer(request, requests.clone())).await });
    let mut node = Running { path: args.file.clone(), file, parts: Parts::default() };
    for part in node.file.parts().collect::<Vec<_>>() {
        node.start(part, beginning).await;
    }
    loop {
        tokio::select! {
            () = signals.wait() => break,
            Ok(()) = &mut let_go, if args.leash => break,
            _ = hangup.recv() => match node.reload(false).await {
                Ok(steps) => tracing::info!("the file is read again:\n{}", admin::parts::plan_screen(&steps)),
                Err(failure) => tracing::error!("the file is not taken: {}", failure.sentence()),
            },
            Some((request, answer)) = received.recv() => {
                let (said, is_over) = node.handle(request).await;
                // Who asked may have gone.
                let _ = answer.send(said);
                if is_over {
                    break;
                }
            }
        }
    }
    tracing::info!("ending; a second signal does not wait");
    let hurry = async {
        // Whoever held the other end of the input is gone: nobody is to wait.
        if let_go.is_terminated() {
            return;
        }
        tokio::select! {
            () = signals.wait() => {}
            Ok(()) = &mut let_go, if args.leash => {}
        }
    };
    node.parts.stop_all(hurry).await;
    serving.abort();
    Ok(())
}

impl Running {
    async fn start(&mut self, part: NodePart, beginning: Beginning) {
        self.parts.start(part_plan(&self.path, &self.file, part, beginning)).await;
    }

    async fn handle(&mut self, request: PartsRequest) -> (PartsAnswer, bool) {
        match request {
            PartsRequest::Status => (PartsAnswer::Status { status: self.status() }, false),
            PartsRequest::Reload { plan_only } => match self.reload(plan_only).await {
                Ok(steps) => (PartsAnswer::Plan { steps }, false),
                Err(failure) => (PartsAnswer::Refused { reason: failure.sentence().to_owned() }, false),
            },
            PartsRequest::Drain => (PartsAnswer::Draining, true),
        }
    }

    fn status(&self) -> PartsStatus {
        PartsStatus {
            schema: PARTS_SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            parts: self.parts.status(),
        }
    }

    /// Reads the file again, and does what has changed. Nothing is done if it cannot be used.
    async fn reload(&mut self, plan_only: bool) -> Result<Vec<Step>, Failure> {
        let file = settings::loaded(config::load_node(&self.path))?;
        let steps = steps(&self.file, &file);
        if plan_only {
            return Ok(steps);
        }
        self.file = file;
        for step in &steps {
            let Some(part) = NodePart::named(&step.part) else { continue };
            match step.action {
                // It looks at the files by itself, this one included.
                Action::Keep | Action::Live => {}
                Action::Stop => self.parts.stop(&step.part).await,
                Action::Start | Action::Drain | Action::Restart => self.start(part, Beginning::default()).await,
            }
        }
        Ok(steps)
    }
}

async fn answer(request: Request, requests: mpsc::Sender<Asked>) -> Response {
    let refused = |reason: &str| Response::Refused { reason: reason.to_owned() };
    let request = match request {
        Request::Parts(request) => request,
        Request::Stop => PartsRequest::Drain,
        Request::Version => {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            return Response::Version { version, status_schema: SCHEMA_VERSION };
        }
        Request::Status | Request::HopStatus | Request::Cluster(_) | Request::Mirror | Request::Relay => {
            return refused("this is a node of several parts; each part has an admin socket of its own");
        }
    };
    let (sender, receiver) = oneshot::channel();
    if requests.send((request, sender)).await.is_err() {
        return refused("the node is ending");
    }
    match receiver.await {
        Ok(PartsAnswer::Draining) => Response::Stopping,
        Ok(answer) => Response::Parts { answer },
        Err(_) => refused("the node is ending"),
    }
}
