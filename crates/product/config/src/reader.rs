//! Reads a TOML document key by key, remembers which keys were asked for, and refuses the others.

use crate::diagnostic::{Diagnostics, Problem, Report};
use crate::part::NodePart;
use crate::spell;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of the document with its place.
pub(crate) type Value<'d> = Spanned<DeValue<'d>>;

/// Parses `text` and hands its top level to `read`. Whatever `read` returned is dropped if anything was reported.
pub(crate) fn with_document<T>(
    text: &str,
    read: impl FnOnce(Section<'_>, &mut Report) -> Option<T>,
) -> Result<T, Diagnostics> {
    let mut report = Report::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        report.add(String::new(), span, Problem::Syntax(error.message().into()));
    }
    if !errors.is_empty() {
        return Err(report.into_diagnostics());
    }
    // A missing key of the top level is shown at the first line.
    let first_line = 0..text.find('\n').unwrap_or(text.len());
    let root = Section {
        table: Some(document.get_ref()),
        name: String::new(),
        span: first_line,
        known: Vec::new(),
        is_part: false,
    };
    match read(root, &mut report) {
        Some(value) if report.is_empty() => Ok(value),
        _ => Err(report.into_diagnostics()),
    }
}

/// The same for a JSON object: its places are those in `text`.
///
/// A JSON object is an inline table of TOML but for its colons and two ways to escape, so it is read as one, byte for byte.
pub(crate) fn with_json<T>(
    text: &str,
    read: impl FnOnce(Section<'_>, &mut Report) -> Option<T>,
) -> Result<T, Diagnostics> {
    let failed = |problem, span| {
        let mut report = Report::default();
        report.add(String::new(), span, problem);
        Err(report.into_diagnostics())
    };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(_)) => {}
        Ok(_) => return failed(Problem::Json("it is no object in braces".into()), 0..text.len().min(1)),
        Err(error) => {
            let at = place(text, error.line(), error.column());
            let end = at + text[at..].chars().next().map_or(0, char::len_utf8);
            return failed(Problem::Json(error.to_string().into()), at..end);
        }
    }
    let table = format!("{JSON_KEY}{}", as_inline_table(text));
    let found = with_document(&table, |mut root, report| {
        let mut object = root.section(report, "j");
        object.name = String::new();
        read(object, report)
    });
    found.map_err(|diagnostics| diagnostics.in_json(JSON_KEY.len(), text.len()))
}

/// What stands before a JSON object, so that it is a value of TOML.
const JSON_KEY: &str = "j=";

/// The same bytes as TOML has them: colons outside strings are equal signs, and an escaped slash, which only JSON has, is two
/// slashes, which mean the same in a path and an error anywhere else.
fn as_inline_table(text: &str) -> String {
    let (mut is_inside, mut is_escaped) = (false, false);
    let mut letters: Vec<char> = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '/' if is_escaped => {
                letters.pop();
                letters.push('/');
            }
            '"' if !is_escaped => is_inside = !is_inside,
            _ => {}
        }
        is_escaped = is_inside && letter == '\\' && !is_escaped;
        letters.push(if letter == ':' && !is_inside { '=' } else { letter });
    }
    letters.into_iter().collect()
}

