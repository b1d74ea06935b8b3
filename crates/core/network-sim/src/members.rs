//! The directory of the simulated network: real members with a real state, and what they sign.

use crate::population::{Relay, seed};
use crate::run::RunError;
use identity::{NodeSecret, OperatorSecret};
use network_document::{Charter, Electorate, Founding, Label, NetworkId, Problem};
use relay_directory::{
    Answer, Command, Directory, Event, Keeper, Order, Promise, Refusal, Request, SignRefusal, SignedOrder, Signer,
};
use std::sync::Arc;

/// Operators, of whom two decide.
const OPERATORS: u32 = 3;
const THRESHOLD: u8 = 2;

/// One log's state stands for all members' here, for on the log they are alike. Signers are each member's own.
pub(crate) struct Members {
    operators: Vec<OperatorSecret>,
    directory: Directory,
    signers: Vec<Signer>,
    is_up: Vec<bool>,
    keeper: Keeper,
    /// Intervals whose edition got too few signatures, or was never made.
    pub(crate) empty: u32,
}

impl Members {
    pub(crate) fn new(members: u8, start_ms: u64, number: u64) -> Result<Self, RunError> {
        let operators: Vec<OperatorSecret> =
            (0..OPERATORS).map(|operator| OperatorSecret::from_seed(seed(1, number, operator))).collect();
        let secrets = || (0..u32::from(members)).map(|member| NodeSecret::from_seed(seed(2, number, member)));
        let liars = (members - 1) / 3;
        let electorate = Electorate::new(1, secrets().map(|secret| secret.node_id()).collect(), liars)?;
        let keys = operators.iter().map(OperatorSecret::operator_key).collect();
        let charter = Charter::new(Label::new("simulated", "name")?, Default::default(), keys, THRESHOLD)?;
        let charter = Arc::new(charter.with_directory(Founding::new(start_ms, electorate))?);
        let network = charter.network_id();
        Ok(Self {
            operators,
            directory: Directory::new(charter)?,
            signers: secrets().map(|secret| Signer::new(network, secret, Promise::default())).collect(),
            is_up: vec![true; usize::from(members)],
            keeper: Keeper::default(),
            empty: 0,
        })
    }

    pub(crate) fn network(&self) -> NetworkId {
        self.directory.network_id()
    }

    pub(crate) fn founding(&self) -> Result<&Founding, Problem> {
        self.directory.charter().founding().ok_or(Problem::OtherKind)
    }

    pub(crate) fn answer(&mut self, request: &Request) -> Answer {
        self.keeper.answer(request)
    }

    pub(crate) fn set_up(&mut self, member: u8, is_up: bool) {
        self.is_up[usize::from(member)] = is_up;
    }

    /// A majority lives, so the log goes on.
    pub(crate) fn has_log(&self) -> bool {
        2 * self.is_up.iter().filter(|up| **up).count() > self.is_up.len()
    }

    fn govern(&mut self, order: Order) -> Result<(), RunError> {
        let mut signed = SignedOrder::new(self.directory.next_order(), order);
        for secret in self.operators.iter().take(usize::from(THRESHOLD)) {
            signed.sign(self.directory.network_id(), secret);
        }
        self.apply(&Command::Govern(Box::new(signed)))?;
        Ok(())
    }

    pub(crate) fn admit(&mut self, relay: &Relay) -> Result<(), RunError> {
        self.govern(Order::Admit { node: relay.node_id, admission: relay.admission()? })
    }

    pub(crate) fn expel(&mut self, relay: &Relay) -> Result<(), RunError> {
        self.govern(Order::Expel { node: relay.node_id })
    }

    /// A relay's words: every living member holds them, and one of them takes them to the log.
    pub(crate) fn describe(&mut self, relay: &Relay, now_ms: u64) -> Result<(), RunError> {
        let present = self.founding()?.index_at(self.directory.time_ms());
        let interval = self.founding()?.key_interval(present).0;
        let said = relay.announce(self.network(), self.founding()?, interval, now_ms)?;
        for signer in self.living() {
            self.signers[signer].hold(now_ms, &self.directory, Arc::clone(&said))?;
        }
        self.apply(&Command::Describe(said))?;
        Ok(())
    }

    pub(crate) fn withdraw(&mut self, relay: &Relay, now_ms: u64) -> Result<(), RunError> {
        self.apply(&Command::Withdraw(relay.withdraw(self.network(), now_ms)))?;
        Ok(())
    }

    /// Members who live say the time. With the first tick of an interval its edition is made.
    pub(crate) fn tick(&mut self, now_ms: u64) -> Result<(), RunError> {
        for signer in self.living() {
            let tick = self.signers[signer].tick(&self.directory, now_ms);
            for event in self.apply(&tick)? {
                self.empty += u32::from(matches!(event, Event::Empty(_)));
            }
        }
        Ok(())
    }

    /// Members who live look at the edition that waits, and sign. True when that published it.
    pub(crate) fn sign(&mut self, now_ms: u64) -> Result<bool, RunError> {
        for signer in self.living() {
            match self.signers[signer].consider(now_ms, &self.directory) {
                Ok(vow) => drop(self.apply(&vow.command)?),
                // Not the whole interval has a quorum that lives: then somebody has signed before.
                Err(SignRefusal::Nothing) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        let newest = self.keeper.newest().map(|edition| edition.edition().name());
        let published = self.directory.published().filter(|edition| Some(edition.edition().name()) != newest).cloned();
        let is_new = published.is_some();
        published.into_iter().for_each(|edition| self.keeper.keep(edition));
        Ok(is_new)
    }

    fn living(&self) -> Vec<usize> {
        (0..self.signers.len()).filter(|member| self.is_up[*member]).collect()
    }

    fn apply(&mut self, command: &Command) -> Result<Vec<Event>, Refusal> {
        let events = self.directory.apply(&command.encode());
        match events.first() {
            Some(Event::Refused(refusal)) => Err(*refusal),
            _ => Ok(events),
        }
    }
}
