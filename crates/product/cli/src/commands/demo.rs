//! `hushwire demo`: the whole at work on one machine.

mod circuits;
mod fetch;
mod meter;
mod pair;
mod place;
mod whole;

use crate::args::DemoArgs;
use crate::failure::Outcome;
use crate::settings;

/// Rate in each direction where two nodes have the machine to themselves, or a network whose relays need no clock.
const RATE: &str = "10 Mbit/s";
/// The same where some fifty processes share it.
const RATE_OF_WHOLE: &str = "4 Mbit/s";

pub(crate) fn run(args: &DemoArgs) -> Outcome {
    let is_whole = !args.pair && args.relays.is_none();
    let rate = args.rate.as_deref().unwrap_or(if is_whole { RATE_OF_WHOLE } else { RATE });
    let class = settings::rate(rate)?;
    match args.relays {
        Some(relays) => circuits::run(args, relays, class),
        None if args.pair => pair::run(args, rate, class),
        None => whole::run(args, rate),
    }
}
