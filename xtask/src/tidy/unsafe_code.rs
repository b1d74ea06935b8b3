//! `unsafe` stands only in the crates that may use it, and each use says why it is sound.

use super::Finding;
use super::mask::{Masked, line_of, words};

/// The only folder whose crates may use `unsafe`.
const UNSAFE_FOLDER: &str = "crates/os/";

/// Checks one source.
pub(crate) fn check(path: &str, masked: &Masked) -> Vec<Finding> {
    let code_lines: Vec<&str> = masked.code.lines().collect();
    let comment_lines: Vec<&str> = masked.comments.lines().collect();
    let mut findings = Vec::new();
    for at in words(&masked.code, "unsafe") {
        let line = line_of(&masked.code, at);
        if !path.starts_with(UNSAFE_FOLDER) {
            findings.push(Finding::error(
                path,
                line,
                format!("unsafe outside {UNSAFE_FOLDER}; move it to a crate there"),
            ));
        }
        if !is_type(&masked.code[at..]) && !is_explained(&code_lines, &comment_lines, line - 1) {
            findings.push(Finding::error(path, line, "unsafe without a `// SAFETY:` note above it"));
        }
    }
    findings
}

/// Whether this is the type of a function pointer, as in `unsafe extern "C" fn(u8)`.
fn is_type(code: &str) -> bool {
    let rest = code["unsafe".len()..].trim_start();
    let rest = rest.strip_prefix("extern").map_or(rest, str::trim_start);
    rest.strip_prefix("fn").is_some_and(|rest| rest.trim_start().starts_with('('))
}

/// Whether the line, or the lines of the same statement and the comment above it, say `SAFETY:` or `# Safety`.
fn is_explained(code: &[&str], comments: &[&str], index: usize) -> bool {
    let says = |line: usize| {
        let comment = comments.get(line).copied().unwrap_or_default();
        comment.contains("SAFETY:") || comment.contains("# Safety")
    };
    if says(index) {
        return true;
    }
    for line in (0..index).rev() {
        if says(line) {
            return true;
        }
        let code = code[line].trim_end();
        let comment_only = code.is_empty() && comments.get(line).is_some_and(|comment| !comment.trim().is_empty());
        let statement_goes_on = !code.is_empty() && !code.ends_with([';', '{', '}']);
        if !comment_only && !statement_goes_on {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        check(path, &Masked::new(text)).into_iter().map(|found| (found.line, found.message)).collect()
    }

    #[test]
    fn explained_blocks_pass() {
        let texts = [
            "// SAFETY: the pointer is ours\nunsafe { f() }",
            "// SAFETY: long\n// reason\nlet x =\n    unsafe { f() };",
            "let x = unsafe { f() }; // SAFETY: same line",
            "// SAFETY: no shared state\n#[allow(dead_code)]\nunsafe impl Send for X {}",
            "/// # Safety\n/// The caller owns it.\npub unsafe fn f() {}",
            "type F = unsafe extern \"C\" fn(i32);",
            "#![allow(unsafe_code, reason = \"unsafe words in a string\")]\n// unsafe in a comment",
        ];
        for text in texts {
            assert_eq!(findings("crates/os/x/src/lib.rs", text), [], "{text}");
        }
    }

    #[test]
    fn unexplained_blocks_fail() {
        let texts = [
            "unsafe { f() }",
            "// SAFETY: of the first\nunsafe { f() };\nunsafe { g() };",
            "// SAFETY: too far away\n\nunsafe { f() }",
            "unsafe impl Send for X {}",
            "pub unsafe fn f() {}",
        ];
        for text in texts {
            assert_eq!(findings("crates/os/x/src/lib.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn unsafe_elsewhere_fails_even_when_explained() {
        let found = findings("crates/net/x/src/lib.rs", "// SAFETY: fine\nunsafe { f() }");
        assert_eq!(found.len(), 1);
        assert!(found[0].1.contains("outside crates/os/"));
    }
}
