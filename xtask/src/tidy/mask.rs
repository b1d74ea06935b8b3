//! Tells code from comments and literals, so that the other checks do not trip over words in a string.

/// A Rust source in two views of the same length and the same lines: what is not shown is blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Masked {
    /// Code with comments and the contents of literals blanked.
    pub(crate) code: String,
    /// Comments only.
    pub(crate) comments: String,
}

impl Masked {
    /// Splits `text` into its two views. Bytes outside ASCII become blanks in the view of the code.
    pub(crate) fn new(text: &str) -> Self {
        let mut scanner = Scanner { bytes: text.as_bytes(), at: 0, code: Vec::new(), comments: Vec::new() };
        while scanner.at < scanner.bytes.len() {
            scanner.step();
        }
        Self {
            code: String::from_utf8_lossy(&scanner.code).into_owned(),
            comments: String::from_utf8_lossy(&scanner.comments).into_owned(),
        }
    }
}

/// The positions at which `word` stands alone in `text` (not as a part of a longer identifier).
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at.checked_sub(1).is_some_and(|before| is_word(bytes[before]));
        let after = bytes.get(at + word.len()).is_some_and(|&byte| is_word(byte));
        !before && !after
    })
}

/// The line, counted from 1, of a byte position.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text.as_bytes()[..position].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Whether a byte may stand in an identifier.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    code: Vec<u8>,
    comments: Vec<u8>,
}

impl Scanner<'_> {
    fn step(&mut self) {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(b"//") {
            let length = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            self.comment(length);
        } else if rest.starts_with(b"/*") {
            self.comment(block_comment_length(rest));
        } else if let Some((prefix, hashes)) = self.raw_string_start() {
            self.take_code(prefix);
            self.blank(raw_string_length(&self.bytes[self.at..], hashes));
        } else if rest[0] == b'"' {
            self.blank(quoted_length(rest, b'"'));
        } else if rest[0] == b'\'' && is_char_literal(rest) {
            self.blank(quoted_length(rest, b'\''));
        } else {
            self.take_code(1);
        }
    }

    /// For `r"`, `r#"`, `br#"` and the like at the present position: the length up to the first quote, and the hashes.
    fn raw_string_start(&self) -> Option<(usize, usize)> {
        let rest = &self.bytes[self.at..];
        let before = self.at.checked_sub(1).map(|before| self.bytes[before]);
        if before.is_some_and(is_word) {
            return None;
        }
        let letters = match rest {
            [b'r', ..] => 1,
            [b'b' | b'c', b'r', ..] => 2,
            _ => return None,
        };
        let hashes = rest[letters..].iter().take_while(|&&byte| byte == b'#').count();
        (rest.get(letters + hashes) == Some(&b'"')).then_some((letters + hashes, hashes))
    }

    fn take_code(&mut self, length: usize) {
        for &byte in &self.bytes[self.at..self.at + length] {
            self.code.push(if byte.is_ascii() { byte } else { b' ' });
            self.comments.push(blank_of(byte));
        }
        self.at += length;
    }

    fn comment(&mut self, length: usize) {
        for &byte in &self.bytes[self.at..self.at + length] {
            self.code.push(blank_of(byte));
            self.comments.push(byte);
        }
        self.at += length;
    }

    fn blank(&mut self, length: usize) {
        for &byte in &self.bytes[self.at..self.at + length] {
            self.code.push(blank_of(byte));
            self.comments.push(blank_of(byte));
        }
        self.at += length;
    }
}

fn blank_of(byte: u8) -> u8 {
    if byte == b'\n' { b'\n' } else { b' ' }
}

/// Block comments nest.
fn block_comment_length(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0usize);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a literal that starts with `quote`, its two quotes included.
fn quoted_length(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of a raw string from its first quote to its last hash.
fn raw_string_length(rest: &[u8], hashes: usize) -> usize {
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let found = rest[1..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |position| 1 + position + end.len())
}

/// Tells `'x'` from the lifetime `'x`.
fn is_char_literal(rest: &[u8]) -> bool {
    match rest {
        [_, b'\\', ..] => true,
        [_, byte, b'\'', ..] if byte.is_ascii() => true,
        [_, byte, ..] if !byte.is_ascii() => rest[1..].iter().take(5).any(|&byte| byte == b'\''),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Masked::new(text).code
    }

    #[test]
    fn views_keep_length_and_lines() {
        let text = "let a = \"x\ny\"; // note\nlet b = 'ü';\n/* a /* b */ c */ fn f() {}\n";
        let masked = Masked::new(text);
        assert_eq!(masked.code.len(), text.len());
        assert_eq!(masked.code.lines().count(), text.lines().count());
        assert_eq!(masked.comments.lines().count(), text.lines().count());
    }

    #[test]
    fn literals_and_comments_are_blank_in_code() {
        assert_eq!(code("a(\"}\"); b"), "a(   ); b");
        assert_eq!(code("a(\"\\\"}\"); b"), "a(     ); b");
        assert_eq!(code("a('}'); b"), "a(   ); b");
        assert_eq!(code("a('\\''); b"), "a(    ); b");
        assert_eq!(code("a // }\nb"), "a     \nb");
        assert_eq!(code("a /* { /* { */ */ b"), format!("a{}b", " ".repeat(17)));
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        assert_eq!(code("r#\"a\"}\"# b"), format!("r#{}b", " ".repeat(7)));
        assert_eq!(code("br\"}\" b"), "br    b");
        assert!(code("let r = \"}\"; x").ends_with("; x"));
        assert!(!code("r##\"}\"#}\"## x").contains('}'));
    }

    #[test]
    fn lifetimes_are_code() {
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(code("'label: loop {}"), "'label: loop {}");
    }

    #[test]
    fn comments_show_comments_only() {
        let masked = Masked::new("a(); // SAFETY: b\n\"// no\"");
        assert!(masked.comments.contains("SAFETY: b"));
        assert!(!masked.comments.contains("no"));
        assert!(!masked.comments.contains("a()"));
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("fn fnord fn_x fn", "fn").collect::<Vec<_>>(), [0, 14]);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
