//! The example files are the reference: they and the code must have the same keys, with the same defaults, and
//! docs/config.md is made from them.

use config::{Config, EXAMPLE_CLUSTER, EXAMPLE_ENTRY, EXAMPLE_EXIT, ListenKind, Role};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What stands in the example for a line that only the other node can print.
const PLACEHOLDER: &str = "hushwire:PASTE-THE-LINE-OF-THE-EXIT-HERE";

/// Keys that are off when they are left out; the example's value only shows how they are written.
const OPTIONAL: &[&str] = &[
    "users_file",
    "revoked_file",
    "address",
    "unix",
    "to",
    "public_address",
    "file",
    "onion_key_file",
    "exit",
    "access_key_file",
    "shaped_core",
    "unshaped_core",
    "window_epsilon",
    "lifetime_epsilon",
    "window_bits",
    "lifetime_bits",
];

/// Keys that make another kind of node of it, so that they are not written out together with the others.
const OTHER_KIND: &[&str] = &[
    "file",
    "onion_key_file",
    "guards_file",
    "hops",
    "legs",
    "exit",
    "relax",
    "tunnels",
    "isolate",
    "services",
    "access_key_file",
];

/// One `key = value` of an example.
struct Key<'e> {
    section: &'e str,
    name: &'e str,
    value: &'e str,
    /// Whether it is commented out, which means that this is the default.
    default: bool,
    meaning: String,
}

fn keys(example: &str) -> Vec<Key<'_>> {
    let (mut section, mut meaning, mut found) = ("", String::new(), Vec::new());
    for line in example.lines() {
        let (text, default) = line.strip_prefix("# ").map_or((line, false), |text| (text, true));
        let is_key = |(name, _): &(&str, &str)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        if let Some((name, value)) = text.split_once(" = ").filter(is_key) {
            found.push(Key { section, name, value, default, meaning: std::mem::take(&mut meaning) });
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']);
            meaning.clear();
        } else if default {
            meaning = format!("{meaning} {text}").trim().to_owned();
        } else {
            meaning.clear();
        }
    }
    found
}

/// The example with every default written out, and a peer that is one.
fn spelled_out(example: &str) -> String {
    let names =
        keys(example).iter().map(|key| key.name).filter(|name| !OTHER_KIND.contains(name)).collect::<BTreeSet<_>>();
    let mut text = String::new();
    for line in example.lines() {
        let key =
            line.strip_prefix("# ").filter(|text| text.split_once(" = ").is_some_and(|(name, _)| names.contains(name)));
        let _ = writeln!(text, "{}", key.unwrap_or(line));
    }
    with_peer(&text)
}

fn with_peer(text: &str) -> String {
    let keys = identity::KeyFile::from_random([[1; 32], [2; 32], [3; 32]]);
    let address = "192.0.2.1:4433".parse().expect("an address");
    text.replace(PLACEHOLDER, &keys.peer_string(Some(address)).reveal())
}

fn parsed(text: &str) -> Config {
    let folder = Path::new("/etc/hushwire");
    config::parse(text, folder).unwrap_or_else(|problems| panic!("{}", problems.render("example", text, false)))
}

#[test]
fn every_key_of_the_code_is_in_the_example_and_the_reverse() {
    for example in [EXAMPLE_ENTRY, EXAMPLE_EXIT] {
        let path = |key: &Key<'_>| match key.section {
            "" => key.name.to_owned(),
            section => format!("{section}.{}", key.name),
        };
        let written: BTreeSet<String> = keys(example).iter().map(path).collect();
        assert!(written.len() > 20, "the example is read at all: {written:?}");
        assert_eq!(config::keys_of(&with_peer(example)), written);
    }
}

