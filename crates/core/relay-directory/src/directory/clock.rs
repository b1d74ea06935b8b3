//! The directory's time: what honest members' clocks say, whatever the others say.

use super::{Clock, Directory};
use crate::command::Tick;
use crate::event::Event;
use crate::refusal::Refusal;
use identity::NodeId;

impl Directory {
    pub(super) fn tick(&mut self, tick: Tick, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if !self.electorate.contains(&tick.member) {
            return Err(Refusal::NotMember);
        }
        if self.clocks.get(&tick.member).is_some_and(|clock| clock.sequence >= tick.sequence) {
            return Err(Refusal::OldTick);
        }
        self.clocks.insert(tick.member, Clock { sequence: tick.sequence, utc_ms: tick.utc_ms });
        events.push(Event::Ticked(tick.member));
        self.advance(events);
        Ok(())
    }

    /// The lower median of what members said, once 2 f + 1 of them did: as many honest ones are on either side of it, or it is
    /// one itself.
    fn advance(&mut self, events: &mut Vec<Event>) {
        let mut said: Vec<u64> = self.clocks.values().map(|clock| clock.utc_ms).collect();
        if said.len() < self.electorate.ticks_needed() {
            return;
        }
        said.sort_unstable();
        let median = said[(said.len() - 1) / 2];
        if median <= self.time_ms {
            return;
        }
        self.time_ms = median;
        events.push(Event::Time(median));
        let index = self.founding.index_at(median);
        if index > self.index {
            self.turn(index, events);
        }
    }

    /// Only members' clocks count.
    pub(super) fn forget_clocks(&mut self) {
        let electorate = &self.electorate;
        self.clocks.retain(|member: &NodeId, _| electorate.contains(member));
    }
}
