//! Where the labels of points stand: beside their point, where they cover the fewest points and other labels.

use super::svg::{Anchor, Svg};

/// Width of a letter at the size of labels, on average, and height of a line.
const LETTER: [f64; 2] = [6.0, 12.0];
/// How far the text stands from its point, to the side, above and below.
const ASIDE: f64 = 8.0;
/// See [`ASIDE`].
const ABOVE: f64 = 6.0;
/// See [`ASIDE`].
const BELOW: f64 = 15.0;
/// Half of what a point covers.
const POINT: f64 = 6.0;

/// Left, top, right, bottom.
pub(super) type Area = [f64; 4];

/// Everything that labels should not cover, and the labels to come.
#[derive(Debug, Default)]
pub(super) struct Labels<'a> {
    taken: Vec<Area>,
    waiting: Vec<(&'a str, [f64; 2], &'a str)>,
}

impl<'a> Labels<'a> {
    /// A point at this place.
    pub(super) fn add_point(&mut self, [x, y]: [f64; 2]) {
        self.taken.push([x - POINT, y - POINT, x + POINT, y + POINT]);
    }

    /// A label for the point at this place.
    pub(super) fn add_label(&mut self, text: &'a str, place: [f64; 2], colour: &'a str) {
        self.waiting.push((text, place, colour));
    }

    /// Draws all of them within this area.
    pub(super) fn draw(mut self, svg: &mut Svg, within: Area) {
        for (text, [x, y], colour) in std::mem::take(&mut self.waiting) {
            let width = LETTER[0] * text.chars().count() as f64;
            let sides = [(x + ASIDE, Anchor::Start), (x, Anchor::Middle), (x - ASIDE, Anchor::End)];
            let candidates = sides.iter().flat_map(|side| [(*side, y - ABOVE), (*side, y + BELOW), (*side, y + 4.0)]);
            // A text in the middle beside the point would lie on it.
            let candidates = candidates.filter(|((_, anchor), at)| *anchor != Anchor::Middle || *at != y + 4.0);
            let score = |((x, anchor), y): &((f64, Anchor), f64)| self.score(area(*x, *y, *anchor, width), within);
            let mut best: Option<((f64, Anchor), f64)> = None;
            for candidate in candidates {
                if best.as_ref().is_none_or(|best| score(&candidate) < score(best)) {
                    best = Some(candidate);
                }
            }
            let Some(((x, anchor), y)) = best else { continue };
            self.taken.push(area(x, y, anchor, width));
            // A white edge keeps letters readable where lines cross them.
            let style = format!(
                "font-size=\"11\" fill=\"{colour}\" stroke=\"#ffffff\" stroke-width=\"2\" paint-order=\"stroke\""
            );
            svg.text([x, y], anchor, &style, text);
        }
    }

    /// How much is covered, in square pixels; what leaves the axes counts as much more.
    fn score(&self, label: Area, within: Area) -> f64 {
        let outside = [within[0] - label[0], within[1] - label[1], label[2] - within[2], label[3] - within[3]];
        let outside: f64 = outside.into_iter().map(|beyond| beyond.max(0.0)).sum();
        self.taken.iter().map(|taken| overlap(label, *taken)).sum::<f64>() + 1_000.0 * outside
    }
}

fn area(x: f64, y: f64, anchor: Anchor, width: f64) -> Area {
    let left = match anchor {
        Anchor::Start => x,
        Anchor::Middle => x - width / 2.0,
        Anchor::End => x - width,
    };
    [left, y - LETTER[1] + 2.0, left + width, y + 2.0]
}

fn overlap(one: Area, other: Area) -> f64 {
    let width = one[2].min(other[2]) - one[0].max(other[0]);
    let height = one[3].min(other[3]) - one[1].max(other[1]);
    if width > 0.0 && height > 0.0 { width * height } else { 0.0 }
}