#[test]
fn the_values_of_the_examples_are_the_defaults() {
    for example in [EXAMPLE_ENTRY, EXAMPLE_EXIT] {
        let (mut short, mut long) = (parsed(&with_peer(example)), parsed(&spelled_out(example)));
        assert_eq!((long.process.shaped_core, long.process.unshaped_core), (Some(0), Some(1)));
        assert_eq!((short.process.shaped_core.take(), short.process.unshaped_core.take()), (None, None));
        (long.process.shaped_core, long.process.unshaped_core) = (None, None);
        if let Role::Exit(exit) = &mut long.role {
            assert_eq!(exit.directory.take(), Some(PathBuf::from("/etc/hushwire/directory.socket")));
        }
        if let Role::Entry(entry) = &mut long.role {
            let ListenKind::Proxy { users_file, login_required } = &mut entry.listeners[0].kind else {
                panic!("the first listener of the example is a proxy");
            };
            // A users file has no default, and a login can only be required where there is one.
            assert_eq!(users_file.take(), Some(PathBuf::from("/etc/hushwire/entry.users")));
            assert!(std::mem::take(login_required), "the example says that true is the default");
            let budget = &mut entry.budget;
            let limits = [&mut budget.together, &mut budget.up, &mut budget.down].map(std::mem::take);
            assert_eq!(limits.map(|limit| limit.window_bits), [Some(600), Some(400), Some(400)]);
            assert!(limits.iter().all(|limit| limit.window_epsilon.is_some() && limit.lifetime_epsilon.is_some()));
        }
        assert_eq!(short, long);
    }
}

#[test]
fn directory_streams_have_a_listener_and_a_service() {
    let listen = "[[listen]]\nkind = \"directory\"\nunix = \"dir\"\n";
    let text = with_peer(EXAMPLE_ENTRY).replacen("[[listen]]\n", &format!("{listen}[[listen]]\n"), 1);
    let Role::Entry(entry) = parsed(&text).role else { panic!("it says that it is an entry") };
    assert_eq!(entry.listeners[0].kind, ListenKind::Directory);
    assert_eq!(entry.listeners[0].listen, config::Listen::Unix(PathBuf::from("/etc/hushwire/dir")));
    for wrong in
        ["kind = \"directory\"\naddress = \"127.0.0.1:5\"\n", "kind = \"directory\"\nunix = \"dir\"\nto = \"a:1\"\n"]
    {
        let text = text.replacen("kind = \"directory\"\nunix = \"dir\"\n", wrong, 1);
        let problems = config::parse(&text, Path::new("/etc/hushwire")).expect_err("no such listener");
        let said = problems.render("example", &text, false);
        assert!(said.contains("directory"), "{said}");
    }
    let text = with_peer(EXAMPLE_EXIT) + "\n[directory]\nsocket = \"/run/directory\"\n";
    let Role::Exit(exit) = parsed(&text.replacen("[directory]\n", "", 1)).role else { panic!("an exit") };
    assert_eq!(exit.directory, Some(PathBuf::from("/run/directory")));
}

#[test]
fn an_exit_of_a_network_needs_two_files_and_no_peers() {
    let text = "role = \"exit\"\nkey_file = \"k\"\n[network]\nbind = \"0.0.0.0:4433\"\nfile = \"network.document\"\n\
                onion_key_file = \"o\"\n[shaping]\nmode = \"off\"\n[limits]\ntunnels = 7\n";
    let config = parsed(text);
    let Role::Exit(exit) = &config.role else { panic!("it says that it is an exit") };
    let folder = Path::new("/etc/hushwire");
    let network = exit.network.as_ref().expect("it names a document");
    assert_eq!([&network.file, &network.onion_key_file], [&folder.join("network.document"), &folder.join("o")]);
    assert_eq!(network.tunnels, 7);
    assert_eq!(config.warnings(), [config::Warning::ModeOffOverCircuits], "nobody has to be told of it");
    for file in ["file = \"network.document\"\n", "onion_key_file = \"o\"\n"] {
        let problems = config::parse(&text.replace(file, ""), folder).expect_err("they go together");
        assert!(
            problems.iter().any(|problem| file.starts_with(problem.key.trim_start_matches("network."))),
            "{problems:?}"
        );
    }
}

