//! Rules for one Rust source: sizes, `unwrap`, notes of unfinished work, names of files.

use super::Finding;
use super::functions;
use super::mask::{Masked, is_word, line_of, words};
use super::tree::TextFile;
use super::unsafe_code;

/// Lines of a file that need a reason, and that fail.
const FILE_LINES: Limits = Limits { warn: 600, fail: 1_000 };
/// Lines of a function that need a reason, and that fail.
const FUNCTION_LINES: Limits = Limits { warn: 60, fail: 100 };
/// The same for functions of tests and benchmarks, where a scenario reads best in one piece.
const TEST_FUNCTION_LINES: Limits = Limits { warn: 80, fail: 120 };
/// Words that mark unfinished work. None may be committed.
const UNFINISHED: [&str; 3] = ["TODO", "FIXME", "XXX"];

struct Limits {
    warn: usize,
    fail: usize,
}

/// Checks one source.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let masked = Masked::new(&file.text);
    let mut findings = unsafe_code::check(&file.path, &masked);
    findings.extend(name(&file.path));
    findings.extend(file_size(file));
    findings.extend(function_sizes(&file.path, &masked));
    findings.extend(unwraps(&file.path, &masked.code));
    findings.extend(unfinished(&file.path, &masked));
    findings
}

fn name(path: &str) -> Option<Finding> {
    let is_mod = path.ends_with("/mod.rs");
    is_mod.then(|| Finding::error(path, 0, "a module file is named after its module: use `foo.rs` beside `foo/`"))
}

fn file_size(file: &TextFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    judge(&file.path, 0, lines, &FILE_LINES, "the file")
}

fn function_sizes(path: &str, masked: &Masked) -> Vec<Finding> {
    let test_file = path.split('/').any(|part| part == "tests" || part == "benches");
    let judged = functions::find(masked).into_iter().filter_map(|function| {
        let limits = if test_file || function.in_tests { &TEST_FUNCTION_LINES } else { &FUNCTION_LINES };
        judge(path, function.line, function.lines, limits, &format!("function `{}`", function.name))
    });
    judged.collect()
}

fn judge(path: &str, line: usize, lines: usize, limits: &Limits, what: &str) -> Option<Finding> {
    if lines >= limits.fail {
        let message = format!("{what} has {lines} lines, {} or more fail; split it", limits.fail);
        return Some(Finding::error(path, line, message));
    }
    (lines > limits.warn).then(|| {
        Finding::warning(path, line, format!("{what} has {lines} lines; above {} it needs a reason", limits.warn))
    })
}

fn unwraps(path: &str, code: &str) -> Vec<Finding> {
    let called = words(code, "unwrap").filter(|&at| {
        let before = code[..at].trim_end();
        let after = code[at + "unwrap".len()..].trim_start();
        (before.ends_with('.') && after.starts_with('(')) || before.ends_with("::")
    });
    called
        .map(|at| {
            let message = "unwrap; say why it cannot fail with `expect(\"...\")`, or return the error";
            Finding::error(path, line_of(code, at), message)
        })
        .collect()
}

fn unfinished(path: &str, masked: &Masked) -> Vec<Finding> {
    let views = [&masked.code, &masked.comments];
    let found = views.into_iter().flat_map(|view| unfinished_lines(view));
    found.map(|(line, word)| Finding::error(path, line, format!("{word}: finish it, or open an issue"))).collect()
}

/// The lines of any text that carry a word for unfinished work, with the word.
pub(crate) fn unfinished_lines(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for word in UNFINISHED {
        for (at, _) in text.match_indices(word) {
            let bytes = text.as_bytes();
            let before = at.checked_sub(1).is_some_and(|before| is_word(bytes[before]));
            let after = bytes.get(at + word.len()).is_some_and(|&byte| is_word(byte));
            if !before && !after {
                found.push((line_of(text, at), word));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(Severity, usize)> {
        check(&TextFile::new(path, text)).into_iter().map(|found| (found.severity, found.line)).collect()
    }

    fn function_of(lines: usize) -> String {
        format!("fn f() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn file_sizes() {
        assert_eq!(findings("a/src/x.rs", &"// x\n".repeat(600)), []);
        assert_eq!(findings("a/src/x.rs", &"// x\n".repeat(601)), [(Severity::Warning, 0)]);
        assert_eq!(findings("a/src/x.rs", &"// x\n".repeat(1_000)), [(Severity::Error, 0)]);
    }

    #[test]
    fn function_sizes() {
        assert_eq!(findings("a/src/x.rs", &function_of(60)), []);
        assert_eq!(findings("a/src/x.rs", &function_of(61)), [(Severity::Warning, 1)]);
        assert_eq!(findings("a/src/x.rs", &function_of(100)), [(Severity::Error, 1)]);
        assert_eq!(findings("a/tests/x.rs", &function_of(80)), []);
        assert_eq!(findings("a/tests/x.rs", &function_of(120)), [(Severity::Error, 1)]);
    }

    #[test]
    fn unwrap_is_found_in_code_only() {
        assert_eq!(findings("a/src/x.rs", "// x.unwrap()\nlet s = \".unwrap()\"; y.unwrap_or(3);\n"), []);
        assert_eq!(findings("a/src/x.rs", "x()\n    .unwrap();\n"), [(Severity::Error, 2)]);
        assert_eq!(findings("a/src/x.rs", "list.map(Option::unwrap);\n"), [(Severity::Error, 1)]);
    }

    #[test]
    fn unfinished_work_and_mod_files() {
        assert_eq!(findings("a/src/x.rs", "// TODO later\n"), [(Severity::Error, 1)]);
        assert_eq!(findings("a/src/x.rs", "/// FIXME\nfn f() {}\n"), [(Severity::Error, 1)]);
        assert_eq!(findings("a/src/x.rs", "let s = \"TODO\"; // XXXL\n"), []);
        assert_eq!(findings("a/src/x/mod.rs", ""), [(Severity::Error, 0)]);
    }
}
