//! What is allowed and unwise, in the words of somebody who watches the line.

use std::fmt;
use std::time::Duration;

use port_hopping::advice::{Advice, advice};
use port_hopping::causes::INTERVAL_FLOOR;

use super::{ClientSettings, ServerSettings};

/// Below this, hops stand out: users report that networks punish them.
const CALM_INTERVAL: Duration = Duration::from_secs(15);
/// First port that no known service is expected on.
const PORTS_OF_SERVICES: u16 = 1_024;

/// One thing that an operator should know. `Display` is a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// What the core finds in ports and timers.
    Hops(Advice),
    /// Hops are frequent, if not below the floor.
    FastHops {
        /// The shortest time between two.
        min: Duration,
    },
    /// There is nothing to hop to.
    OnePort,
    /// Ports of well-known services lie in the range.
    ServicePorts,
    /// A server without a key answers everybody.
    NoKey,
}

impl Warning {
    /// Everything that is unwise about a client.
    pub fn of_client(settings: &ClientSettings) -> Vec<Self> {
        let mut warnings = Vec::new();
        let min = settings.timers.interval().min();
        if (INTERVAL_FLOOR..CALM_INTERVAL).contains(&min) {
            warnings.push(Self::FastHops { min });
        }
        for server in &settings.servers {
            if server.ports.len() == 1 {
                warnings.push(Self::OnePort);
                continue;
            }
            warnings.extend(advice(&server.ports, settings.timers).into_iter().map(Self::Hops));
            if server.ports.lowest() < PORTS_OF_SERVICES {
                warnings.push(Self::ServicePorts);
            }
        }
        warnings.dedup();
        warnings
    }

    /// Everything that is unwise about a server.
    pub fn of_server(settings: &ServerSettings) -> Vec<Self> {
        let mut warnings = Vec::new();
        if settings.ports.len() == 1 {
            warnings.push(Self::OnePort);
        } else if settings.ports.lowest() < PORTS_OF_SERVICES {
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
            Self::Hops(advice) => advice.fmt(f),
            Self::FastHops { min } => write!(
                f,
                "hops every {min:?}: an observer sees new UDP flows to one host at a rate that no common program has, and \
                 some networks punish just that; 20s..40s is usual"
            ),
            Self::OnePort => {
                f.write_str("there is one port: an observer sees one long flow, and every hop leads back to it")
            }
            Self::ServicePorts => f.write_str(
                "the ports begin below 1024: an observer sees datagrams to ports of known services that are not that \
                 service, and networks filter many of them; take ports above 20000",
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
        let fast = Warning::of_client(&client("hop.example:20000-50000", "6s..9s"));
        assert_eq!(fast, [Warning::FastHops { min: Duration::from_secs(6) }]);
        let faster = Warning::of_client(&client("hop.example:20000-50000", "1s..2s"));
        assert_eq!(faster, [Warning::Hops(Advice::Fast { shortest: Duration::from_secs(1) })]);
        let few = Warning::of_client(&client("hop.example:20000-20009", "20s..40s"));
        assert!(matches!(few[..], [Warning::Hops(Advice::FewPorts { ports: 10, .. })]), "{few:?}");
        assert_eq!(Warning::of_client(&client("hop.example:443", "20s..40s")), [Warning::OnePort]);
        assert!(Warning::of_client(&client("hop.example:*", "20s..40s")).contains(&Warning::ServicePorts));
        assert!([fast, faster, few].concat().iter().all(|warning| warning.to_string().contains("observer")));
    }
}
