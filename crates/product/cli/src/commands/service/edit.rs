//! Changing a file's text and nothing of it that was not meant: what comes out is read again and compared by whoever calls.

use std::ops::Range;

/// The lines of one table, from its header on. What is blank or a comment before the next header belongs to that.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    /// Such as `[[service.host]]`, without blanks.
    header: String,
    /// Bytes of the text.
    place: Range<usize>,
}

/// All tables of a text.
///
/// Lines within texts and lists of several lines that look like a header are taken for one.
fn tables(text: &str) -> Vec<Table> {
    let mut found: Vec<Table> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        let said = line.trim();
        match header(said) {
            Some(header) => found.push(Table { header, place: at..end }),
            None if said.is_empty() || said.starts_with('#') => {}
            None => {
                if let Some(table) = found.last_mut() {
                    table.place.end = end;
                }
            }
        }
        at = end;
    }
    found
}

fn header(line: &str) -> Option<String> {
    let name = line.split('#').next().unwrap_or_default().trim_end();
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || "[].-_\"' ".contains(letter);
    let is_header = name.starts_with('[') && name.ends_with(']') && name.chars().all(is_name);
    let has_name = name.chars().any(|letter| letter.is_ascii_alphabetic());
    (is_header && has_name).then(|| name.chars().filter(|letter| *letter != ' ').collect())
}

fn hosts(text: &str, prefix: &str) -> Vec<Table> {
    let wanted = format!("[[{prefix}host]]");
    tables(text).into_iter().filter(|table| table.header == wanted).collect()
}

/// The text with a further table: behind the last host, or at the end.
pub(super) fn with_host(text: &str, prefix: &str, table: &str) -> String {
    let at = hosts(text, prefix).last().map_or(text.len(), |host| host.place.end);
    let (before, behind) = text.split_at(at);
    let mut out = before.trim_end().to_owned();
    if !out.is_empty() {
        out.push_str("\n\n");
    }
    out.push_str(table.trim_end());
    out.push('\n');
    out.push_str(behind);
    out
}

/// The text without a host, `None` when it cannot be found.
pub(super) fn without_host(text: &str, prefix: &str, host: usize) -> Option<String> {
    hosts(text, prefix).get(host).map(|table| without(text, &table.place))
}

/// The text without all tables of services.
pub(super) fn without_service(text: &str) -> String {
    let is_of_service = |table: &Table| {
        let name = table.header.trim_start_matches('[').trim_end_matches(']');
        name == "service" || name.starts_with("service.")
    };
    let mut out = text.to_owned();
    for table in tables(text).into_iter().rev().filter(is_of_service) {
        out = without(&out, &table.place);
    }
    out
}

/// Takes what is blank behind it, too.
fn without(text: &str, place: &Range<usize>) -> String {
    let behind = &text[place.end..];
    let blank: usize = behind.split_inclusive('\n').take_while(|line| line.trim().is_empty()).map(str::len).sum();
    let mut out = text[..place.start].to_owned();
    out.push_str(&behind[blank..]);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// The text with another list of clients for a host, in one line; without any, the key is gone. `None` when the host cannot be found, or
/// its list cannot be read.
pub(super) fn with_clients(text: &str, prefix: &str, host: usize, clients: &[String]) -> Option<String> {
    let place = hosts(text, prefix).get(host)?.place.clone();
    let list = if clients.is_empty() { String::new() } else { format!("clients = [{}]\n", clients.join(", ")) };
    let mut at = place.start;
    for line in text[place.clone()].split_inclusive('\n') {
        let is_list = line.trim_start().strip_prefix("clients").is_some_and(|rest| rest.trim_start().starts_with('='));
        if is_list {
            let end = at + list_end(&text[at..place.end])?;
            return Some([&text[..at], &list, &text[end..]].concat());
        }
        at += line.len();
    }
    let gap = if text[..place.end].ends_with('\n') { "" } else { "\n" };
    Some([&text[..place.end], gap, &list, &text[place.end..]].concat())
}

/// Behind the line in which the list ends that begins in this text.
fn list_end(text: &str) -> Option<usize> {
    let (mut quote, mut comment) = (None, false);
    for (at, letter) in text.char_indices() {
        match (letter, quote) {
            ('\n', _) => comment = false,
            _ if comment => {}
            (letter, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => {}
            ('"' | '\'', None) => quote = Some(letter),
            ('#', None) => comment = true,
            (']', None) => {
                let rest = &text[at..];
                return Some(at + rest.find('\n').map_or(rest.len(), |end| end + 1));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "\
# A node.
[mirror]
file = \"x\" # [not a table]

[service] # of us
directory = \"d\"

# The first one.
[[service.host]]
name = \"a\"
ports = [
  { port = 80, to = \"127.0.0.1:80\" }, # ]
]
clients = [
  # Alice ]
  \"hwa1]\",
] # the end

# Of the second one.
[[ service.host ]]
name = \"b\"

# Logs.
[log]
level = \"info\"
";

    #[test]
    fn a_table_is_added_where_its_like_are() {
        let out = with_host(NODE, "service.", "[[service.host]]\nname = \"c\"\n");
        let expected = NODE.replace("name = \"b\"\n", "name = \"b\"\n\n[[service.host]]\nname = \"c\"\n");
        assert_eq!(out, expected);
        assert_eq!(with_host("a = 1", "", "[[host]]\n"), "a = 1\n\n[[host]]\n");
        assert_eq!(with_host("", "", "[[host]]\n"), "[[host]]\n");
    }

    #[test]
    fn a_table_goes_and_comments_of_others_stay() {
        let out = without_host(NODE, "service.", 0).expect("it is there");
        assert!(out.contains("# The first one.\n# Of the second one.\n[[ service.host ]]"), "{out}");
        assert!(!out.contains("\"a\"") && out.contains("# Logs.\n[log]"));
        let out = without_host(NODE, "service.", 1).expect("it is there");
        assert!(out.contains("\"a\"") && !out.contains("\"b\"") && out.contains("# Logs.\n[log]"), "{out}");
        assert_eq!(without_host(NODE, "service.", 2), None);
        assert_eq!(without_host(NODE, "", 0), None);
        let out = without_service(NODE);
        assert!(
            !out.contains("service") && out.starts_with("# A node.\n[mirror]") && out.ends_with("level = \"info\"\n"),
            "{out}"
        );
    }

    #[test]
    fn a_list_is_replaced_wherever_it_ends() {
        let keys = ["\"k1\"".to_owned(), "\"k2\"".to_owned()];
        let out = with_clients(NODE, "service.", 0, &keys).expect("it is there");
        assert!(out.contains("]\nclients = [\"k1\", \"k2\"]\n\n# Of the second one."), "{out}");
        let gone = with_clients(&out, "service.", 0, &[]).expect("it is there");
        assert!(!gone.contains("clients"), "{gone}");
        let out = with_clients(NODE, "service.", 1, &keys).expect("it is there");
        assert!(out.contains("name = \"b\"\nclients = [\"k1\", \"k2\"]\n\n# Logs."), "{out}");
        assert_eq!(with_clients("[[host]]\nclients = [\n", "", 0, &keys), None);
        assert_eq!(
            with_clients("[[host]]\nx = 1", "", 0, &keys[..1]).as_deref(),
            Some("[[host]]\nx = 1\nclients = [\"k1\"]\n")
        );
    }
}
