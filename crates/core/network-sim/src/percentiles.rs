//! Order statistics of measured values.

use serde::Serialize;

/// What stands in tables of a number of values; zeros where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// 1 of 100 is not above it.
    pub p1: f64,
    /// 1 of 10.
    pub p10: f64,
    /// The one in the middle.
    pub p50: f64,
    /// 9 of 10.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

impl Percentiles {
    /// By nearest rank.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let Some(max) = values.last().copied() else { return Self::default() };
        let at = |part: f64| values[((part * values.len() as f64).ceil() as usize).saturating_sub(1)];
        Self {
            count: values.len(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            p1: at(0.01),
            p10: at(0.1),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_nearest() {
        let of = Percentiles::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((of.p1, of.p10, of.p50, of.p90, of.p99, of.max), (1.0, 10.0, 50.0, 90.0, 99.0, 100.0));
        assert_eq!((of.count, of.mean), (100, 50.5));
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
    }
}
