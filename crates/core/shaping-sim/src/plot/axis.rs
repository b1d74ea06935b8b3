//! Axes: from numbers to places, and where to write which number.

/// How numbers are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0, or from below if there are negative numbers.
    Linear,
    /// Every factor of ten takes the same room.
    Logarithmic,
}

/// One axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// How.
    pub scale: Scale,
}

impl Axis {
    /// An axis from 0.
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear }
    }

    /// A logarithmic axis.
    pub fn logarithmic(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Logarithmic }
    }
}

/// A line across the picture, with a number beside it or without.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: Option<String>,
}

/// An axis with its range and its place in the picture.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    scale: Scale,
    /// Least and greatest number; on a logarithmic axis their decimal logarithms.
    range: [f64; 2],
    place: [f64; 2],
}

/// Steps that a linear axis is divided into, about.
const STEPS: f64 = 6.0;
/// Up to this many decades of a logarithmic axis the numbers 2 and 5 of each have labels too.
const DECADES_WITH_PARTS: f64 = 2.5;

impl Mapping {
    /// `place`: where least and greatest number lie.
    pub(super) fn new(axis: &Axis, values: impl Iterator<Item = f64>, place: [f64; 2]) -> Self {
        let scale = axis.scale;
        let values = values.filter_map(|value| scale.measure(value));
        let (mut least, mut greatest) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if least > greatest {
            (least, greatest) = (0.0, 0.0);
        }
        let range = match scale {
            Scale::Linear => {
                let least = least.min(0.0);
                let greatest = if least < 0.0 || greatest > 0.0 { greatest.max(0.0) } else { 1.0 };
                let step = step(greatest - least);
                [(least / step).floor() * step, ((greatest / step).ceil() * step).max(step)]
            }
            Scale::Logarithmic => {
                let (low, high) = (floor_part(least), ceil_part(greatest));
                // One number alone stands at the left end.
                [low, if high > low { high } else { ceil_part(high + 0.1) }]
            }
        };
        Self { scale, range, place }
    }

    /// Where a number lies; none for one that has no place on this axis.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let measure = self.scale.measure(value)?;
        let share = (measure - self.range[0]) / (self.range[1] - self.range[0]);
        Some(self.place[0] + share * (self.place[1] - self.place[0]))
    }

    /// Where the axis begins.
    pub(super) fn origin(&self) -> f64 {
        self.place[0]
    }

    /// Where it ends.
    pub(super) fn end(&self) -> f64 {
        self.place[1]
    }

    pub(super) fn ticks(&self) -> Vec<Tick> {
        let labelled = |value: f64, labelled: bool| {
            let at = self.place(value)?;
            Some(Tick { at, label: labelled.then(|| number(value)) })
        };
        match self.scale {
            Scale::Linear => {
                let step = step(self.range[1] - self.range[0]);
                let count = ((self.range[1] - self.range[0]) / step).round() as i64;
                (0..=count).filter_map(|index| labelled(self.range[0] + index as f64 * step, true)).collect()
            }
            Scale::Logarithmic => {
                let with_parts = self.range[1] - self.range[0] <= DECADES_WITH_PARTS;
                let decades = self.range[0].floor() as i32..=self.range[1].ceil() as i32;
                let values = decades.flat_map(|decade| (1..10).map(move |part| (part, decade)));
                let within = |value: f64| (self.range[0] - 1e-9..=self.range[1] + 1e-9).contains(&value.log10());
                values
                    .map(|(part, decade)| (part, f64::from(part) * 10_f64.powi(decade)))
                    .filter(|(_, value)| within(*value))
                    .filter_map(|(part, value)| labelled(value, part == 1 || (with_parts && [2, 5].contains(&part))))
                    .collect()
            }
        }
    }
}

impl Scale {
    fn measure(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => Some(value),
            Self::Logarithmic => (value > 0.0).then(|| value.log10()),
        }
    }
}

/// 1, 2 or 5 times a power of ten.
fn step(length: f64) -> f64 {
    let rough = (length / STEPS).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let part = [1.0, 2.0, 5.0, 10.0].into_iter().find(|part| part * power >= rough).unwrap_or(10.0);
    part * power
}

/// The next logarithm of 1, 2 or 5 times a power of ten, down.
fn floor_part(logarithm: f64) -> f64 {
    let parts = [0.0, 2_f64.log10(), 5_f64.log10()];
    let part = parts.into_iter().rfind(|part| part - 1e-9 <= logarithm - logarithm.floor());
    logarithm.floor() + part.unwrap_or(0.0)
}

/// The same, up.
fn ceil_part(logarithm: f64) -> f64 {
    let parts = [0.0, 2_f64.log10(), 5_f64.log10(), 1.0];
    let part = parts.into_iter().find(|part| part + 1e-9 >= logarithm - logarithm.floor());
    logarithm.floor() + part.unwrap_or(1.0)
}

/// As short as it can be read.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = match magnitude {
        10_000.0.. => format!("{value:.0}"),
        0.1.. | 0.0 => format!("{:.3}", value),
        _ => format!("{value:.4}"),
    };
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if magnitude >= 10_000.0 { with_commas(short) } else { short.to_owned() }
}

/// 12345 as 12,345.
fn with_commas(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, values: &[f64]) -> Vec<String> {
        let mapping = Mapping::new(axis, values.iter().copied(), [0.0, 100.0]);
        mapping.ticks().into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_axes_begin_at_zero_and_have_round_numbers() {
        assert_eq!(labels(&Axis::linear("t"), &[3.0, 290.0]), ["0", "50", "100", "150", "200", "250", "300"]);
        assert_eq!(labels(&Axis::linear("t"), &[-0.3, 0.5]), ["-0.4", "-0.2", "0", "0.2", "0.4", "0.6"]);
        assert_eq!(labels(&Axis::linear("t"), &[]), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(&Axis::linear("t"), &[0.0]).first(), Some(&"0".to_owned()));
        assert_eq!(labels(&Axis::linear("t"), &[60_000.0]).last(), Some(&"60,000".to_owned()));
    }

    #[test]
    fn logarithmic_axes_begin_and_end_at_one_two_or_five() {
        let axis = Axis::logarithmic("t");
        assert_eq!(labels(&axis, &[30.0, 900.0]), ["20", "50", "100", "200", "500", "1000"]);
        assert_eq!(labels(&axis, &[0.03, 20_000.0]), ["0.1", "1", "10", "100", "1000", "10,000"]);
        assert_eq!(labels(&axis, &[-1.0, 0.0, 10.0]), ["10", "20"]);
        let mapping = Mapping::new(&axis, [10.0, 1_000.0].into_iter(), [0.0, 100.0]);
        assert_eq!((mapping.place(100.0), mapping.place(0.0)), (Some(50.0), None));
    }
}
