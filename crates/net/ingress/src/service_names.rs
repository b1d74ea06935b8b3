//! Names of onion services: a mistake in one is told at once, and none goes where it would be resolved.

use onion_service::{ADDRESS_SUFFIX, AddressError, ServiceAddress};
use thiserror::Error;
use wire::flow::{Destination, Host};

/// Why a name that ends in `.hush` is refused before anybody is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum WrongName {
    /// It is none.
    #[error("this is no address of a service: {0}; copy it again, whole")]
    Address(AddressError),
    /// This entry leads to none.
    #[error(
        "this entry does not lead to services: its configuration needs `network.services = true`, and a `network.file` to go over relays"
    )]
    NotOffered,
}

/// What is to be done with names of services.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServiceNames {
    /// Whether they lead anywhere.
    pub(crate) offered: bool,
}

impl ServiceNames {
    /// Whether a flow may go there.
    ///
    /// # Errors
    /// [`WrongName`]. Whatever is no service's name is fine.
    pub(crate) fn check(self, destination: &Destination) -> Result<(), WrongName> {
        let Host::Name(name) = &destination.host else { return Ok(()) };
        if !is_one(destination) {
            return Ok(());
        }
        name.as_str().parse::<ServiceAddress>().map_err(WrongName::Address)?;
        if self.offered { Ok(()) } else { Err(WrongName::NotOffered) }
    }
}

/// Whether it is a service's name, right or wrong.
pub(crate) fn is_one(destination: &Destination) -> bool {
    match &destination.host {
        // Some applications end names with a dot.
        Host::Name(name) => name.as_str().trim_end_matches('.').ends_with(ADDRESS_SUFFIX),
        Host::Ip(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::flow::HostName;

    #[test]
    fn names_of_services_are_looked_at_and_others_are_not() {
        let to = |name: &str| Destination { host: Host::Name(HostName::new(name).expect("a name")), port: 80 };
        let address = ServiceAddress([7; 32]).to_string();
        let (offered, not) = (ServiceNames { offered: true }, ServiceNames { offered: false });
        assert_eq!(offered.check(&to(&address)), Ok(()));
        assert_eq!(offered.check(&to(&address.to_uppercase())), Ok(()));
        assert_eq!(not.check(&to(&address)), Err(WrongName::NotOffered));
        let wrong = address.replacen('a', "b", 1);
        for names in [offered, not] {
            assert_eq!(names.check(&to(&wrong)), Err(WrongName::Address(AddressError::Checksum)));
            let short = names.check(&to("abc.hush")).expect_err("too short").to_string();
            assert_eq!(
                short,
                "this is no address of a service: this address has 3 letters before `.hush` where 56 belong; copy it again, whole"
            );
            assert!(
                names.check(&to(&format!("{address}."))).is_err(),
                "with a dot at its end it is refused, not resolved"
            );
            assert_eq!(names.check(&to("example.org")), Ok(()));
        }
    }
}
