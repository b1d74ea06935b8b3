//! What operators decide.

use super::relays::is_within;
use super::{ADMISSIONS_MAX, Admitted, Directory, SUCCESSIONS_MAX};
use crate::event::Event;
use crate::order::{Admission, Order, SignedOrder};
use crate::refusal::Refusal;
use crate::succession::Succession;
use identity::NodeId;
use network_document::{Electorate, Problem, TermFile};

impl Directory {
    /// The operators' signatures were looked at before.
    pub(super) fn govern(&mut self, signed: SignedOrder, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let expected = self.next_order();
        if signed.number != expected {
            return Err(Refusal::OrderNumber { expected });
        }
        match &signed.order {
            Order::Admit { node, admission } => self.admit(*node, admission.clone(), events)?,
            Order::Expel { node } => {
                self.admitted.remove(node).ok_or(Refusal::NotAdmitted)?;
                self.remove_relay(node);
                events.push(Event::Expelled(*node));
            }
            Order::Parameter(parameters) => {
                self.parameters = (**parameters).clone();
                events.push(Event::ParametersChanged);
            }
            Order::Members(electorate) => self.change_members(electorate.clone(), &signed, events)?,
        }
        self.orders = expected;
        Ok(())
    }

    fn admit(&mut self, node: NodeId, bounds: Admission, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if let Some(admitted) = self.admitted.get_mut(&node) {
            admitted.bounds = bounds;
            events.push(Event::Admitted(node));
            let bounds = &admitted.bounds;
            if self.relays.get(&node).is_some_and(|relay| !is_within(relay.announcement(), bounds)) {
                self.remove_relay(&node);
                events.push(Event::Outgrown(node));
            }
            return Ok(());
        }
        if self.admitted.len() >= ADMISSIONS_MAX {
            return Err(Refusal::TooManyRelays);
        }
        self.admitted.insert(node, Admitted { bounds, floor_ms: 0, described: 0 });
        events.push(Event::Admitted(node));
        Ok(())
    }

    fn change_members(
        &mut self,
        electorate: Electorate,
        signed: &SignedOrder,
        events: &mut Vec<Event>,
    ) -> Result<(), Refusal> {
        let expected = self.electorate.term().saturating_add(1);
        if electorate.term() != expected {
            return Err(Refusal::Term { expected });
        }
        if !signed.has_consent_of(&self.electorate) {
            return Err(Refusal::TooFewMembers);
        }
        if self.successions.len() >= SUCCESSIONS_MAX {
            return Err(Refusal::TooManySuccessions);
        }
        self.successions.push_back(Succession::Order(Box::new(signed.clone())));
        self.electorate = electorate;
        self.forget_clocks();
        events.push(Event::MembersChanged(expected));
        Ok(())
    }

    /// Begins a term outside the log, with this very state: the file names its hash. An edition that waits for signatures of
    /// the members of before waits no longer.
    ///
    /// # Errors
    /// What is wrong with the file's signatures; [`Problem::OtherDocument`] when it names another state;
    /// [`Problem::Electorate`] when its term is not above the present one, or there were too many changes.
    pub fn begin_term(&mut self, file: &TermFile) -> Result<(), Problem> {
        file.verify(&self.charter)?;
        if file.checkpoint() != self.hash() {
            return Err(Problem::OtherDocument);
        }
        if file.electorate().term() <= self.electorate.term() || self.successions.len() >= SUCCESSIONS_MAX {
            return Err(Problem::Electorate);
        }
        self.electorate = file.electorate().clone();
        self.successions.push_back(Succession::Term(Box::new(file.clone())));
        self.pending = None;
        self.forget_clocks();
        Ok(())
    }
}
