//! Medians with ranges, and Markdown tables.

/// Figures of all rounds of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The value in the middle; 0 without values.
    pub(super) fn median(&self) -> f64 {
        let (low, high) = (self.0.len().saturating_sub(1) / 2, self.0.len() / 2);
        match (self.0.get(low), self.0.get(high)) {
            (Some(low), Some(high)) => f64::midpoint(*low, *high),
            _ => 0.0,
        }
    }

    pub(super) fn largest(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }

    /// `2031 (1950..2382)`.
    pub(super) fn show(&self, decimals: usize) -> String {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else { return "-".to_owned() };
        if self.0.len() == 1 {
            return format!("{least:.decimals$}");
        }
        format!("{:.decimals$} ({least:.decimals$}..{most:.decimals$})", self.median())
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut samples = Self::default();
        values.into_iter().for_each(|value| samples.push(value));
        samples
    }
}

/// Values of one thing divided by those of another, round by round.
pub(super) fn ratios(ours: &[f64], theirs: &[f64]) -> Samples {
    ours.iter().zip(theirs).filter(|(_, theirs)| **theirs > 0.0).map(|(ours, theirs)| ours / theirs).collect()
}

/// A Markdown table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    text: String,
    columns: usize,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        let mut table = Self { text: String::new(), columns: header.len() };
        table.row(&header.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
        table.text += &format!("|{}\n", "---|".repeat(header.len()));
        table
    }

    pub(super) fn row(&mut self, cells: &[String]) {
        assert_eq!(cells.len(), self.columns, "every row has a cell for every column");
        self.text += &format!("| {} |\n", cells.join(" | "));
    }

    /// The table with an empty line behind it.
    pub(super) fn finish(self) -> String {
        self.text + "\n"
    }
}

/// A bound with whether the value keeps it, such as `>= 1.2: met`.
pub(super) fn at_least(value: f64, bound: f64, decimals: usize) -> String {
    verdict(value >= bound, &format!(">= {bound:.decimals$}"))
}

/// A bound with whether the value keeps it.
pub(super) fn at_most(value: f64, bound: f64, decimals: usize) -> String {
    verdict(value <= bound, &format!("<= {bound:.decimals$}"))
}

fn verdict(holds: bool, bound: &str) -> String {
    if holds { format!("{bound}: met") } else { format!("{bound}: **missed**") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        let samples: Samples = [3.0, 1.0, 2.0, 10.0].into_iter().collect();
        assert_eq!(samples.show(1), "2.5 (1.0..10.0)");
        assert_eq!((Samples::default().median(), Samples::default().show(1)), (0.0, "-".to_owned()));
        assert_eq!(ratios(&[1.0, 2.0], &[2.0, 0.0]).show(2), "0.50");
    }

    #[test]
    fn a_table_with_verdicts() {
        let mut table = Table::new(&["a", "b"]);
        table.row(&[at_least(1.0, 1.2, 1), at_most(1.0, 1.2, 1)]);
        assert_eq!(table.finish(), "| a | b |\n|---|---|\n| >= 1.2: **missed** | <= 1.2: met |\n\n");
    }
}
