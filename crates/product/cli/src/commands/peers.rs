//! `hushwire peers`.

use crate::args::PeersArgs;
use crate::commands::status::to_json;
use crate::commands::whole;
use crate::failure::Outcome;
use crate::terminal;
use admin::peers::Peers;

pub(crate) fn run(args: &PeersArgs) -> Outcome {
    let peers = Peers::of(&whole::ask(&args.config)?);
    terminal::say(&if args.json { to_json(&peers)? } else { peers.screen() });
    Ok(())
}
