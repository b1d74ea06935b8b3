//! Clients that find a service by its address: records, introductions and meetings as `onion-service` wants them, over real circuits.

use super::{World, network};
use identity::AccessSecret;
use onion::{Cookie, Features};
use onion_service::{Action, ClientConfig, ClientError, ClientIntroduction, Day};
use rand_chacha::rand_core::Rng;
use std::time::Duration;

/// Rendezvous points of guests, leg by leg: middles behind the two that their circuits go over.
const MEETING_PLACES: [usize; 2] = [5, 6];
/// The middle over which guests go to introduction points.
const WAY: [usize; 2] = [1, 3];
/// How long anything of it may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl World {
    /// A client that has reached a service of the node by its address alone, over as many legs. Its number.
    ///
    /// # Errors
    /// What a user would be told.
    ///
    /// # Panics
    /// When a part takes longer than it should that depends on nobody.
    pub fn guest(&mut self, service: usize, legs: usize, access: Option<AccessSecret>) -> Result<usize, ClientError> {
        self.guest_with(service, legs, access, None)
    }

    /// A client of a service that sends in slots: it asks for a mode and a class, by their numbers.
    ///
    /// # Panics
    /// When it does not come through.
    pub fn guest_asking(&mut self, service: usize, legs: usize, asks: Option<(u8, u8)>) -> usize {
        let client = self.guest_with(service, legs, None, asks).expect("the service is there");
        let linked = self.run_until(PATIENCE, |world| world.clients[client].tunnel.linked() == legs);
        assert!(linked, "{:?}", self.clients[client].tunnel);
        client
    }

    /// Somebody who is let in and waits at no place but one that is dead.
    ///
    /// # Panics
    /// When the introduction does not reach the service.
    pub fn false_guest(&mut self, service: usize, dead: usize) {
        let (client, mut seeker) = self.seeker(service, 1, None);
        while let Some(action) = seeker.poll_action(self.now.instant) {
            match action {
                Action::Meet { .. } => seeker.handle_meeting(self.now.instant, &[network::node_id(dead)]),
                action => self.act(client, &mut seeker, action, &mut Vec::new()),
            }
        }
        assert_eq!(self.clients[client].introduced, Some(true), "it is let in");
    }

    fn guest_with(
        &mut self,
        service: usize,
        legs: usize,
        access: Option<AccessSecret>,
        asks: Option<(u8, u8)>,
    ) -> Result<usize, ClientError> {
        let (client, mut seeker) = self.seeker(service, legs, access);
        self.clients[client].asks = asks.map(|(mode, class)| (mode, class, legs as u8));
        let mut circuits = Vec::new();
        loop {
            while let Some(action) = seeker.poll_action(self.now.instant) {
                self.act(client, &mut seeker, action, &mut circuits);
            }
            if let Some(error) = seeker.error() {
                return Err(error);
            }
            let wake = seeker.next_wake();
            let longest = wake.map_or(PATIENCE, |wake| wake.saturating_duration_since(self.now.instant));
            self.run_until(longest, |world| !world.clients[client].answers.is_empty());
            self.take_answers(client, &mut seeker, &circuits);
            if seeker.is_met() {
                break;
            }
        }
        // The other legs come when they come.
        self.run_until(Duration::from_secs(5), |world| world.clients[client].answers.len() + 1 >= legs);
        self.take_answers(client, &mut seeker, &circuits);
        let up = self.run_until(PATIENCE, |world| world.clients[client].is_connected());
        assert!(up, "{:?} {:?}", self.clients[client].tunnel, self.clients[client].severed);
        Ok(client)
    }

    fn seeker(&mut self, service: usize, legs: usize, access: Option<AccessSecret>) -> (usize, ClientIntroduction) {
        let network = self.document.network_id();
        let directory_ms = self.host().directory_ms(self.now);
        let address = super::service_address(service);
        let days = Day::sought_at(directory_ms).map(|day| address.day_key(network, day).expect("a good address"));
        let mut seed = [0; 32];
        self.random.fill_bytes(&mut seed);
        let config = ClientConfig { network, legs, access, features: 0 };
        let seeker = ClientIntroduction::new(self.now.instant, config, days.to_vec(), directory_ms, seed);
        let client = self.add_client(Features::LINKING.and(Features::RENDEZVOUS));
        self.clients[client].seeks = true;
        (client, seeker)
    }

    fn take_answers(&mut self, client: usize, seeker: &mut ClientIntroduction, circuits: &[u32]) {
        let now = self.now;
        for (circuit, answer) in std::mem::take(&mut self.clients[client].answers) {
            let leg = circuits.iter().position(|of| *of == circuit).expect("a circuit to a meeting");
            if let Ok(keys) = seeker.handle_answer(leg, &answer) {
                let peer = seeker.session().expect("an answer was read");
                self.clients[client].join(now, circuit, &keys, peer);
            }
        }
    }

    fn act(&mut self, client: usize, seeker: &mut ClientIntroduction, action: Action, circuits: &mut Vec<u32>) {
        let now = self.now;
        match action {
            Action::Fetch { key } => {
                let record = self.host().directory.get(&key).cloned();
                seeker.handle_record(now.instant, &key, record.as_ref());
            }
            Action::Meet { cookies } => {
                let places = MEETING_PLACES.into_iter().zip(cookies).enumerate();
                for (leg, (relay, cookie)) in places {
                    let path = [leg, 2 + leg, relay];
                    circuits.push(self.clients[client].meet(now, &self.document, &path, (Cookie(cookie), [0; 32])));
                }
                let legs = circuits.len();
                assert!(self.run_until(PATIENCE, |world| world.clients[client].waiting() == legs), "nobody waits");
                let relays: Vec<_> = MEETING_PLACES.into_iter().take(legs).map(network::node_id).collect();
                seeker.handle_meeting(self.now.instant, &relays);
            }
            Action::Work => while !seeker.work(self.now.instant, 10_000) {},
            Action::Introduce { relay, name, message } => {
                let relay = (0..self.relays.len()).find(|number| network::node_id(*number) == relay);
                let relay = relay.expect("a relay of the network");
                // A relay is on a circuit once.
                let [guard, middle] = WAY;
                let middle = if relay == middle { middle - 1 } else { middle };
                self.clients[client].introduced = None;
                let path = [guard, middle, relay];
                self.clients[client].introduce_to(now, &self.document, &path, name, message.to_vec());
                self.run_until(Duration::from_secs(20), |world| {
                    world.clients[client].introduced.is_some() || !world.clients[client].answers.is_empty()
                });
                let taken = self.clients[client].introduced.unwrap_or(!self.clients[client].answers.is_empty());
                seeker.handle_introduced(self.now.instant, &name, taken);
            }
        }
    }
}