fn place(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (before + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Every key that the code asks a file with this text for, as `section.key`; array sections without a number.
/// It is what tests hold the example files against.
pub fn keys_of(text: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let _ = with_document(text, |root, report| {
        let config = crate::read_config(root, std::path::Path::new(""), report);
        keys = std::mem::take(&mut report.asked);
        config
    });
    keys
}

/// One table of the document, or an absent one, whose keys are then all at their defaults.
pub(crate) struct Section<'d> {
    table: Option<&'d DeTable<'d>>,
    name: String,
    span: Range<usize>,
    known: Vec<&'static str>,
    is_part: bool,
}

impl<'d> Section<'d> {
    /// Whether it is a part of a node's file, which is read as a file of its own would be.
    pub(crate) fn is_part(&self) -> bool {
        self.is_part
    }

    /// The key's value, if it is there and `read` accepts it.
    pub(crate) fn optional<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        read: impl FnOnce(&DeValue<'d>) -> Result<T, Problem>,
    ) -> Option<T> {
        let value = self.find(report, key)?;
        match read(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                report.add(self.path_of(key), value.span(), problem);
                None
            }
        }
    }

    /// Like [`Section::optional`], but an absent key is reported.
    pub(crate) fn required<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        read: impl FnOnce(&DeValue<'d>) -> Result<T, Problem>,
    ) -> Option<T> {
        if self.find(report, key).is_none() {
            report.add(self.path_of(key), self.span.clone(), Problem::Missing { role: report.role });
        }
        self.optional(report, key, read)
    }

    /// Like [`Section::optional`], with the value of an absent key.
    pub(crate) fn or<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'d>) -> Result<T, Problem>,
    ) -> T {
        self.optional(report, key, read).unwrap_or(default)
    }

    /// The elements of an array that `read` accepts; each of the others is reported at its own place.
    pub(crate) fn list<T>(
        &mut self,
        report: &mut Report,
        key: &'static str,
        read: impl Fn(&DeValue<'d>) -> Result<T, Problem>,
    ) -> Vec<T> {
        let Some(value) = self.find(report, key) else { return Vec::new() };
        let Some(elements) = value.get_ref().as_array() else {
            report.add(self.path_of(key), value.span(), crate::value::wrong_type("an array", value.get_ref()));
            return Vec::new();
        };
        let mut accepted = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            match read(element.get_ref()) {
                Ok(parsed) => accepted.push(parsed),
                Err(problem) => {
                    let place = within(element.span(), problem.offset_in_value());
                    report.add(format!("{}[{index}]", self.path_of(key)), place, problem);
                }
            }
        }
        accepted
    }

    /// A table inside this one; an absent one reads as empty.
    pub(crate) fn section(&mut self, report: &mut Report, key: &'static str) -> Section<'d> {
        self.known.push(key);
        let name = self.path_of(key);
        let found = self.table.and_then(|table| table.get_key_value(key));
        let Some((place, value)) = found else {
            return Section { table: None, name, span: self.span.clone(), known: Vec::new(), is_part: false };
        };
        let table = value.get_ref().as_table();
        if table.is_none() {
            report.add(name.clone(), value.span(), crate::value::wrong_type("a table", value.get_ref()));
        }
        Section { table, name, span: place.span(), known: Vec::new(), is_part: false }
    }

    /// A part of a node's file: its keys are called as in the file of its role. One that is not there is reported.
    pub(crate) fn part(&mut self, report: &mut Report, part: NodePart) -> Option<Section<'d>> {
        if !self.has(part.name()) {
            report.add(part.name().to_owned(), self.span.clone(), Problem::Missing { role: None });
            return None;
        }
        report.role = [NodePart::Entry, NodePart::Exit].contains(&part).then_some(part.name());
        let section = self.section(report, part.name());
        Some(Section { name: String::new(), is_part: true, ..section })
    }

    /// The tables of an array of tables, in order.
    pub(crate) fn sections(&mut self, report: &mut Report, key: &'static str) -> Vec<Section<'d>> {
        self.known.push(key);
        let name = self.path_of(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else { return Vec::new() };
        let Some(elements) = value.get_ref().as_array() else {
            report.add(name, value.span(), crate::value::wrong_type("an array of tables", value.get_ref()));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let name = format!("{name}[{index}]");
            match element.get_ref().as_table() {
                Some(table) => {
                    sections.push(Section {
                        table: Some(table),
                        name,
                        span: element.span(),
                        known: Vec::new(),
                        is_part: false,
                    });
                }
                None => report.add(name, element.span(), crate::value::wrong_type("a table", element.get_ref())),
            }
        }
        sections
    }

    /// Where a key's value stands; where this table does when the key is absent.
    pub(crate) fn place_of(&self, key: &str) -> Range<usize> {
        self.table.and_then(|table| table.get(key)).map_or(self.span.clone(), Spanned::span)
    }

    /// The same table; problems of an absent one are shown at this place.
    pub(crate) fn or_at(self, place: &Range<usize>) -> Self {
        let span = if self.table.is_none() { place.clone() } else { self.span };
        Self { span, ..self }
    }

    /// Reports a problem of this table as a whole, or of one of its keys.
    pub(crate) fn refuse(&self, report: &mut Report, key: &'static str, problem: Problem) {
        report.add(self.path_of(key), self.place_of(key), problem);
    }

    /// The same, if the key is in the file.
    pub(crate) fn refuse_present(&self, report: &mut Report, key: &'static str, problem: Problem) {
        if self.has(key) {
            self.refuse(report, key, problem);
        }
    }

    /// Whether the key is in the file.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Reports every key of the table that nobody asked for.
    pub(crate) fn finish(self, report: &mut Report) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter() {
            let written = key.get_ref().as_ref();
            if self.known.contains(&written) {
                continue;
            }
            let path = self.path_of(written);
            let problem = match spell::other_role(&path, report.role) {
                Some(role) => Problem::OtherRole { role },
                None => Problem::UnknownKey { nearest: spell::nearest(written, &self.known) },
            };
            report.add(path, key.span(), problem);
        }
    }

    fn find(&mut self, report: &mut Report, key: &'static str) -> Option<&'d Value<'d>> {
        if !self.known.contains(&key) {
            self.known.push(key);
            report.asked.insert(without_numbers(&self.path_of(key)));
        }
        self.table?.get(key)
    }

    /// Its full name.
    pub(crate) fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// The rest of a quoted string behind its first `offset` bytes; the whole value when that would be nothing.
fn within(value: Range<usize>, offset: usize) -> Range<usize> {
    let rest = value.start + 1 + offset..value.end.saturating_sub(1);
    if offset == 0 || rest.is_empty() { value } else { rest }
}

/// `listen[3].kind` as `listen.kind`.
fn without_numbers(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|&letter| {
            inside = match letter {
                '[' => true,
                ']' => false,
                _ => inside,
            };
            !inside && letter != ']'
        })
        .collect()
}
