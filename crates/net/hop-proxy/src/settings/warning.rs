//! What is allowed and unwise, in the words of somebody who watches the line.

use std::fmt;
use std::time::Duration;

use super::{ClientSettings, ServerSettings};

/// Below this, hops stand out.
const CALM_INTERVAL: Duration = Duration::from_secs(15);
/// Below this, flows come back to a port while the network still remembers it.
const CALM_PORTS: u32 = 1_000;
/// How long networks are assumed to remember what they did to a flow.
const MEMORY: Duration = Duration::from_secs(600);

/// One thing that an operator should know. `Display` is a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// Hops are frequent.
    FastHops {
        /// The shortest time between two.
        min: Duration,
    },
    /// There is nothing to hop to.
    OnePort,
    /// The ports are used up before the network has forgotten the first one.
    FewPorts {
        /// How many there are.
        ports: u32,
        /// After which time the first one comes again.
        again: Duration,
    },
    /// Ports of well-known services lie in the range.
    ServicePorts,
    /// The range lies where source ports are drawn from, so sources cannot lie below it.
    LowRange,
    /// A server without a key answers everybody.
    NoKey,
}

impl Warning {
    /// Everything that is unwise about a client.
    pub fn of_client(settings: &ClientSettings) -> Vec<Self> {
        let mut warnings = Vec::new();
        let interval = settings.timers.interval();
        if interval.min() < CALM_INTERVAL {
            warnings.push(Self::FastHops { min: interval.min() });
        }
        let ports: u32 = settings.servers.iter().map(|server| server.ports.len()).min().unwrap_or(1);
        let again = interval.min().saturating_mul(ports);
        if ports == 1 {
            warnings.push(Self::OnePort);
        } else if again < MEMORY || ports < CALM_PORTS && settings.common.key.is_some() {
            warnings.push(Self::FewPorts { ports, again });
        }
        let lowest = settings.servers.iter().map(|server| server.ports.lowest()).min().unwrap_or(1);
        if ports > 1 && lowest < 1_024 {
            warnings.push(Self::ServicePorts);
        } else if lowest < 4_096 {
            warnings.push(Self::LowRange);
        }
        warnings
    }

    /// Everything that is unwise about a server.
    pub fn of_server(settings: &ServerSettings) -> Vec<Self> {
        let mut warnings = Vec::new();
        let ports = settings.ports.len();
        if ports == 1 {
            warnings.push(Self::OnePort);
        } else if settings.ports.lowest() < 1_024 {
            warnings.push(Self::ServicePorts);
        }
        if settings.common.key.is_none() {
            warnings.push(Self::NoKey);
        }
        warnings
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FastHops { min } => write!(
                f,
                "hops every {} s: an observer sees new UDP flows to one host at a rate that no common program has, and \
                 some networks punish just that; 20 to 40 s is usual",
                min.as_secs_f64()
            ),
            Self::OnePort => {
                f.write_str("there is one port: an observer sees one long flow, and every hop leads back to it")
            }
            Self::FewPorts { ports, again } => write!(
                f,
                "{ports} ports are used up in {} s: an observer who remembers flows for ten minutes meets old ports \
                 again, and treats them as he did before; take thousands",
                again.as_secs()
            ),
            Self::ServicePorts => f.write_str(
                "the ports begin below 1024: an observer sees datagrams to ports of known services that are not that \
                 service, and networks filter many of them; take ports above 20000",
            ),
            Self::LowRange => f.write_str(
                "the ports begin below 4096: source ports cannot lie below them, and some filters look only at flows \
                 whose source port is the larger one; take ports above 20000",
            ),
            Self::NoKey => f.write_str(
                "there is no key: every port answers everybody, so a scan finds the server and strangers reach the \
                 target through it",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Common;
    use super::*;
    use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};

    fn client(servers: &str, interval: &str) -> ClientSettings {
        ClientSettings {
            listen: vec![([127, 0, 0, 1], 1).into()],
            servers: vec![servers.parse().expect("endpoints")],
            timers: Timers::below_floor(interval.parse().expect("an interval"), ByteBudget::DEFAULT, UnsafeTimers),
            common: Common::default(),
        }
    }

    #[test]
    fn calm_settings_have_no_warning_and_others_say_what_is_seen() {
        assert_eq!(Warning::of_client(&client("hop.example:20000-50000", "20s..40s")), []);
        let fast = Warning::of_client(&client("hop.example:20000-50000", "1s..2s"));
        assert_eq!(fast, [Warning::FastHops { min: Duration::from_secs(1) }]);
        let few = Warning::of_client(&client("hop.example:20000-20009", "20s"));
        assert_eq!(few, [Warning::FewPorts { ports: 10, again: Duration::from_secs(200) }]);
        assert_eq!(Warning::of_client(&client("hop.example:443", "20s")), [Warning::OnePort, Warning::LowRange]);
        assert_eq!(Warning::of_client(&client("hop.example:*", "20s")), [Warning::ServicePorts]);
        assert!(fast.iter().chain(&few).all(|warning| warning.to_string().contains("observer")));
    }
}
