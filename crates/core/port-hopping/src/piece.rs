//! Where in a list a mistake stands.

use std::fmt;
use std::ops::Range;

/// One piece of a list, by number and by place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Counted from 1.
    pub number: usize,
    /// The bytes of the text that it stands in.
    pub span: Range<usize>,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "piece {} (characters {} to {})", self.number, self.span.start + 1, self.span.end.max(1))
    }
}

impl Piece {
    /// The same piece of a text in which this list begins at `offset`.
    pub(crate) fn moved_by(self, offset: usize) -> Self {
        Self { number: self.number, span: self.span.start + offset..self.span.end + offset }
    }
}

/// The pieces between the commas of `text`, without the blanks around them.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = (Piece, &str)> {
    let mut at = 0;
    text.split(',').enumerate().map(move |(index, raw)| {
        let start = at + raw.len() - raw.trim_start().len();
        let trimmed = raw.trim();
        at += raw.len() + 1;
        (Piece { number: index + 1, span: start..start + trimmed.len() }, trimmed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_knows_its_place() {
        let text = "a,  bc ,,d";
        let found: Vec<_> = pieces(text).map(|(piece, part)| (piece.number, piece.span, part)).collect();
        assert_eq!(found, [(1, 0..1, "a"), (2, 4..6, "bc"), (3, 8..8, ""), (4, 9..10, "d")]);
        for (_, span, part) in found {
            assert_eq!(&text[span], part);
        }
    }

    #[test]
    fn a_piece_is_written_for_people() {
        assert_eq!(Piece { number: 2, span: 4..6 }.to_string(), "piece 2 (characters 5 to 6)");
    }
}
