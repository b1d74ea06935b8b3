//! What an edition says beside its relays, as text.

use super::EditionName;
use crate::charter::Charter;
use crate::electorate::Electorate;
use crate::error::{DocumentError, Problem};
use crate::founding::Founding;
use crate::lines::Lines;
use crate::parameters::Parameters;
use data_encoding::HEXLOWER;
use onion::Interval;
use std::fmt::Write as _;
use std::sync::Arc;

/// Charter, index, the edition before, who has to sign, and the parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditionHead {
    charter: Arc<Charter>,
    /// A copy, so that no reader has to ask whether there is one.
    founding: Founding,
    pub(super) index: u64,
    pub(super) previous: EditionName,
    pub(super) electorate: Electorate,
    pub(super) parameters: Parameters,
}

impl EditionHead {
    /// A head.
    ///
    /// # Errors
    /// [`Problem::OtherKind`] for a charter without a directory; [`Problem::Value`] when `previous` is not before `index`; what
    /// is wrong with the parameters.
    pub fn new(
        charter: Arc<Charter>,
        index: u64,
        previous: EditionName,
        electorate: Electorate,
        parameters: Parameters,
    ) -> Result<Self, Problem> {
        let founding = charter.founding().ok_or(Problem::OtherKind)?.clone();
        parameters.check()?;
        if previous.index >= index {
            return Err(Problem::Value { keyword: "previous", rule: "before the edition itself" });
        }
        if previous.index == 0 && previous.hash != charter.network_id().0 {
            return Err(Problem::Value { keyword: "previous", rule: "the network's id where it is 0" });
        }
        Ok(Self { charter, founding, index, previous, electorate, parameters })
    }

    /// What the network is.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The directory's clock and beginning.
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// How everybody behaves.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The number of the onion keys that the edition is for.
    pub fn key_interval(&self) -> Interval {
        self.founding.key_interval(self.index)
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.charter.text();
        let previous = HEXLOWER.encode(&self.previous.hash);
        let _fits = writeln!(text, "index {}\nprevious {} {previous}", self.index, self.previous.index);
        text.push_str(&self.electorate.text());
        text.push_str(&self.parameters.text());
        text
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        let charter = Arc::new(Charter::read(&mut lines)?);
        let start = lines.at();
        let index = lines.take_number("index")?;
        let previous = lines.take("previous")?;
        let previous = read_name(previous).map_err(|problem| lines.here(problem))?;
        let electorate = Electorate::read(&mut lines)?;
        let parameters = Parameters::read(&mut lines)?;
        lines.finish()?;
        let head = Self::new(charter, index, previous, electorate, parameters);
        let head = head.map_err(|problem| lines.here(problem))?;
        lines.check_form(start, &head.text()[start..])?;
        Ok(head)
    }
}

fn read_name(text: &str) -> Result<EditionName, Problem> {
    let rule = "the index of an edition and its hash, 64 digits 0 to 9 and a to f";
    let bad = Problem::Value { keyword: "previous", rule };
    let (index, hash) = text.split_once(' ').ok_or(bad)?;
    let hash = HEXLOWER.decode(hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok()).ok_or(bad)?;
    Ok(EditionName { index: index.parse().map_err(|_| bad)?, hash })
}
