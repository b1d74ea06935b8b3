//! `hushwire circuit`: the legs of an entry's tunnels, from the same answer as `hushwire status`.

use crate::args::circuit::{CircuitArgs, CircuitCommand, CircuitNode};
use crate::commands::status::{self, to_json};
use crate::failure::{Code, Failure, Outcome};
use crate::settings;
use crate::terminal;
use admin::render;
use admin::status::EntryTunnel;

pub(crate) fn run(args: &CircuitArgs) -> Outcome {
    let text = match &args.command {
        CircuitCommand::List(node) => {
            let tunnel = tunnel(node)?;
            if node.json { to_json(&tunnel)? } else { render::circuit_list(&tunnel) }
        }
        CircuitCommand::Show(show) => {
            let tunnel = tunnel(&show.node)?;
            let shown = render::circuit_show(&tunnel, show.leg);
            let legs: Vec<_> = tunnel.all().flat_map(|one| &one.legs).collect();
            let (leg, Some(text)) = (legs.get(show.leg), shown) else {
                let sentence = format!("there is no leg {}; there are {}", show.leg, legs.len());
                return Err(Failure::new(Code::Usage, sentence).remedy("`hushwire circuit list` shows them"));
            };
            if show.node.json { to_json(&leg)? } else { text }
        }
    };
    terminal::say(&text);
    Ok(())
}

fn tunnel(node: &CircuitNode) -> Result<EntryTunnel, Failure> {
    let socket = match &node.socket {
        Some(socket) => socket.clone(),
        None => settings::entry_of(&node.config)?.admin.socket,
    };
    let answer = status::runtime()?.block_on(admin::client::status(&socket));
    let answer = answer.map_err(|error| status::not_answered(&error))?;
    answer.circuits.ok_or_else(|| {
        Failure::new(
            Code::Unavailable,
            "this node has no tunnel over circuits, or its process has not said anything yet",
        )
        .remedy("`hushwire status` shows what it has")
    })
}
