//! A configuration file made from an example: its comments stay, some of its values change.

use std::fmt::Write;

/// Lines of an example file, with some keys set.
#[derive(Debug)]
pub(crate) struct Template {
    lines: Vec<String>,
}

impl Template {
    /// Starts from an example.
    pub(crate) fn new(example: &str) -> Self {
        Self { lines: example.lines().map(str::to_owned).collect() }
    }

    /// Sets a key of a table (`""` for the top of the file), whether it is commented out or not.
    ///
    /// `value` is TOML: strings bring their quotes. Returns whether the example has the key.
    #[must_use]
    pub(crate) fn set(&mut self, section: &str, key: &str, value: &str) -> bool {
        self.replace(section, key, |_| format!("{key} = {value}"))
    }

    /// Turns a key of a table into a comment. Returns whether the example has the key.
    #[must_use]
    pub(crate) fn comment_out(&mut self, section: &str, key: &str) -> bool {
        self.replace(section, key, |text| format!("# {text}"))
    }

    fn replace(&mut self, section: &str, key: &str, new: impl Fn(&str) -> String) -> bool {
        let mut current = String::new();
        for line in &mut self.lines {
            if let Some(name) = line.strip_prefix('[') {
                current = name.trim_matches(['[', ']']).to_owned();
            }
            let text = line.strip_prefix("# ").unwrap_or(line);
            if current == section && text.split_once(" = ").is_some_and(|(name, _)| name == key) {
                *line = new(text);
                return true;
            }
        }
        false
    }

    /// Drops the table that follows the first `[[name]]`, up to the next table's heading.
    pub(crate) fn drop_second(&mut self, name: &str) {
        let heading = format!("[[{name}]]");
        let is_heading = |line: &String| *line == heading;
        let Some(first) = self.lines.iter().position(is_heading) else { return };
        let Some(second) = self.lines[first + 1..].iter().position(is_heading) else { return };
        let start = first + 1 + second;
        let end = self.lines[start + 1..].iter().position(|line| line.starts_with('['));
        self.lines.drain(start..end.map_or(self.lines.len(), |end| start + 1 + end));
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// A TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_change_and_comments_stay() {
        let mut template = Template::new("# top\nrole = \"x\"\n[a]\n# Size.\n# size = 1\n[b]\n# size = 2\n");
        assert!(template.set("b", "size", "3"));
        assert!(template.set("", "role", &quoted("a\"b\\c\n")));
        assert!(!template.set("a", "colour", "1"));
        let text = "# top\nrole = \"a\\\"b\\\\c\\u000A\"\n[a]\n# Size.\n# size = 1\n[b]\nsize = 3\n";
        assert_eq!(template.text(), text);
    }

    #[test]
    fn the_second_table_of_an_array_goes() {
        let mut template = Template::new("[[t]]\na = 1\n[[t]]\nb = 1\n\n[u]\nc = 1");
        template.drop_second("t");
        assert_eq!(template.text(), "[[t]]\na = 1\n[u]\nc = 1\n");
        template.drop_second("t");
        assert_eq!(template.text(), "[[t]]\na = 1\n[u]\nc = 1\n");
    }
}
