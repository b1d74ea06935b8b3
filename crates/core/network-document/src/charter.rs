//! What a network is, whatever relays it has: its name, its packets, and who decides.

use crate::error::{DocumentError, Problem};
use crate::founding::Founding;
use crate::label::Label;
use crate::lines::{Lines, key, number};
use data_encoding::HEXLOWER;
use identity::OperatorKey;
use packet_crypto::keys::sha256;
use std::fmt;
use std::fmt::Write as _;
use wire::packet::PacketSize;

/// Operators of a network at most; further ones are refused.
pub const OPERATORS_MAX: usize = 16;
/// The first line of a charter, and so of a document, begins with it.
const VERSION: &str = "hushwire-network";
/// What stands behind it where operators sign documents.
const OF_OPERATORS: &str = "1";
/// What stands behind it where a directory agrees on editions.
const OF_DIRECTORY: &str = "2";
/// What is hashed before the charter.
const ID_CONTEXT: &[u8] = b"hushwire network 1";

/// What every handshake in a network binds: the hash of its charter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(pub [u8; 32]);

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkId({self})")
    }
}

/// The lines of a document that stay for as long as the network is the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    name: Label,
    packet_size: PacketSize,
    operators: Vec<OperatorKey>,
    threshold: u8,
    founding: Option<Founding>,
}

impl Charter {
    /// A charter. The order of operators has no meaning.
    ///
    /// # Errors
    /// When an operator is there twice, or `threshold` of them cannot sign.
    pub fn new(
        name: Label,
        packet_size: PacketSize,
        mut operators: Vec<OperatorKey>,
        threshold: u8,
    ) -> Result<Self, Problem> {
        operators.sort_unstable();
        if operators.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Problem::Order { keyword: "operator-key" });
        }
        let enough = usize::from(threshold) <= operators.len() && operators.len() <= OPERATORS_MAX;
        if threshold == 0 || !enough {
            return Err(Problem::Threshold);
        }
        Ok(Self { name, packet_size, operators, threshold, founding: None })
    }

    /// The charter of a network with a directory: what the directory calls document 0. It is another network.
    ///
    /// # Errors
    /// When a value of `founding` is out of its range.
    pub fn with_directory(self, founding: Founding) -> Result<Self, Problem> {
        founding.check()?;
        Ok(Self { founding: Some(founding), ..self })
    }

    /// Reads a file that holds a charter alone.
    ///
    /// # Errors
    /// When it is not exactly as [`Charter::text`] writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        let charter = Self::read(&mut lines)?;
        lines.finish()?;
        Ok(charter)
    }

    pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Self, DocumentError> {
        let start = lines.at();
        let version = lines.take(VERSION)?;
        if ![OF_OPERATORS, OF_DIRECTORY].contains(&version) {
            let problem = Problem::Value { keyword: VERSION, rule: "1 or 2, the only versions that there are" };
            return Err(lines.here(problem));
        }
        let name = lines.take("name")?;
        let name = Label::new(name, "name").map_err(|problem| lines.here(problem))?;
        let packet_size = lines.take("packet-size")?;
        let packet_size = number("packet-size", packet_size).ok().and_then(|size| u32::try_from(size).ok());
        let packet_size = packet_size.and_then(|size| PacketSize::new(size).ok()).ok_or_else(|| {
            lines.here(Problem::Value { keyword: "packet-size", rule: "a number of bytes from 1340 to 1452" })
        })?;
        let mut operators: Vec<OperatorKey> = Vec::new();
        while let Some(value) = lines.take_if("operator-key") {
            let operator = key("operator-key", value).map_err(|problem| lines.here(problem))?;
            if operators.last().is_some_and(|last| *last >= operator) {
                return Err(lines.here(Problem::Order { keyword: "operator-key" }));
            }
            if operators.len() >= OPERATORS_MAX {
                return Err(lines.here(Problem::TooMany { keyword: "operator-key", max: OPERATORS_MAX }));
            }
            operators.push(operator);
        }
        let threshold = lines.take("threshold")?;
        let threshold = number("threshold", threshold).ok().and_then(|number| u8::try_from(number).ok());
        let threshold = threshold.ok_or_else(|| lines.here(Problem::Threshold))?;
        let mut charter = Self::new(name, packet_size, operators, threshold).map_err(|problem| lines.here(problem))?;
        if version == OF_DIRECTORY {
            charter.founding = Some(Founding::read(lines)?);
        }
        lines.check_form(start, &charter.text())?;
        Ok(charter)
    }

    /// The lines, as they are hashed.
    pub fn text(&self) -> String {
        let version = if self.founding.is_some() { OF_DIRECTORY } else { OF_OPERATORS };
        let mut text = format!("{VERSION} {version}\nname {}\n", self.name);
        let _fits = writeln!(text, "packet-size {}", self.packet_size.packet());
        for operator in &self.operators {
            let _fits = writeln!(text, "operator-key {operator}");
        }
        let _fits = writeln!(text, "threshold {}", self.threshold);
        if let Some(founding) = &self.founding {
            text.push_str(&founding.text());
        }
        text
    }

    /// What names the network in every handshake.
    pub fn network_id(&self) -> NetworkId {
        NetworkId(sha256(&[ID_CONTEXT, self.text().as_bytes()].concat()))
    }

    /// The network as circuits need it.
    pub fn network(&self) -> onion::Network {
        onion::Network { id: self.network_id().0, packet_size: self.packet_size }
    }

    /// Its name.
    pub fn name(&self) -> &Label {
        &self.name
    }

    /// P of all its links.
    pub fn packet_size(&self) -> PacketSize {
        self.packet_size
    }

    /// Who may sign its documents, in ascending order.
    pub fn operators(&self) -> &[OperatorKey] {
        &self.operators
    }

    /// The directory that it has, if it has one.
    pub fn founding(&self) -> Option<&Founding> {
        self.founding.as_ref()
    }

    /// How many of them must sign a document.
    pub fn threshold(&self) -> usize {
        usize::from(self.threshold)
    }
}
