//! Modes and settings as configuration files have them.

use crate::failure::{Code, Failure};
use crate::settings;
use config::{Config, Mode as NodeMode, Pacing, QUOTA_DOWN, QUOTA_UP, Role, default_classes};
use shaping::{DpParameters, RateClass, SlotLength, SteppedParameters};
use shaping_sim::{ConstantRate, Dp, Mode, Queue, Setup};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// W, for which the loss of mode `queue` is told; its file does not say.
const QUEUE_WINDOW: Duration = Duration::from_secs(5);

/// Both directions of a pair.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) mode: NodeMode,
    pub(super) up: Mode,
    pub(super) down: Mode,
    slot: SlotLength,
    lead: Duration,
    ring_bytes: u64,
    packet_bytes: usize,
    session_packet: usize,
}

impl Nodes {
    /// None without a file.
    pub(super) fn load(files: &[PathBuf]) -> Result<Option<Self>, Failure> {
        let configs = files.iter().map(|file| settings::load(file)).collect::<Result<Vec<_>, _>>()?;
        let named: Vec<(&Path, &Config)> = files.iter().map(PathBuf::as_path).zip(&configs).collect();
        let (entry, exit) = match named[..] {
            [] => return Ok(None),
            [one] if matches!(one.1.role, Role::Entry(_)) => (Some(one), None),
            [one] => (None, Some(one)),
            [one, two, ..] => match (&one.1.role, &two.1.role) {
                (Role::Entry(_), Role::Exit(_)) => (Some(one), Some(two)),
                (Role::Exit(_), Role::Entry(_)) => (Some(two), Some(one)),
                (Role::Entry(_), Role::Entry(_)) | (Role::Exit(_), Role::Exit(_)) => {
                    let role = one.1.role.name();
                    let sentence = format!("{} and {} are both of an {role}", files[0].display(), files[1].display());
                    return Err(Failure::new(Code::Usage, sentence).remedy("name one of an entry and one of an exit"));
                }
            },
        };
        if let (Some(entry), Some(exit)) = (entry, exit) {
            agree(entry, exit)?;
        }
        Self::of(entry.map(|(_, config)| config), exit.map(|(_, config)| config), files).map(Some)
    }

    /// Where one file is missing, the other node's settings are taken from the one that is there, but for the quota
    /// and the classes, which have the defaults of its role.
    fn of(entry: Option<&Config>, exit: Option<&Config>, files: &[PathBuf]) -> Result<Self, Failure> {
        let Some(first) = entry.or(exit) else {
            return Err(super::defect("a node without a file"));
        };
        let fastest = |config: Option<&Config>| match config.map(|config| &config.role) {
            Some(Role::Exit(exit)) => exit.max_rate,
            Some(Role::Entry(_)) | None => RateClass::FASTEST,
        };
        let [up, down] = match &first.role {
            Role::Entry(entry) => [entry.up, entry.down.min(fastest(exit))],
            Role::Exit(exit) => [exit.max_rate; 2],
        };
        let packet = first.network.packet_size;
        let lines = [
            Line { own: up, other: down, config: entry, quota: QUOTA_UP },
            Line { own: down, other: up, config: exit, quota: QUOTA_DOWN },
        ];
        let mode = |line: &Line<'_>| {
            line.mode(first, packet.session_packet()).map_err(|error| {
                let named = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ");
                Failure::new(Code::Configuration, format!("{named}: mode {}: {error}", first.shaping.mode.name()))
                    .remedy("give the files of both nodes, or see `hushwire check`")
            })
        };
        Ok(Self {
            mode: first.shaping.mode,
            up: mode(&lines[0])?,
            down: mode(&lines[1])?,
            slot: first.shaping.slot,
            lead: first.shaping.lead,
            ring_bytes: first.queues.queue_size.0,
            packet_bytes: packet.packet(),
            session_packet: packet.session_packet(),
        })
    }

    pub(super) fn adapt(&self, setup: &mut Setup) {
        setup.slot = self.slot;
        setup.lead = self.lead;
        setup.ring_bytes = self.ring_bytes;
        setup.packet_bytes = self.packet_bytes;
        setup.session_packet = self.session_packet;
        setup.turn_bytes = self.session_packet as u64;
    }
}

/// One direction.
struct Line<'a> {
    own: RateClass,
    other: RateClass,
    /// Of the node that sends, if there is one.
    config: Option<&'a Config>,
    /// Bytes of a client in an epoch where there is none.
    quota: u64,
}

impl Line<'_> {
    /// As the node itself makes it for a link of these classes.
    fn mode(&self, given: &Config, session_packet: usize) -> Result<Mode, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        match &self.config.unwrap_or(given).shaping.pacing {
            Pacing::Fixed if given.shaping.mode == NodeMode::Off => Ok(Mode::Off),
            Pacing::Fixed => Ok(Mode::Constant(ConstantRate::Class(self.own))),
            Pacing::Stepped(parameters) => {
                let mut classes = match self.config {
                    Some(_) => parameters.classes().to_vec(),
                    None => default_classes(self.own),
                };
                classes.retain(|class| *class <= self.own);
                let initial = classes.iter().copied().max().unwrap_or(RateClass::SLOWEST);
                SteppedParameters::new(&classes, initial).map(Mode::Stepped).map_err(|error| text(&error))
            }
            Pacing::Dp(dp) => {
                let quota = if self.config.is_some() { dp.settings.delta_bytes } else { self.quota };
                let settings = dp.for_direction(self.own, self.other, quota, session_packet);
                let settings = settings.ok_or("no amount of noise keeps the promise")?;
                let parameters = DpParameters::new(settings).map_err(|error| text(&error))?;
                Ok(Mode::Dp(Dp { parameters, estimate_bytes: None }))
            }
            Pacing::Queue(parameters) => {
                Ok(Mode::Queue(Queue { settings: *parameters.settings(), window: QUEUE_WINDOW }))
            }
        }
    }
}

/// What two nodes must have in common.
fn agree(entry: (&Path, &Config), exit: (&Path, &Config)) -> Result<(), Failure> {
    let of = |config: &Config| {
        let shaping = &config.shaping;
        [
            ("shaping.mode", shaping.mode.name().to_owned()),
            ("shaping.slot_ms", shaping.slot.as_millis().to_string()),
            ("network.packet_size", config.network.packet_size.packet().to_string()),
        ]
    };
    for ((key, one), (_, two)) in of(entry.1).into_iter().zip(of(exit.1)) {
        if one != two {
            let (entry, exit) = (entry.0.display(), exit.0.display());
            return Err(Failure::new(Code::Configuration, format!("`{key}` is {one} in {entry} and {two} in {exit}"))
                .remedy("write the same into both, as nodes of one pair need it"));
        }
    }
    Ok(())
}
