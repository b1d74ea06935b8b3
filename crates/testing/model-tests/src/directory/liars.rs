//! Members who lie: they lead the log and tell one half of the honest members another story than the other, sign whatever suits
//! them, say any time, leave relays out, and admit nodes that operators did not. Clients get whatever can be put together.

use super::{INTERVAL_MS, KEY_INTERVALS, START_MS, Said, admission, charter, member, order, relay};
use identity::NodeId;
use network_document::{Edition, EditionHead, EditionName, SignedEdition};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use relay_directory::{
    ClientRefusal, Command, Directory, DirectoryClient, Event, Order, Promise, SignRefusal, Signer, Taken, Tick, Vote,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Relays that operators admit. The next number is nobody's.
const RELAYS: u32 = 5;
/// Clients, each of which is told another thing.
const CLIENTS: usize = 4;
/// How far an honest clock is off, in milliseconds.
const SKEW_MS: u64 = 300;

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiarsOutcome {
    /// Editions that at least one client took.
    pub taken: u32,
    /// Editions that were offered and refused.
    pub refused: u32,
    /// Indices for which honest members signed two editions between them.
    pub split: u32,
    /// Times that an honest member did not sign because a relay was left out.
    pub left_out: u32,
    /// Forks of which a client has proof.
    pub proofs: u32,
    /// Two clients took different editions of one index.
    pub disagreements: u32,
}

/// One story: a log, and the honest members who are told it.
struct Story {
    directory: Directory,
    told: Vec<u32>,
}

struct World {
    random: ChaCha8Rng,
    now_ms: u64,
    liars: Vec<u32>,
    stories: Vec<Story>,
    signers: BTreeMap<u32, Signer>,
    /// Every edition that anybody made, with every signature that anybody gave for it.
    offered: BTreeMap<EditionName, SignedEdition>,
    clients: Vec<DirectoryClient>,
    /// By index, what clients took.
    taken: BTreeMap<u64, Vec<EditionName>>,
    /// By relay, what all honest members were handed, and when.
    handed: BTreeMap<u32, Vec<(u64, Said)>>,
    outcome: LiarsOutcome,
}

/// Plays so many intervals with `members`, of whom `may` are thought to lie and `liars` do.
///
/// # Errors
/// When a client takes what it must not, with no more liars than there may be.
pub fn among_liars(seed: u64, members: u32, may: u8, liars: u32, intervals: u32) -> Result<LiarsOutcome, String> {
    let mut world = World::new(seed, members, may, liars);
    for _ in 0..intervals {
        world.interval()?;
    }
    Ok(world.outcome)
}

impl World {
    fn new(seed: u64, members: u32, may: u8, liars: u32) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let all: Vec<u32> = (1..=members).collect();
        let charter = charter(&all, may);
        let network = charter.network_id();
        let mut directory = Directory::new(Arc::clone(&charter)).expect("a directory");
        for number in 1..=RELAYS {
            let admit = Order::Admit { node: relay(number).node_id(), admission: admission(20) };
            directory.apply(&order(network, u64::from(number), admit, &[1, 2], &[]).encode());
        }
        // The liars are the first ones: the leader is one of them.
        let honest: Vec<u32> = all[liars as usize..].to_vec();
        let first = honest.iter().copied().filter(|_| random.random_bool(0.5)).collect::<Vec<_>>();
        let second = honest.iter().copied().filter(|number| !first.contains(number)).collect();
        let signer = |number: &u32| (*number, Signer::new(network, member(*number), Promise::default()));
        Self {
            // Relays speak in the middle of intervals.
            now_ms: START_MS + INTERVAL_MS / 2 + 10,
            liars: all[..liars as usize].to_vec(),
            stories: vec![Story { directory: directory.clone(), told: first }, Story { directory, told: second }],
            signers: honest.iter().map(signer).collect(),
            offered: BTreeMap::new(),
            clients: (0..CLIENTS).map(|_| DirectoryClient::new(network)).collect(),
            taken: BTreeMap::new(),
            handed: BTreeMap::new(),
            outcome: LiarsOutcome::default(),
            random,
        }
    }

    /// An interval by the honest clocks: relays speak, clocks are said, editions made, signed, and offered.
    fn interval(&mut self) -> Result<(), String> {
        self.describe();
        for part in 0..3 {
            self.now_ms += INTERVAL_MS / 3;
            self.unsigned_admit();
            self.say_the_time();
            self.honest_sign();
            self.liars_sign();
            if part > 0 {
                self.forge();
            }
            self.offer()?;
        }
        Ok(())
    }

    /// Each relay hands its descriptor to all honest members; the leader takes it to a story or leaves it out.
    fn describe(&mut self) {
        for number in 1..=RELAYS {
            let interval = (self.now_ms - START_MS) / INTERVAL_MS / KEY_INTERVALS;
            let (published_ms, expires_ms) = (self.now_ms, self.now_ms + 4 * INTERVAL_MS);
            let said =
                Said { relay: number, key: number, address: number, interval, class: 20, published_ms, expires_ms };
            let command = said.command(self.stories[0].directory.network_id());
            let Command::Describe(announcement) = &command else { return };
            let mut held_by_all = true;
            for story in &self.stories {
                for told in &story.told {
                    let Some(signer) = self.signers.get_mut(told) else { continue };
                    held_by_all &= signer.hold(self.now_ms, &story.directory, Arc::clone(announcement)).is_ok();
                }
            }
            if held_by_all {
                self.handed.entry(number).or_default().push((self.now_ms, said));
            }
            for story in &mut self.stories {
                if self.random.random_bool(0.8) {
                    story.directory.apply(&command.encode());
                }
            }
        }
    }

    /// Nodes that too few operators signed for, or an operator for another number.
    fn unsigned_admit(&mut self) {
        let admit = Order::Admit { node: relay(RELAYS + 1).node_id(), admission: admission(20) };
        for story in &mut self.stories {
            let (network, number) = (story.directory.network_id(), story.directory.next_order());
            for operators in [&[1][..], &[1, 9], &[]] {
                let events = story.directory.apply(&order(network, number, admit.clone(), operators, &[]).encode());
                assert!(matches!(events[..], [Event::Refused(_)]), "nobody admitted it");
            }
        }
    }

    fn say_the_time(&mut self) {
        for story in &mut self.stories {
            let network = story.directory.network_id();
            let mut say = |number: u32, utc_ms: u64| {
                let sequence = story.directory.next_tick(&member(number).node_id());
                let tick = Tick::new(network, &member(number), sequence, utc_ms);
                story.directory.apply(&Command::Tick(tick).encode());
            };
            // The liars' wish is in the log before anybody else's word.
            for liar in &self.liars {
                let forged = [0, self.now_ms + 10 * INTERVAL_MS, u64::MAX, self.now_ms];
                say(*liar, forged[self.random.random_range(0..forged.len())]);
            }
            // Ticks are signed words that anybody may carry: each story may have those of all honest members.
            for number in self.signers.keys() {
                if self.random.random_bool(0.8) {
                    say(*number, self.now_ms - SKEW_MS + self.random.random_range(0..2 * SKEW_MS));
                }
            }
        }
    }

    fn honest_sign(&mut self) {
        let mut signed: BTreeMap<u64, Vec<EditionName>> = BTreeMap::new();
        for story in &mut self.stories {
            for number in story.told.clone() {
                let Some(signer) = self.signers.get_mut(&number) else { continue };
                match signer.consider(self.now_ms, &story.directory) {
                    Ok(vow) => {
                        // Some votes come late or never.
                        if self.random.random_bool(0.9) {
                            story.directory.apply(&vow.command.encode());
                        }
                        let Command::Sign(vote) = vow.command else { continue };
                        let names = signed.entry(vote.name.index).or_default();
                        if !names.contains(&vote.name) {
                            names.push(vote.name);
                        }
                        add(&mut self.offered, story.directory.pending(), &vote);
                    }
                    Err(SignRefusal::LeavesOut(_)) => self.outcome.left_out += 1,
                    Err(_) => {}
                }
            }
        }
        self.outcome.split += signed.values().filter(|names| names.len() > 1).count() as u32;
    }

    /// Liars sign everything.
    fn liars_sign(&mut self) {
        for story in &mut self.stories {
            let Some(name) = story.directory.pending().map(|pending| pending.edition().name()) else { continue };
            for liar in &self.liars {
                let vote = Vote::new(story.directory.network_id(), &member(*liar), name);
                story.directory.apply(&Command::Sign(vote).encode());
                add(&mut self.offered, story.directory.pending(), &vote);
            }
        }
    }

    /// An edition of the liars' own, with a relay that nobody admitted, and with honest members' signatures of another one.
    fn forge(&mut self) {
        let Some(pending) = self.stories[0].directory.pending().cloned() else { return };
        let edition = pending.edition();
        let interval = edition.key_interval().0;
        let (published_ms, expires_ms) = (self.now_ms, self.now_ms + INTERVAL_MS);
        let number = RELAYS + 1;
        let said = Said { relay: number, key: number, address: number, interval, class: 3, published_ms, expires_ms };
        let Command::Describe(announcement) = said.command(edition.network_id()) else { return };
        let charter = Arc::clone(self.stories[0].directory.charter());
        let (electorate, parameters) = (edition.electorate().clone(), edition.head().parameters().clone());
        let index = edition.index() + self.random.random_range(0..3);
        let head = EditionHead::new(charter, index, edition.previous(), electorate, parameters).expect("a head");
        let Ok(edition) = Edition::new(head, vec![announcement]) else { return };
        let mut forged = SignedEdition::new(Arc::new(edition));
        for liar in &self.liars {
            forged.sign(&member(*liar)).expect("a member");
        }
        self.offered.entry(forged.edition().name()).or_insert_with(|| forged.clone());
        for (by, signature) in pending.signatures() {
            forged.add(by, *signature).expect("a member");
        }
        let bytes = forged.encode();
        for client in &mut self.clients {
            assert!(client.handle_full(self.now_ms, &bytes).is_err(), "a stolen signature");
        }
    }

    /// Every client is offered some of all there is, in any order.
    fn offer(&mut self) -> Result<(), String> {
        let newest = self.offered.keys().map(|name| name.index).max().unwrap_or(0);
        self.offered.retain(|name, _| name.index + 4 > newest);
        for place in 0..self.clients.len() {
            let mut names: Vec<EditionName> = self.offered.keys().copied().collect();
            while !names.is_empty() {
                let name = names.swap_remove(self.random.random_range(0..names.len()));
                if self.random.random_bool(0.4) {
                    continue;
                }
                let (now_ms, edition) = (self.now_ms, self.offered[&name].clone());
                match self.clients[place].handle_full(now_ms, &edition.encode()) {
                    Ok(Taken::Edition(name)) => self.check(name, &edition)?,
                    Ok(_) => {}
                    Err(ClientRefusal::Fork { .. }) => self.outcome.proofs += 1,
                    Err(_) => self.outcome.refused += 1,
                }
            }
        }
        Ok(())
    }

    fn check(&mut self, name: EditionName, signed: &SignedEdition) -> Result<(), String> {
        let names = self.taken.entry(name.index).or_default();
        if !names.contains(&name) {
            names.push(name);
            self.outcome.taken += 1;
            if names.len() > 1 {
                self.outcome.disagreements += 1;
            }
        }
        let edition = signed.edition();
        if self.liars.len() > edition.electorate().liars() {
            return Ok(());
        }
        if names.len() > 1 {
            return Err(format!("two editions of index {} were taken", name.index));
        }
        if edition.valid_after_ms() > self.now_ms + SKEW_MS {
            return Err(format!("index {} is {} ms ahead", name.index, edition.valid_after_ms() - self.now_ms));
        }
        let shown: BTreeMap<NodeId, u64> =
            edition.relays().iter().map(|relay| (relay.node_id(), relay.announcement().published_ms)).collect();
        if shown.contains_key(&relay(RELAYS + 1).node_id()) {
            return Err(format!("index {} has a relay that nobody admitted", name.index));
        }
        for (number, handed) in &self.handed {
            let shown_ms = shown.get(&relay(*number).node_id()).copied().unwrap_or(0);
            if handed
                .iter()
                .any(|(since_ms, said)| self.must_show(*since_ms, said, edition) && shown_ms < said.published_ms)
            {
                return Err(format!("index {} leaves out relay {number}", name.index));
            }
        }
        Ok(())
    }

    /// Whether honest members had held a descriptor for an interval when the edition can first have been made, and it was still
    /// good whenever they signed.
    fn must_show(&self, since_ms: u64, said: &Said, edition: &Edition) -> bool {
        let keys = edition.key_interval().0;
        let usable = said.interval == keys || said.interval + 1 == keys;
        usable
            && since_ms + INTERVAL_MS + SKEW_MS <= edition.valid_after_ms()
            && said.expires_ms > self.now_ms + SKEW_MS
    }
}

/// Notes a vote for the edition that it is for.
fn add(offered: &mut BTreeMap<EditionName, SignedEdition>, pending: Option<&SignedEdition>, vote: &Vote) {
    let Some(pending) = pending.filter(|pending| pending.edition().name() == vote.name) else { return };
    let known = offered.entry(vote.name).or_insert_with(|| SignedEdition::new(Arc::clone(pending.edition())));
    known.add(vote.member, vote.signature).expect("a member");
}
