//! From options, or the `[dp]` tables of files, to a request.

use crate::args::{PlanArgs, PlanTraffic, StatisticArg};
use crate::failure::{Code, Failure};
use crate::settings;
use config::{Config, Dp, Pacing, Role};
use shaping::{DpSettings, RateClass, SlotLength};
use shaping_plan::{Directions, Goal, LatencyTarget, Request, Statistic, Traffic, quota_for_speed};
use std::path::Path;
use std::time::Duration;
use wire::packet::PacketSize;

/// Units of a size, decimal as contracts count, and binary ones.
const SIZE_UNITS: &[(&str, f64)] = &[
    ("b", 1.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
];
/// Units of a time, in milliseconds.
const TIME_UNITS: &[(&str, f64)] = &[("ms", 1.0), ("s", 1e3), ("min", 60e3), ("h", 3_600e3)];
/// Units of a speed, in bits per second.
const SPEED_UNITS: &[(&str, f64)] = &[("bit/s", 1.0), ("kbit/s", 1e3), ("mbit/s", 1e6), ("gbit/s", 1e9)];

/// `2.5MB`, `256 KB`, `500GB`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    scaled(text, SIZE_UNITS)
        .ok_or_else(|| "a size is a number with B, KB, MB, GB, TB, KiB, MiB or GiB: 2.5MB".to_owned())
}

/// `500GB`, or the rate of a class, `10 Mbit/s`: what it costs in 30 days.
pub(crate) fn budget(text: &str) -> Result<u64, String> {
    let packet = PacketSize::DEFAULT;
    let class = scaled(text, SPEED_UNITS).and_then(|rate| RateClass::at_least(rate).ok());
    let of_class = class.map(|class| class.wire_bytes_per_month(packet.session_packet(), packet.packet()));
    let wrong = "a budget is a size such as 500GB, or a rate such as '10 Mbit/s'";
    scaled(text, SIZE_UNITS).or(of_class).ok_or_else(|| wrong.to_owned())
}

/// `5s`, `300ms`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let milliseconds = scaled(text, TIME_UNITS);
    milliseconds.map(Duration::from_millis).ok_or_else(|| "a time is a number with ms, s, min or h: 300ms".to_owned())
}

/// `4 Mbit/s`.
pub(crate) fn speed(text: &str) -> Result<u64, String> {
    scaled(text, SPEED_UNITS).ok_or_else(|| "a speed is a number with kbit/s, Mbit/s or Gbit/s: '4 Mbit/s'".to_owned())
}

/// A number and its unit, in whole base units.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let number: f64 = text[..split].parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| *name == text[split..].trim_start())?;
    let scaled = (number * factor).round();
    // Beyond this a float does not hold every whole number.
    (scaled <= 9e15).then_some(scaled as u64)
}

/// What is asked for.
pub(crate) fn request(args: &PlanArgs) -> Result<Request, Failure> {
    let traffic = match args.traffic {
        PlanTraffic::Video => Traffic::Video,
        PlanTraffic::Web => Traffic::Web,
    };
    let epsilon = args.epsilon.unwrap_or(1.0);
    let goal = match (args.budget, args.latency) {
        (Some(bytes_per_month), _) => Goal::Budget { bytes_per_month },
        (None, Some(at_most)) => {
            let statistic = match args.latency_of {
                StatisticArg::Mean => Statistic::Mean,
                StatisticArg::P95 => Statistic::P95,
            };
            Goal::Latency { epsilon, target: LatencyTarget { statistic, at_most } }
        }
        (None, None) => Goal::Privacy { epsilon },
    };
    let usual = Request::new(args.clients, traffic, goal);
    let epoch = args.epoch.unwrap_or(usual.epoch);
    let quota = |bytes: Option<u64>, speed: Option<u64>, usual: u64| {
        bytes.or_else(|| speed.map(|speed| quota_for_speed(speed, epoch))).unwrap_or(usual)
    };
    let request = Request {
        delta_bytes: Directions {
            up: quota(args.delta_up, args.speed_up, usual.delta_bytes.up),
            down: quota(args.delta_down, args.speed_down, usual.delta_bytes.down),
        },
        epoch,
        delta: args.delta.unwrap_or(usual.delta),
        busy_hours: args.busy_hours,
        round_trip: args.round_trip,
        slot: slot(args.slot_ms)?,
        seed: args.seed,
        ..usual
    };
    let start = (request, Directions::default());
    let mut files = args.config.iter().enumerate();
    let (request, fastest) = files.try_fold(start, |state, (number, file)| with_file(state, file, number > 0))?;
    Ok(Request { given: slower(request.given, fastest), ..request })
}

