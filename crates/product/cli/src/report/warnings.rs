//! What an operator should know: each is a sentence, most important last.

use super::{Reporter, processes};
use admin::status::{Link, LinkState, Severity, Warning};
use node::{NodeStatus, ProcessStatus};
use os_net::confine::PartState;
use shaped_tunnel::ShapedStatus;

/// Missed slots in a thousand that are worth a warning.
const MISSED_PER_MILLE: u64 = 10;

/// Warnings, in the order in which they are shown.
#[derive(Default)]
struct Warnings(Vec<Warning>);

impl Warnings {
    fn warn(&mut self, sentence: impl Into<String>) {
        self.0.push(Warning { severity: Severity::Warning, sentence: sentence.into() });
    }

    fn alarm(&mut self, sentence: impl Into<String>) {
        self.0.push(Warning { severity: Severity::Alarm, sentence: sentence.into() });
    }

    fn of_process(&mut self, process: &ProcessStatus) {
        for part in process.confinement.iter().flat_map(|confinement| &confinement.parts) {
            if let PartState::NotAvailable(why) = &part.state {
                self.warn(format!("{} is not confined by {}: {why}", process.name, part.name));
            }
        }
        if let Some(fault) = &process.last_fault {
            self.warn(format!("{}: {fault}", process.name));
        }
        if process.crash_loop {
            self.alarm(format!("{} keeps ending by itself; look at the log", process.name));
        }
    }

    fn of_schedule(&mut self, shaped: &ShapedStatus) {
        if let Some(slots) = &shaped.slots
            && slots.missed.saturating_mul(1000)
                > slots.slots.saturating_add(slots.missed).saturating_mul(MISSED_PER_MILLE)
        {
            self.warn(
                "more than 1 % of the slots are missed; this machine is too busy for its rate, \
                 try process.realtime or a longer slot",
            );
        }
        for link in &shaped.node.links {
            if link.allowed_bits_per_second < link.configured_bits_per_second {
                self.warn("the path loses too much, so the rate was lowered; it rises again in steps of 5 minutes");
            }
        }
    }

    fn of_memory(&mut self, shaped: &ShapedStatus) {
        let count = |name: &str| shaped.node.counters.get(name).copied().unwrap_or(0);
        let (flows, sessions) = (count("flows_cut_for_memory"), count("sessions_cut_for_memory"));
        if flows + sessions > 0 {
            self.warn(format!(
                "{flows} flows and {sessions} whole sessions ended because tunnels held all that `queues.memory_max` allows: programs or servers do not read \
                 what comes, or the other ends acknowledge nothing; if that is not so, raise it"
            ));
        }
    }

    /// Of a link of a pair. `packet`: bytes of its packets.
    fn of_link(&mut self, link: &Link, packet: usize) {
        match link.state {
            Some(LinkState::Lost) => {
                self.alarm(format!("the link to {} is lost; is the other node running?", link.peer));
            }
            Some(LinkState::Connecting) => self.warn(format!(
                "{} has not answered yet: it does not run, its line or address here is wrong, it does not have this node's \
                 line, a clock is more than a day off, or the path does not carry UDP packets of {packet} bytes",
                link.peer
            )),
            Some(LinkState::Up) | None => {}
        }
    }
}

impl Reporter {
    pub(super) fn warnings(&self, node: &NodeStatus, shaped: Option<&ShapedStatus>, links: &[Link]) -> Vec<Warning> {
        let mut warnings = Warnings(self.facts.warnings.clone());
        processes(node, shaped).iter().for_each(|process| warnings.of_process(process));
        let narrow = shaped.and_then(|shaped| self.narrow_path(shaped));
        if let Some(failure) = shaped.and_then(|shaped| shaped.last_send_failure.as_ref()).filter(|_| narrow.is_none())
        {
            warnings.warn(format!("a packet could not be sent: {failure}"));
        }
        if let Some(shaped) = shaped {
            warnings.of_schedule(shaped);
            warnings.of_memory(shaped);
        }
        match shaped.and_then(|shaped| shaped.node.circuits.as_ref()) {
            Some(circuits) => {
                self.silence(shaped).into_iter().for_each(|sentence| warnings.alarm(sentence));
                if let Some(refusal) = &circuits.refusal {
                    warnings.alarm(format!("there is no path for a leg: {refusal}"));
                }
                if let Some(refusal) = &circuits.service_refusal {
                    warnings.warn(format!("a service was not reached: {refusal}"));
                }
            }
            None => links.iter().for_each(|link| warnings.of_link(link, self.facts.packet_size.packet())),
        }
        narrow.into_iter().for_each(|sentence| warnings.alarm(sentence));
        warnings.0
    }
}
