//! The whole network at one moment, and what has been counted so far.

mod clients;
mod flows;
mod relays;
mod tunnels;

use crate::calendar::{Calendar, Event};
use crate::editions::{Editions, Issue};
use crate::members::Members;
use crate::population::{self, Relay};
use crate::run::RunError;
use crate::settings::Settings;
use crate::sharing::{Sharing, Way};
use crate::tally::Tally;
use crate::{AWAY_S, BEGIN_UNIX_S, DAY_S, INTERVAL_S, WARM_UP_S};
use clients::Client;
pub(crate) use flows::Flow;
use identity::NodeId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use relays::RelayState;
use shaping_sim::Draws;
use std::collections::BTreeMap;
use std::sync::Arc;
use tunnels::Tunnels;

/// All of it.
pub(crate) struct World<'a> {
    settings: &'a Settings,
    relays: Vec<Relay>,
    numbers: BTreeMap<NodeId, u32>,
    states: Vec<RelayState>,
    /// Application bytes that each relay forwards in a second now; 0 while it is down.
    capacities: Vec<f64>,
    members: Members,
    editions: Editions,
    /// The edition of a month ago.
    old: Option<Arc<Issue>>,
    clients: Vec<Client>,
    tunnels: Tunnels,
    /// Tunnels with flows.
    active: Vec<u32>,
    calendar: Calendar,
    now_s: u32,
    /// When relays, members and clients come and go.
    comings: Draws,
    /// What applications do.
    traffic: Draws,
    /// Chance inside the cores.
    rng: ChaCha8Rng,
    sharing: Sharing,
    demands: Vec<f64>,
    ways: Vec<Way>,
    pub(crate) tally: Tally,
}

impl<'a> World<'a> {
    /// With the edition of a month ago, and every relay announced anew as the warm-up begins.
    pub(crate) fn new(settings: &'a Settings) -> Result<Self, RunError> {
        let relays = population::relays(settings)?;
        let start_ms = (BEGIN_UNIX_S - AWAY_S) * 1_000;
        let mut members = Members::new(settings.members, start_ms, settings.seed)?;
        for relay in relays.iter().filter(|relay| relay.admitted_s == 0) {
            members.admit(relay)?;
        }
        let mut editions = Editions::new(members.network());
        let mut world = Self {
            numbers: relays.iter().zip(0..).map(|(relay, number)| (relay.node_id, number)).collect(),
            states: relays.iter().map(RelayState::new).collect(),
            capacities: relays.iter().map(Relay::bytes_per_second).collect(),
            old: {
                announce(&mut members, &relays, start_ms + 60_000)?;
                let edge_ms = start_ms + u64::from(INTERVAL_S) * 1_000;
                publish(&mut members, edge_ms)?;
                editions.take(&mut members, edge_ms, &relays, settings.hostile.len())?;
                editions.newest().cloned()
            },
            clients: Vec::new(),
            tunnels: Tunnels::default(),
            active: Vec::new(),
            calendar: Calendar::new(settings.end_s()),
            now_s: 0,
            comings: Draws::new(settings.seed, 3),
            traffic: Draws::new(settings.seed, 4),
            rng: ChaCha8Rng::seed_from_u64(settings.seed),
            sharing: Sharing::default(),
            demands: Vec::new(),
            ways: Vec::new(),
            tally: Tally::new(settings, relays.len()),
            editions: Editions::new(members.network()),
            settings,
            members,
            relays,
        };
        // A month later nobody's announcement holds any more: one edition without relays, which no client sees.
        let now_ms = world.now_ms();
        publish(&mut world.members, now_ms)?;
        announce(&mut world.members, &world.relays, now_ms)?;
        world.write_down();
        Ok(world)
    }

    /// What is certain to happen.
    fn write_down(&mut self) {
        for edge_s in (INTERVAL_S..self.settings.end_s()).step_by(INTERVAL_S as usize) {
            self.calendar.add(edge_s + 1, Event::Interval);
        }
        for minute_s in (31..self.settings.end_s()).step_by(60) {
            self.calendar.add(minute_s, Event::Tick);
        }
        let midnights = (WARM_UP_S % DAY_S..self.settings.end_s()).step_by(DAY_S as usize);
        for midnight_s in midnights {
            for (relay, number) in self.relays.iter().zip(0..) {
                self.calendar.add(midnight_s + relay.renews_s, Event::Describe(number));
            }
        }
        self.write_down_relays();
    }

