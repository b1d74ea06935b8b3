//! Finds the functions of a source and their lengths.

use super::mask::{Masked, is_word, line_of, words};

/// One function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, counted from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace.
    pub(crate) lines: usize,
    /// Whether it stands below a `#[cfg(test)]`.
    pub(crate) in_tests: bool,
}

/// All functions that have a body, in the order of the source; one inside another counts for both.
pub(crate) fn find(masked: &Masked) -> Vec<Function> {
    let code = masked.code.as_str();
    let tests = test_regions(code);
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let Some((name, after_name)) = name_after(code, at + "fn".len()) else { continue };
        let Some((_, close)) = body(code, after_name) else { continue };
        let line = line_of(code, at);
        let in_tests = tests.iter().any(|&(from, to)| (from..to).contains(&at));
        found.push(Function { name, line, lines: line_of(code, close) - line + 1, in_tests });
    }
    found
}

/// The identifier that follows, and the position after it; `None` for a function pointer type.
fn name_after(code: &str, at: usize) -> Option<(String, usize)> {
    let rest = &code[at..];
    let start = at + rest.len() - rest.trim_start().len();
    let length = code[start..].bytes().take_while(|&byte| is_word(byte) || byte == b'$' || byte == b'#').count();
    (length > 0).then(|| (code[start..start + length].to_owned(), start + length))
}

/// The braces of the body that belongs to a signature which goes on at `at`; `None` if it ends with `;`.
fn body(code: &str, at: usize) -> Option<(usize, usize)> {
    let mut depth = 0i32;
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some((at + offset, closing_brace(code, at + offset))),
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

/// The position of the brace that closes the one at `open`, or the end of the text.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0i32;
    for (offset, byte) in code[open..].bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset;
        }
    }
    code.len()
}

/// The byte ranges that `#[cfg(test)]` governs.
fn test_regions(code: &str) -> Vec<(usize, usize)> {
    let attributes = code.match_indices("#[cfg(test)]");
    attributes.filter_map(|(at, attribute)| body(code, at + attribute.len()).map(|(_, close)| (at, close))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(text: &str) -> Vec<(String, usize, usize, bool)> {
        let functions = find(&Masked::new(text));
        functions.into_iter().map(|found| (found.name, found.line, found.lines, found.in_tests)).collect()
    }

    #[test]
    fn counts_from_fn_to_brace() {
        let text = "/// d\nfn a(\n    x: [u8; 3],\n) -> u8 {\n    if x { \"}\" } else { '}' }\n}\nfn b() {}\n";
        assert_eq!(lengths(text), [("a".into(), 2, 5, false), ("b".into(), 7, 1, false)]);
    }

    #[test]
    fn declarations_and_pointer_types_have_no_body() {
        assert_eq!(lengths("trait T { fn a(&self); fn b(&self) -> [u8; 2]; }"), []);
        assert_eq!(lengths("type F = fn(u8) -> u8;\nstruct S { f: fn() }\nconst C: F = g;"), []);
    }

    #[test]
    fn inner_functions_count_too() {
        assert_eq!(lengths("fn a() {\n  fn b() {\n  }\n}"), [("a".into(), 1, 4, false), ("b".into(), 2, 2, false)]);
    }

    #[test]
    fn tests_are_told_apart() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        let marks: Vec<bool> = lengths(text).into_iter().map(|found| found.3).collect();
        assert_eq!(marks, [false, true, false]);
    }
}
