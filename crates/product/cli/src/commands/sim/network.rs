//! `hushwire sim network`: a day of a whole network.

use crate::args::SimNetworkArgs;
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use network_sim::{RunError, Settings};

pub(super) fn run(args: &SimNetworkArgs) -> Outcome {
    let report = network_sim::run(&settings(args)).map_err(|error| match error {
        RunError::Settings(problem) => Failure::new(Code::Data, problem.to_string())
            .remedy("see `hushwire sim network --help` for what may be said"),
        defect => super::defect(defect),
    })?;
    let text = if args.json {
        let json =
            serde_json::to_string_pretty(&report).map_err(|error| Failure::from_error(Code::Software, &error))?;
        json + "\n"
    } else {
        report.table()
    };
    terminal::say(&text);
    if report.checks.hold() { Ok(()) } else { Err(super::defect("something that must be so is not so")) }
}

fn settings(args: &SimNetworkArgs) -> Settings {
    Settings {
        relays: args.relays,
        clients: args.clients,
        hours: args.hours,
        members: args.members,
        seed: args.seed,
        hostile: args.hostile.iter().map(|per_cent| per_cent / 100.0).collect(),
        churn: args.churn,
        traffic: args.traffic,
        spread_s: args.spread,
    }
}
