//! Where the files of a demo are.

use crate::commands::demo::place::Place;
use crate::failure::{Code, Failure};
use crate::local::pair::free_tcp_port;
use crate::settings;
use local_network::{LocalNetwork, Plan, Shape, ShapeError, WriteError};
use shaping::RateClass;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A folder with the files of a network.
#[derive(Debug)]
pub(super) struct Home {
    network: LocalNetwork,
    shape: Shape,
    proxy: SocketAddr,
    is_shaped: bool,
    /// Last, because it may go away with the value.
    _place: Place,
}

impl Home {
    /// Writes all files, into `keep` if that is given. `constant`: rate of both directions, without which the mode is `off`. `port`:
    /// where the proxy is to be; 0 for a free one.
    pub(super) fn make(
        keep: Option<&Path>,
        shape: Shape,
        constant: Option<RateClass>,
        port: u16,
    ) -> Result<Self, Failure> {
        // Before anything is made.
        shape.rules().map_err(|error| refused(error.into()))?;
        let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, free_tcp_port(port)?));
        let place = Place::make(keep)?;
        let plan = Plan { constant, ..Plan::new(shape, proxy) };
        let network = LocalNetwork::write(place.path(), &plan).map_err(refused)?;
        Ok(Self { network, shape, proxy, is_shaped: constant.is_some(), _place: place })
    }

    pub(super) fn network(&self) -> &LocalNetwork {
        &self.network
    }

    pub(super) fn folder(&self) -> &Path {
        self.network.folder()
    }

    pub(super) fn entry_config(&self) -> PathBuf {
        self.network.entry_config()
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn is_shaped(&self) -> bool {
        self.is_shaped
    }

    pub(super) fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// How to go on without the demo.
    pub(super) fn by_hand(&self) -> String {
        let mut text = format!(
            "Everything is left in {}. To run the parts by hand, each in a terminal of its own:\n\n",
            self.folder().display()
        );
        for relay in self.network.relays() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  hushwire relay {}", relay.config.display());
        }
        let _ = writeln!(text, "  hushwire exit -c {}", self.network.exit().config.display());
        let _ = writeln!(text, "  hushwire entry -c {}", self.entry_config().display());
        let _ = writeln!(text, "\nThe proxy is then at socks5h://{} again.", self.proxy);
        text
    }
}

fn refused(error: WriteError) -> Failure {
    match error {
        WriteError::Shape(ShapeError::Few { relays, legs, hops, least }) => {
            let fewer = if legs > 1 { format!(", or fewer legs than {legs}") } else { String::new() };
            let is_enough_for_two = Shape { relays, hops: 2, legs }.rules().is_ok();
            let shorter = if hops > 2 && is_enough_for_two { ", or `--hops 2`" } else { "" };
            Failure::from_error(Code::Usage, &error).remedy(format!("ask for `--relays {least}`{fewer}{shorter}"))
        }
        WriteError::Shape(_) => Failure::from_error(Code::Usage, &error),
        WriteError::File(error) => settings::secret(&error),
        WriteError::Port { .. } => {
            Failure::from_error(Code::System, &error).remedy("all of 127.0.0.0/8 has to be this machine")
        }
        WriteError::Random => Failure::from_error(Code::System, &error),
        WriteError::Document(_) => Failure::from_error(Code::Software, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::folder::Folder;

    #[test]
    fn too_few_relays_are_refused_with_what_is_enough() {
        let refusal = |relays, hops, legs| {
            let refused =
                Home::make(None, Shape { relays, hops, legs }, None, 0).expect_err("there is no such network");
            format!("{refused:?}")
        };
        let few = refusal(4, 3, 2);
        assert!(few.contains("it takes 5 at least") && few.contains("--relays 5"), "{few}");
        assert!(refusal(3, 1, 2).contains("use 2 or 3 hops"));
        assert!(Home::make(None, Shape { relays: 6, hops: 3, legs: 2 }, None, 0).is_ok());
    }

    #[test]
    fn a_folder_that_is_kept_says_how_to_go_on_and_is_never_overwritten() {
        let parent = Folder::new().expect("a folder for temporary files");
        let (keep, shape) = (parent.path().join("kept"), Shape { relays: 3, hops: 2, legs: 2 });
        let home = Home::make(Some(&keep), shape, None, 0).expect("files");
        let text = home.by_hand();
        assert_eq!(text.matches("hushwire relay ").count(), 2, "{text}");
        assert!(text.contains("hushwire exit -c ") && text.contains("hushwire entry -c "), "{text}");
        let again = Home::make(Some(&keep), shape, None, 0).expect_err("it is not empty");
        assert!(again.sentence().contains("is not empty"));
    }
}
