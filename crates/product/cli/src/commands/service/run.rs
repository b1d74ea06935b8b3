//! `hushwire service run`: the node that services are reached at.

use super::publish;
use crate::args::NodeArgs;
use crate::commands::run::{admin_socket, answer, end_with_input, node_failed, observe};
use crate::failure::Outcome;
use crate::logging;
use crate::plan::service_node;
use crate::report::Reporter;
use crate::settings;
use admin::server::Server;
use node::Beside;
use std::sync::Arc;

pub(super) fn run(args: &NodeArgs) -> Outcome {
    let file = settings::loaded(config::load_service(&args.config))?;
    let files = service_node::files(&file)?;
    let (handle, asks) = node::asks();
    let mut plan = service_node::node_plan(&file, &files, handle)?;
    logging::pass_on(&file.log, &mut plan.launch.environment);
    logging::start(&file.log);
    let server = Server::bind(&file.admin.socket).map_err(|error| admin_socket(&error))?;
    let charter = files.document.charter();
    let reporter = Arc::new(Reporter::of_services(&file, charter.packet_size()));
    let (network, leash) = (charter.network_id(), args.leash);
    node::run_node(plan, |beside| async move {
        let Beside { status: source, stop, orders } = beside;
        if leash {
            end_with_input(stop.clone());
        }
        let published = publish::run(network, &file.directory, files.secrets, asks, orders);
        let observed = observe(Arc::clone(&reporter), source.clone(), None);
        let served = server.serve(move |request| answer(request, &reporter, &source, &stop));
        // None returns while the node runs.
        tokio::join!(published, observed, served);
    })
    .map_err(|error| node_failed(&error))
}