#[test]
fn an_entry_of_a_network_has_the_modes_and_rates_of_a_pair() {
    for (mode, warnings) in [("constant", 0), ("stepped", 0), ("dp", 0), ("queue", 0), ("off", 1)] {
        let text = format!(
            "role = \"entry\"\nkey_file = \"k\"\n[network]\nfile = \"network.document\"\nlegs = 3\n[shaping]\n\
             mode = \"{mode}\"\nup = \"2 Mbit/s\"\ndown = \"10 Mbit/s\"\n[[listen]]\nkind = \"proxy\"\n\
             address = \"127.0.0.1:1080\"\n"
        );
        let config = parsed(&text);
        let Role::Entry(entry) = &config.role else { panic!("it says that it is an entry") };
        assert!(entry.network.is_some() && config.shaping.mode.name() == mode);
        assert!(entry.up.bits_per_second() >= 2_000_000 && entry.down.bits_per_second() >= 10_000_000);
        assert_eq!(config.warnings().len(), warnings, "{mode}");
    }
}

#[test]
fn what_has_no_default_must_be_given() {
    let required = |example: &str| -> BTreeSet<String> {
        let role = example.lines().find(|line| line.starts_with("role")).expect("an example has a role");
        let problems = config::parse(role, Path::new("")).expect_err("a role alone is no configuration");
        problems.iter().map(|problem| problem.key.clone()).collect()
    };
    assert_eq!(required(EXAMPLE_ENTRY), BTreeSet::from(["key_file", "peer", "listen"].map(String::from)));
    assert_eq!(required(EXAMPLE_EXIT), BTreeSet::from(["key_file", "network.bind"].map(String::from)));
}

/// `UPDATE_DOCS=1 cargo test -p config` writes the page.
#[test]
fn the_reference_page_is_made_from_the_examples() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/config.md");
    let made = reference_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &made).expect("docs/config.md can be written");
    }
    let found = std::fs::read_to_string(&page).expect("docs/config.md can be read");
    assert_eq!(found, made, "run `UPDATE_DOCS=1 cargo test -p config` and commit docs/config.md");
}

fn reference_page() -> String {
    let mut page = String::from(
        "# The configuration file\n\n\
         One TOML file per node. This page is made from the example files of the `config` crate, which\n\
         `hushwire init` also starts from; a test keeps file, code and page together. Unknown keys are refused.\n\
         Paths are relative to the folder of the file. Rates are written such as \"256 kbit/s\" or \"10 Mbit/s\" and\n\
         rounded up to a rate class (256 kbit/s x 2^(i/4)); sizes such as \"256 KiB\".\n\n\
         `hushwire check -c FILE` says what is wrong with a file: key, line, why, and what to do (exit code 78).\n",
    );
    for (role, example) in [("entry", EXAMPLE_ENTRY), ("exit", EXAMPLE_EXIT), ("cluster", EXAMPLE_CLUSTER)] {
        let _ = writeln!(page, "\n## {role}");
        let (mut section, mut seen) = (None, BTreeSet::new());
        for key in keys(example) {
            if !seen.insert((key.section, key.name)) {
                continue;
            }
            if section != Some(key.section) {
                let title = match key.section {
                    "" => "Top of the file".to_owned(),
                    "listen" => "`[[listen]]`".to_owned(),
                    "members" => "`[[members]]`".to_owned(),
                    name => format!("`[{name}]`"),
                };
                // A second table of one array goes on with the first one's rows.
                if key.section != "listen" || section.is_none_or(|before| before != "listen") {
                    let _ = writeln!(page, "\n### {title}\n\n| key | default | meaning |\n|---|---|---|");
                }
                section = Some(key.section);
            }
            let optional = OPTIONAL.contains(&key.name) && key.section != "members" || key.section == "directory";
            let default = match (key.default, optional) {
                (_, true) => "none".to_owned(),
                (true, false) => format!("`{}`", key.value),
                (false, false) => "must be given".to_owned(),
            };
            let meaning = key.meaning.replace('*', "\\*").replace('|', "\\|");
            let _ = writeln!(page, "| `{}` | {default} | {meaning} |", key.name);
        }
    }
    page
}
