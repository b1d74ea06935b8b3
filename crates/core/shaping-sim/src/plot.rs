//! Pictures as SVG text: lines and points on linear or logarithmic axes, with units and a legend.
//!
//! Readable on paper and on any background, as the picture brings its own white one. Colours are those of Okabe and Ito, which
//! people with any kind of colour vision tell apart; points differ in shape too.

use axis::Mapping;
use labels::Labels;
use std::fmt::Write;
use svg::{Anchor, Svg};

mod axis;
mod labels;
mod series;
mod svg;

pub use axis::{Axis, Scale};
pub use series::{Look, POINTS_MAX, Series, SeriesError};

/// Most series of a chart; further ones are left out, as nobody could tell them apart.
pub const SERIES_MAX: usize = 8;

const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 440.0;
/// Where the legend begins, to the right of the axes.
const LEGEND: f64 = 712.0;
const LINE_HEIGHT: f64 = 18.0;
/// Letters of a line of the legend; longer names go on in the next line.
const LEGEND_LETTERS: usize = 26;
const COLOURS: [&str; SERIES_MAX] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#7f7f7f"];

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above the picture.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// In the order of the legend.
    pub series: Vec<Series>,
}

impl Chart {
    /// The picture as a file. Points that an axis has no place for are left out: all that is not above 0 on a logarithmic
    /// one.
    pub fn to_svg(&self) -> String {
        let series = &self.series[..self.series.len().min(SERIES_MAX)];
        let points = || series.iter().flat_map(|series| series.points().iter().copied());
        let x = Mapping::new(&self.x, points().map(|point| point.0), [LEFT, RIGHT]);
        let y = Mapping::new(&self.y, points().map(|point| point.1), [BOTTOM, TOP]);
        let mut svg = Svg::new(WIDTH, HEIGHT);
        svg.rectangle([0.0, 0.0, WIDTH, HEIGHT], "fill=\"#ffffff\"");
        svg.text([LEFT, 30.0], Anchor::Start, "font-size=\"16\" font-weight=\"bold\"", &self.title);
        self.draw_axes(&mut svg, &x, &y);
        for (series, colour) in series.iter().zip(COLOURS) {
            series.draw(&mut svg, &x, &y, colour);
        }
        let mut labels = Labels::default();
        for (series, colour) in series.iter().zip(COLOURS) {
            series.place_labels(&mut labels, &x, &y, colour);
        }
        labels.draw(&mut svg, [LEFT, TOP, RIGHT, BOTTOM]);
        draw_legend(&mut svg, series);
        svg.finish()
    }

    fn draw_axes(&self, svg: &mut Svg, x: &Mapping, y: &Mapping) {
        for tick in x.ticks() {
            svg.line([tick.at, TOP, tick.at, BOTTOM], if tick.label.is_some() { "#d8d8d8" } else { "#efefef" });
            if let Some(label) = &tick.label {
                svg.text([tick.at, BOTTOM + 18.0], Anchor::Middle, "font-size=\"12\"", label);
            }
        }
        for tick in y.ticks() {
            svg.line([LEFT, tick.at, RIGHT, tick.at], if tick.label.is_some() { "#d8d8d8" } else { "#efefef" });
            if let Some(label) = &tick.label {
                svg.text([LEFT - 8.0, tick.at + 4.0], Anchor::End, "font-size=\"12\"", label);
            }
        }
        svg.rectangle([LEFT, TOP, RIGHT - LEFT, BOTTOM - TOP], "fill=\"none\" stroke=\"#333333\"");
        svg.text([(LEFT + RIGHT) / 2.0, BOTTOM + 44.0], Anchor::Middle, "font-size=\"13\"", &self.x.label);
        let mut turned = String::from("font-size=\"13\"");
        let middle = (TOP + BOTTOM) / 2.0;
        // Writing to a string does not fail.
        let _ = write!(turned, " transform=\"rotate(-90 20 {middle})\"");
        svg.text([20.0, middle], Anchor::Middle, &turned, &self.y.label);
    }
}

fn draw_legend(svg: &mut Svg, series: &[Series]) {
    let mut y = TOP + 10.0;
    for (series, colour) in series.iter().zip(COLOURS) {
        series.draw_key(svg, [LEGEND + 12.0, y - 4.0], colour);
        for line in wrap(series.name(), LEGEND_LETTERS) {
            svg.text([LEGEND + 32.0, y], Anchor::Start, "font-size=\"12\"", &line);
            y += LINE_HEIGHT;
        }
        y += 6.0;
    }
}

/// Lines of at most this many letters, broken at blanks; a longer word has a line of its own.
fn wrap(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= letters {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests;
