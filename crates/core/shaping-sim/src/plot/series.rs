//! What is drawn: lines, points, and the corner that a target leaves.

use super::axis::Mapping;
use super::labels::Labels;
use super::svg::Svg;
use thiserror::Error;

/// Most points of a series.
pub const POINTS_MAX: usize = 100_000;
/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Points, joined by a thin line in their order.
    Joined,
    /// Points alone.
    Points,
    /// A line without points.
    Line,
    /// A line that goes on level until the next point, as a rate does.
    Steps,
    /// The corner of all that is at most the one point of the series.
    Corner,
    /// A broken line across the picture at the height of the one point of the series.
    Level,
}

/// A series that cannot be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SeriesError {
    /// Not a number, or infinite.
    #[error("point {0} of a series is no pair of finite numbers")]
    NotFinite(usize),
    /// Too many.
    #[error("a series of more than {POINTS_MAX} points")]
    TooMany,
}

/// One entry of the legend.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    name: String,
    look: Look,
    points: Vec<(f64, f64)>,
    /// Written beside points, in their order; an empty one is nothing.
    labels: Vec<String>,
}

impl Series {
    /// Checks that all numbers are finite.
    pub fn new(name: &str, look: Look, points: Vec<(f64, f64)>) -> Result<Self, SeriesError> {
        if points.len() > POINTS_MAX {
            return Err(SeriesError::TooMany);
        }
        match points.iter().position(|(x, y)| !(x.is_finite() && y.is_finite())) {
            Some(bad) => Err(SeriesError::NotFinite(bad)),
            None => Ok(Self { name: name.to_owned(), look, points, labels: Vec::new() }),
        }
    }

    /// Writes these beside the points, in their order; an empty one is nothing.
    #[must_use]
    pub fn with_labels(mut self, labels: Vec<String>) -> Self {
        self.labels = labels;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    pub(super) fn draw(&self, svg: &mut Svg, x: &Mapping, y: &Mapping, colour: &str) {
        let place = |point: &(f64, f64)| Some([x.place(point.0)?, y.place(point.1)?]);
        let places: Vec<_> = self.points.iter().filter_map(place).collect();
        match self.look {
            Look::Joined => svg.path(&places, colour, 1.2),
            Look::Line => svg.path(&places, colour, 1.5),
            Look::Steps => svg.path(&steps(&places), colour, 1.8),
            Look::Corner => {
                if let Some(&[right, top]) = places.first() {
                    let (left, bottom) = (x.origin(), y.origin());
                    let area = [left, top, right - left, bottom - top];
                    svg.rectangle(area, &format!("fill=\"{colour}\" fill-opacity=\"0.12\" stroke=\"{colour}\""));
                }
            }
            Look::Level => {
                if let Some(at_y) = self.points.first().and_then(|point| y.place(point.1)) {
                    svg.broken_line([x.origin(), at_y, x.end(), at_y], colour);
                }
            }
            Look::Points => {}
        }
        if matches!(self.look, Look::Joined | Look::Points) {
            places.iter().for_each(|&place| svg.marker(place, marker_of(colour), colour));
        }
    }

    /// Says where points and labels are.
    pub(super) fn place_labels<'a>(&'a self, labels: &mut Labels<'a>, x: &Mapping, y: &Mapping, colour: &'a str) {
        let texts = self.labels.iter().map(String::as_str).chain(std::iter::repeat(""));
        for (point, text) in self.points.iter().zip(texts) {
            let (Some(at_x), Some(at_y)) = (x.place(point.0), y.place(point.1)) else { continue };
            if matches!(self.look, Look::Joined | Look::Points) {
                labels.add_point([at_x, at_y]);
            }
            if !text.is_empty() {
                labels.add_label(text, [at_x, at_y], colour);
            }
        }
    }

    /// The sample beside the name.
    pub(super) fn draw_key(&self, svg: &mut Svg, [x, y]: [f64; 2], colour: &str) {
        match self.look {
            Look::Corner => {
                let style = format!("fill=\"{colour}\" fill-opacity=\"0.12\" stroke=\"{colour}\"");
                svg.rectangle([x - 12.0, y - 6.0, 24.0, 12.0], &style);
            }
            Look::Points => svg.marker([x, y], marker_of(colour), colour),
            Look::Joined => {
                svg.path(&[[x - 12.0, y], [x + 12.0, y]], colour, 1.2);
                svg.marker([x, y], marker_of(colour), colour);
            }
            Look::Level => svg.broken_line([x - 12.0, y, x + 12.0, y], colour),
            Look::Line | Look::Steps => svg.path(&[[x - 12.0, y], [x + 12.0, y]], colour, 2.0),
        }
    }
}

/// The same places with a corner between each two.
fn steps(places: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut corners = Vec::with_capacity(2 * places.len());
    for (index, &[x, y]) in places.iter().enumerate() {
        if let Some(&[_, before]) = index.checked_sub(1).and_then(|index| places.get(index)) {
            corners.push([x, before]);
        }
        corners.push([x, y]);
    }
    corners
}

/// Every colour has a shape, so that both tell series apart.
fn marker_of(colour: &str) -> usize {
    super::COLOURS.iter().position(|known| *known == colour).unwrap_or(0)
}
