//! Example files with all that they can say.

/// The example with every key and section that stands in a comment: those have no space behind the `#`.
pub(crate) fn everything(example: &str) -> String {
    let uncommented = example.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '[') => rest,
        _ => line,
    });
    uncommented.collect::<Vec<_>>().join("\n")
}
