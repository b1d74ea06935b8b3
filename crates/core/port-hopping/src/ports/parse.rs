//! Lists of ports as people write them.

use super::{PORT_PIECES_MAX, PortRange, PortSet};
use crate::piece::{Piece, pieces};
use std::str::FromStr;
use thiserror::Error;

/// Why a text is not a set of ports. Always the writer's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortSetError {
    /// There is no text.
    #[error("no ports; write a list such as 1234,5678,20000-50000")]
    Empty,
    /// Nothing between two commas.
    #[error("{0} is empty; remove a comma")]
    EmptyPiece(Piece),
    /// Something that is neither a port nor a range.
    #[error("{0} is not a port from 1 to 65535 and no range such as 20000-50000")]
    NotAPort(Piece),
    /// Port 0, alone or at the begin of a range.
    #[error("{0} has port 0, which no packet can be sent to; the lowest port is 1")]
    PortZero(Piece),
    /// A range whose end lies before its begin.
    #[error("{piece} runs from {first} down to {last}; write the lower port first")]
    UpsideDown {
        /// Which piece.
        piece: Piece,
        /// What stands first.
        first: u16,
        /// What stands last.
        last: u16,
    },
    /// More than [`PORT_PIECES_MAX`] pieces.
    #[error("more than {PORT_PIECES_MAX} pieces; write ranges")]
    TooManyPieces,
}

impl PortSetError {
    /// The same mistake in a text in which the list of ports begins at `offset`.
    pub(crate) fn moved_by(self, offset: usize) -> Self {
        match self {
            Self::EmptyPiece(piece) => Self::EmptyPiece(piece.moved_by(offset)),
            Self::NotAPort(piece) => Self::NotAPort(piece.moved_by(offset)),
            Self::PortZero(piece) => Self::PortZero(piece.moved_by(offset)),
            Self::UpsideDown { piece, first, last } => Self::UpsideDown { piece: piece.moved_by(offset), first, last },
            Self::Empty | Self::TooManyPieces => self,
        }
    }
}

impl FromStr for PortSet {
    type Err = PortSetError;

    fn from_str(text: &str) -> Result<Self, PortSetError> {
        if text.trim().is_empty() {
            return Err(PortSetError::Empty);
        }
        let mut ranges = Vec::new();
        for (piece, part) in pieces(text) {
            if piece.number > PORT_PIECES_MAX {
                return Err(PortSetError::TooManyPieces);
            }
            ranges.push(range(piece, part)?);
        }
        Self::from_ranges(ranges).ok_or(PortSetError::Empty)
    }
}

fn range(piece: Piece, part: &str) -> Result<PortRange, PortSetError> {
    if part.is_empty() {
        return Err(PortSetError::EmptyPiece(piece));
    }
    if part == "*" || part == "all" {
        return Ok(PortRange::ALL);
    }
    let (first, last) = part.split_once(['-', ':']).unwrap_or((part, part));
    let (Some(first), Some(last)) = (port(first.trim()), port(last.trim())) else {
        return Err(PortSetError::NotAPort(piece));
    };
    match (first, last) {
        (0, _) => Err(PortSetError::PortZero(piece)),
        _ => PortRange::new(first, last).ok_or(PortSetError::UpsideDown { piece, first, last }),
    }
}

/// A number without sign: `u16` alone would take `+5`.
fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, PortSetError> {
        text.parse::<PortSet>().map(|set| set.to_string())
    }

    #[test]
    fn lists_are_read() {
        for (text, printed) in [
            ("1234,5678,20000-50000", "1234,5678,20000-50000"),
            ("  5678 , 1234 ", "1234,5678"),
            ("2080:3000", "2080-3000"),
            ("20000 - 20001", "20000-20001"),
            ("7-7", "7"),
            ("*", "1-65535"),
            ("all", "1-65535"),
            ("5,*", "1-65535"),
            ("1-65535", "1-65535"),
            ("1-3,2-6,7", "1-7"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(printed), "{text}");
        }
    }

    #[test]
    fn defect_min_above_max_is_refused_and_not_a_panic() {
        let piece = Piece { number: 2, span: 3..10 };
        let error = PortSetError::UpsideDown { piece, first: 500, last: 400 };
        assert_eq!(parse("1, 500-400"), Err(error.clone()));
        assert_eq!(
            error.to_string(),
            "piece 2 (characters 4 to 10) runs from 500 down to 400; write the lower port first"
        );
    }

    #[test]
    fn defect_a_range_of_65536_ports_is_refused_with_a_reason_and_not_a_panic() {
        assert_eq!(parse("0-65535"), Err(PortSetError::PortZero(Piece { number: 1, span: 0..7 })));
        assert_eq!(parse("1-65536"), Err(PortSetError::NotAPort(Piece { number: 1, span: 0..7 })));
    }

    #[test]
    fn mistakes_point_at_their_piece() {
        let at = |number, span| Piece { number, span };
        assert_eq!(parse(""), Err(PortSetError::Empty));
        assert_eq!(parse("  "), Err(PortSetError::Empty));
        assert_eq!(parse("1,,2"), Err(PortSetError::EmptyPiece(at(2, 2..2))));
        assert_eq!(parse("1,2,"), Err(PortSetError::EmptyPiece(at(3, 4..4))));
        assert_eq!(parse("1, 0"), Err(PortSetError::PortZero(at(2, 3..4))));
        for junk in ["x", "-", "1-", "-1", "+1", "1--2", "1-2-3", "70000", "0x10", "1.5", "é", "١"] {
            assert_eq!(parse(junk), Err(PortSetError::NotAPort(at(1, 0..junk.len()))), "{junk}");
        }
    }

    #[test]
    fn a_list_has_a_bound() {
        assert_eq!(parse(&vec!["5"; PORT_PIECES_MAX].join(",")).as_deref(), Ok("5"));
        assert_eq!(parse(&vec!["5"; PORT_PIECES_MAX + 1].join(",")), Err(PortSetError::TooManyPieces));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<PortSet>();
        }

        #[test]
        fn any_list_of_characters_of_lists_is_read_or_refused(text in "[0-9,:*\\- ]{0,24}") {
            if let Ok(set) = text.parse::<PortSet>() {
                prop_assert_eq!(set.to_string().parse::<PortSet>(), Ok(set));
            }
        }
    }
}