    /// Milliseconds since 1970 UTC.
    fn now_ms(&self) -> u64 {
        self.unix_s() * 1_000
    }

    fn unix_s(&self) -> u64 {
        BEGIN_UNIX_S - u64::from(WARM_UP_S) + u64::from(self.now_s)
    }

    /// The warm-up is over.
    fn is_measured(&self) -> bool {
        self.now_s >= WARM_UP_S
    }

    /// Lets a second pass.
    pub(crate) fn second(&mut self, now_s: u32) -> Result<(), RunError> {
        self.now_s = now_s;
        if now_s == WARM_UP_S {
            self.admit_clients()?;
        }
        loop {
            let due = self.calendar.take(now_s);
            if due.is_empty() {
                break;
            }
            for event in due {
                self.happen(event)?;
            }
        }
        self.carry();
        if self.is_measured() && (now_s - WARM_UP_S) % 3_600 == 3_599 {
            self.tally.end_hour(&self.relays);
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), RunError> {
        match event {
            Event::Interval => self.begin_interval()?,
            Event::Tick => self.tick()?,
            Event::MemberDown(member) => self.member_down(member),
            Event::MemberUp(member) => self.member_up(member),
            Event::RelayDown(relay) => self.relay_down(relay)?,
            Event::RelayUp(relay) => self.relay_up(relay)?,
            Event::Describe(relay) => self.describe(relay)?,
            Event::Admit(relay) => self.admit(relay)?,
            Event::Expel(relay) => self.expel(relay)?,
            Event::ClientOn(client) => self.client_on(client),
            Event::ClientOff { client, session } if self.is_session(client, session) => self.client_off(client),
            Event::Fetch { client, session } if self.is_session(client, session) => self.fetch(client)?,
            Event::Guards { client, session } if self.is_session(client, session) => self.look_at_guards(client),
            Event::Build { client, session } if self.is_session(client, session) => self.build(client),
            Event::Flow { client, session } if self.is_session(client, session) => self.begin_flow(client),
            Event::Stream { client, session } if self.is_session(client, session) => self.begin_stream(client),
            Event::Repair { tunnel, life } if self.tunnels.is(tunnel, life) => self.repair(tunnel),
            Event::Silent { tunnel, life, relay } if self.tunnels.is(tunnel, life) => self.silent(tunnel, relay),
            Event::LifeEnds { tunnel, life } if self.tunnels.is(tunnel, life) => self.end_life(tunnel),
            // Of a session or a tunnel that is over.
            Event::ClientOff { .. }
            | Event::Fetch { .. }
            | Event::Guards { .. }
            | Event::Build { .. }
            | Event::Flow { .. }
            | Event::Stream { .. }
            | Event::Repair { .. }
            | Event::Silent { .. }
            | Event::LifeEnds { .. } => {}
        }
        Ok(())
    }

    fn is_session(&self, client: u32, session: u32) -> bool {
        let client = &self.clients[client as usize];
        client.is_online && client.session == session
    }

    /// The figures of the run.
    pub(crate) fn report(mut self) -> crate::Report {
        for client in 0..self.clients.len() as u32 {
            self.leave(client);
        }
        self.count_uptime();
        let clients = self.clients.iter().filter(|client| client.session > 0).map(Client::seen).collect();
        let uptimes: Vec<f64> = self.states.iter().map(RelayState::up_s).collect();
        let empty = self.members.empty;
        self.tally.report(self.settings, &self.relays, &uptimes, &self.editions, clients, empty)
    }
}

fn announce(members: &mut Members, relays: &[Relay], now_ms: u64) -> Result<(), RunError> {
    for relay in relays.iter().filter(|relay| relay.admitted_s == 0) {
        members.describe(relay, now_ms)?;
    }
    Ok(())
}

/// An edition in a time in which nobody fails.
fn publish(members: &mut Members, now_ms: u64) -> Result<(), RunError> {
    members.tick(now_ms)?;
    if members.sign(now_ms)? { Ok(()) } else { Err(RunError::NoDocument) }
}
