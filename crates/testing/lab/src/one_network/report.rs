//! What a run has to tell, as one table.

use std::fmt;

/// Rows of two columns.
#[derive(Debug, Clone, Default)]
pub struct Report {
    rows: Vec<(String, String)>,
}

impl Report {
    /// Adds a row.
    pub fn add(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.rows.push((what.into(), found.into()));
    }
}

/// A Markdown table.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "| what | found |\n|---|---|")?;
        self.rows.iter().try_for_each(|(what, found)| writeln!(out, "| {what} | {found} |"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_markdown_table() {
        let mut report = Report::default();
        report.add("lines", "12");
        assert_eq!(report.to_string(), "| what | found |\n|---|---|\n| lines | 12 |\n");
    }
}
