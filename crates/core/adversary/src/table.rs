//! Features of many observations, ready for a forest.

/// Observations in a table; more are refused. A closed world of 100 classes with 200 sessions each fits five times.
pub(crate) const ROWS_MAX: usize = 100_000;
/// Features of one observation; more are refused.
pub(crate) const COLUMNS_MAX: usize = 4_096;
/// Distinct codes of one feature. More would cost time and tell a forest next to nothing: it cuts one feature at many
/// places in many trees.
pub(crate) const CODES_MAX: usize = 32;

/// A row that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RowError {
    /// Another number of features than the rows before, none, or more than [`COLUMNS_MAX`].
    #[error("the row has {found} features")]
    Columns {
        /// The number.
        found: usize,
    },
    /// A feature that is no number or infinite.
    #[error("feature {column} is not finite")]
    NotFinite {
        /// Its place, from 0.
        column: usize,
    },
    /// [`ROWS_MAX`] rows are there.
    #[error("the table is full with {ROWS_MAX} rows")]
    Full,
}

/// Observations (rows) with the same features (columns), all finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    columns: usize,
    values: Vec<f64>,
}

impl Table {
    /// Adds an observation; the first one decides how many features all have.
    ///
    /// # Errors
    /// If it does not fit; the table is then unchanged.
    pub(crate) fn push(&mut self, row: &[f64]) -> Result<(), RowError> {
        let has_fitting_length =
            if self.values.is_empty() { row.len() <= COLUMNS_MAX } else { row.len() == self.columns };
        if row.is_empty() || !has_fitting_length {
            return Err(RowError::Columns { found: row.len() });
        }
        if let Some(column) = row.iter().position(|value| !value.is_finite()) {
            return Err(RowError::NotFinite { column });
        }
        if self.rows() >= ROWS_MAX {
            return Err(RowError::Full);
        }
        self.columns = row.len();
        self.values.extend_from_slice(row);
        Ok(())
    }

    /// Number of observations.
    pub(crate) fn rows(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Number of features of each.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The features of one observation; empty if there is none of this number.
    pub(crate) fn row(&self, row: usize) -> &[f64] {
        let start = row.saturating_mul(self.columns);
        self.values.get(start..start.saturating_add(self.columns)).unwrap_or_default()
    }
}

/// The same table with each feature coded by its rank among all observations, column by column. The codes need no
/// classes, so nothing about the right answers enters here.
#[derive(Clone, Debug)]
pub(crate) struct Coded {
    columns: Vec<Vec<u8>>,
}

impl Coded {
    pub(crate) fn new(table: &Table) -> Self {
        let column = |column: usize| {
            let values: Vec<f64> = (0..table.rows()).map(|row| table.row(row)[column]).collect();
            let cuts = cuts(values.clone());
            values.iter().map(|value| cuts.partition_point(|cut| cut < value) as u8).collect()
        };
        Self { columns: (0..table.columns()).map(column).collect() }
    }

    /// Number of features.
    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The codes of one feature, row by row.
    pub(crate) fn column(&self, column: usize) -> &[u8] {
        &self.columns[column]
    }
}

/// The upper ends of all codes but the last: every distinct value if they are few, else the values at equal ranks.
fn cuts(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let mut distinct = values.clone();
    distinct.dedup();
    if distinct.len() > CODES_MAX {
        let at_rank = |code: usize| values[code * values.len() / CODES_MAX];
        distinct = (1..=CODES_MAX).map(|code| at_rank(code.min(CODES_MAX - 1))).collect();
        distinct.dedup();
    }
    distinct.pop();
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let mut table = Table::default();
        assert_eq!(table.push(&[]), Err(RowError::Columns { found: 0 }));
        assert_eq!(table.push(&[1.0, 2.0]), Ok(()));
        assert_eq!(table.push(&[1.0]), Err(RowError::Columns { found: 1 }));
        assert_eq!(table.push(&[1.0, f64::NAN]), Err(RowError::NotFinite { column: 1 }));
        assert_eq!(table.push(&[f64::INFINITY, 0.0]), Err(RowError::NotFinite { column: 0 }));
        assert_eq!((table.rows(), table.columns(), table.row(0), table.row(7)), (1, 2, &[1.0, 2.0][..], &[][..]));
        assert_eq!(Table::default().push(&[0.0; COLUMNS_MAX + 1]), Err(RowError::Columns { found: COLUMNS_MAX + 1 }));
    }

    #[test]
    fn codes_keep_the_order_and_few_values_apart() {
        let mut table = Table::default();
        for value in 0..1_000 {
            let few = f64::from(value % 3);
            table.push(&[few, f64::from(value * value), 7.0]).expect("the rows are alike");
        }
        let coded = Coded::new(&table);
        assert_eq!(coded.columns(), 3);
        assert_eq!(coded.column(0)[..4], [0, 1, 2, 0]);
        assert!(coded.column(1).is_sorted());
        assert!(usize::from(coded.column(1)[999]) >= CODES_MAX - 2 && coded.column(1)[0] == 0);
        assert!(coded.column(2).iter().all(|&code| code == 0));
    }
}