/// The fastest classes that files allow a direction.
type Fastest = Directions<Option<RateClass>>;

/// A link is as fast as both of its ends allow.
fn slower(given: Directions<Option<DpSettings>>, fastest: Fastest) -> Directions<Option<DpSettings>> {
    let limit = |settings: Option<DpSettings>, fastest: Option<RateClass>| {
        settings.map(|settings| {
            let at_most = |class: RateClass| fastest.map_or(class, |fastest| class.min(fastest));
            let (floor, initial) = (at_most(settings.floor), at_most(settings.initial));
            DpSettings { floor, initial, ceiling: at_most(settings.ceiling), ..settings }
        })
    };
    Directions { up: limit(given.up, fastest.up), down: limit(given.down, fastest.down) }
}

/// Takes over the `[dp]` table of a file. A further one has to go with the first.
fn with_file(
    (mut request, mut fastest): (Request, Fastest),
    file: &Path,
    is_further: bool,
) -> Result<(Request, Fastest), Failure> {
    let config = settings::load(file)?;
    let Some(dp) = table(&config) else {
        return Err(Failure::new(
            Code::Configuration,
            format!("{} is in mode {}, not dp", file.display(), config.shaping.mode.name()),
        )
        .remedy("set shaping.mode = \"dp\" in it, or give its figures as options"));
    };
    let epoch = Duration::from_secs(dp.settings.epoch_s.into());
    let goal = Goal::Privacy { epsilon: dp.epsilon.value() };
    let same = request.goal == goal && request.epoch == epoch && request.delta.to_bits() == dp.delta.value().to_bits();
    if is_further && !same {
        let sentence = format!("{} has another epsilon, delta or epoch than the file before it", file.display());
        return Err(Failure::new(Code::Configuration, sentence).remedy("make the two nodes' [dp] tables alike"));
    }
    (request.goal, request.epoch, request.delta) = (goal, epoch, dp.delta.value());
    request.slot = config.shaping.slot;
    match &config.role {
        Role::Entry(entry) => {
            fastest.down = Some(entry.down);
            request.delta_bytes.up = dp.settings.delta_bytes;
            request.given.up = Some(dp.settings);
        }
        Role::Exit(exit) => {
            fastest.up = Some(exit.max_rate);
            request.delta_bytes.down = dp.settings.delta_bytes;
            request.given.down = Some(dp.settings);
        }
    }
    Ok((request, fastest))
}

fn table(config: &Config) -> Option<&Dp> {
    match &config.shaping.pacing {
        Pacing::Dp(dp) => Some(dp),
        Pacing::Fixed | Pacing::Stepped(_) | Pacing::Queue(_) => None,
    }
}

fn slot(milliseconds: u32) -> Result<SlotLength, Failure> {
    SlotLength::from_millis(milliseconds).map_err(|error| Failure::from_error(Code::Usage, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them() {
        assert_eq!(size("2.5MB"), Ok(2_500_000));
        assert_eq!(size("256 KB"), Ok(256_000));
        assert_eq!(size("256KiB"), Ok(262_144));
        assert_eq!([size("500GB"), budget("500GB")], [Ok(500_000_000_000), Ok(500_000_000_000)]);
        assert_eq!(budget("256 kbit/s"), Ok(91_632_078_559), "as `init` says");
        assert!(budget("3 Gbit/s").is_err() && budget("10").is_err());
        assert_eq!(time("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(time("0.3 s"), Ok(Duration::from_millis(300)));
        assert_eq!(speed("4 Mbit/s"), Ok(4_000_000));
        for wrong in ["", "5", "MB", "-1 MB", "5 parsecs", "1e99 GB", "99999999999999 GB", "1.2.3 MB", "."] {
            assert!(size(wrong).is_err() && time(wrong).is_err() && speed(wrong).is_err(), "{wrong}");
        }
    }
}
