//! Asking a member's service.

use super::place::member;
use crate::args::directory::SocketArgs;
use crate::failure::{Code, Failure};
use directory_node::{AskError, ServiceClient};
use network_document::SignedEdition;
use relay_directory::{
    Answer, CommandOutcome, MembersStanding, Request, ServiceAnswer, ServiceRequest, ServicesStanding, Standing,
};
use std::io::ErrorKind;
use std::path::Path;

/// A connection to a member.
pub(super) struct Asked(ServiceClient);

fn unexpected() -> Failure {
    Failure::new(Code::Unavailable, "the member answered something else")
        .remedy("compare `hushwire version` with the node's")
}

impl Asked {
    pub(super) fn connect(socket: &SocketArgs) -> Result<Self, Failure> {
        Self::at(&member(socket)?)
    }

    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        ServiceClient::connect(path).map(Self).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Failure::new(Code::Unavailable, format!("no member serves {}", path.display()))
                    .remedy("name the socket of a member that runs with --socket PATH")
            }
            ErrorKind::PermissionDenied => Failure::io(format_args!("cannot ask {}", path.display()), &error)
                .remedy("run this command as the user of the node, or in its group"),
            _ => Failure::io(format_args!("cannot ask {}", path.display()), &error),
        })
    }

    fn ask(&mut self, request: &ServiceRequest) -> Result<ServiceAnswer, Failure> {
        self.0.ask(request).map_err(|error| match error {
            AskError::NoAnswer => unexpected(),
            AskError::System(_) | AskError::Closed => {
                Failure::new(Code::Unavailable, format!("the member gives no answer: {error}"))
                    .remedy("look at the node's log")
            }
        })
    }

    pub(super) fn standing(&mut self) -> Result<Standing, Failure> {
        match self.ask(&ServiceRequest::Standing)? {
            ServiceAnswer::Standing(standing) => Ok(standing),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn members(&mut self) -> Result<MembersStanding, Failure> {
        match self.ask(&ServiceRequest::Members)? {
            ServiceAnswer::Members(members) => Ok(members),
            _ => Err(unexpected()),
        }
    }

    pub(super) fn submit(&mut self, command: Vec<u8>) -> Result<CommandOutcome, Failure> {
        match self.ask(&ServiceRequest::Submit(command))? {
            ServiceAnswer::Submit(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    /// How full of services' records the member is.
    pub(super) fn services(&mut self) -> Result<ServicesStanding, Failure> {
        match self.ask(&ServiceRequest::Services)? {
            ServiceAnswer::Services(services) => Ok(services),
            _ => Err(unexpected()),
        }
    }

    /// `None` when it is not there.
    pub(super) fn edition(&mut self, request: Request) -> Result<Option<SignedEdition>, Failure> {
        match self.ask(&ServiceRequest::Fetch(request))? {
            ServiceAnswer::Fetch(Answer::Full(bytes)) => {
                let edition = SignedEdition::decode(&bytes);
                edition.map(Some).map_err(|error| Failure::new(Code::Data, format!("the member's edition: {error}")))
            }
            ServiceAnswer::Fetch(Answer::Unknown) => Ok(None),
            _ => Err(unexpected()),
        }
    }
}

/// Digits of a hash.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
