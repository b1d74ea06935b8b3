//! Help texts word for word, and docs/cli.md, which is made from them.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// Every visible command, as it is typed.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["demo"],
    &["bench"],
    &["verify"],
    &["plan"],
    &["sim"],
    &["sim", "reaction"],
    &["sim", "network"],
    &["init"],
    &["keys"],
    &["keys", "new"],
    &["keys", "show"],
    &["pki"],
    &["pki", "init"],
    &["pki", "request"],
    &["pki", "sign"],
    &["pki", "issue"],
    &["pki", "renew"],
    &["pki", "revoke"],
    &["pki", "show"],
    &["network"],
    &["network", "operator"],
    &["network", "new"],
    &["network", "describe"],
    &["network", "assemble"],
    &["network", "sign"],
    &["network", "show"],
    &["invite"],
    &["join"],
    &["ledger"],
    &["ledger", "new"],
    &["ledger", "show"],
    &["check"],
    &["entry"],
    &["exit"],
    &["relay"],
    &["mirror"],
    &["node"],
    &["reload"],
    &["drain"],
    &["status"],
    &["circuit"],
    &["circuit", "list"],
    &["circuit", "show"],
    &["peers"],
    &["service"],
    &["service", "add"],
    &["service", "list"],
    &["service", "show"],
    &["service", "remove"],
    &["service", "client"],
    &["service", "client", "new"],
    &["service", "client", "add"],
    &["service", "client", "remove"],
    &["cluster"],
    &["cluster", "run"],
    &["cluster", "demo"],
    &["cluster", "status"],
    &["cluster", "member"],
    &["cluster", "member", "add"],
    &["cluster", "member", "remove"],
    &["cluster", "member", "withdraw"],
    &["cluster", "checkpoint"],
    &["cluster", "pub"],
    &["cluster", "sub"],
    &["cluster", "feed"],
    &["directory"],
    &["directory", "status"],
    &["directory", "show"],
    &["directory", "log"],
    &["directory", "admit"],
    &["directory", "expel"],
    &["directory", "parameter"],
    &["directory", "members"],
    &["directory", "sign"],
    &["directory", "submit"],
    &["directory", "term"],
    &["hop"],
    &["hop", "client"],
    &["hop", "server"],
    &["hop", "status"],
    &["hop", "plan"],
    &["hop", "key"],
    &["swap"],
    &["version"],
    &["completions"],
    &["man"],
];

fn help(command: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_hushwire")).args(command).arg("--help").output();
    let ran = ran.expect("the program can be run");
    assert!(ran.status.success() && ran.stderr.is_empty(), "{command:?}: help is no error");
    let text = String::from_utf8(ran.stdout).expect("help is text");
    // Ends of lines are no part of what is promised.
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn help_texts_are_as_promised() {
    for command in COMMANDS {
        let name = if command.is_empty() { "overview".to_owned() } else { command.join("-") };
        insta::assert_snapshot!(name, help(command));
    }
}

#[test]
fn every_command_of_the_overview_has_a_help_text_here() {
    let overview = help(&[]);
    let commands = overview.lines().skip_while(|line| *line != "Try it:").take_while(|line| *line != "Options:");
    let mut names: Vec<&str> =
        commands.filter(|line| line.starts_with("  ")).filter_map(|line| line.split_whitespace().next()).collect();
    names.sort_unstable();
    let mut tested: Vec<&str> = COMMANDS.iter().filter_map(|command| command.first().copied()).collect();
    tested.sort_unstable();
    tested.dedup();
    assert_eq!(names, tested);
}

/// `UPDATE_DOCS=1 cargo test -p cli` writes the page.
#[test]
fn the_command_reference_is_made_from_the_help_texts() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/cli.md");
    let made = reference_page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&page, &made).expect("docs/cli.md can be written");
    }
    let found = std::fs::read_to_string(&page).expect("docs/cli.md can be read");
    assert_eq!(found, made, "run `UPDATE_DOCS=1 cargo test -p cli` and commit docs/cli.md");
}

fn reference_page() -> String {
    let mut page = String::from(include_str!("cli_page_head.md"));
    for command in COMMANDS {
        let _ = write!(page, "\n## `{}`\n\n```text\n{}\n```\n", typed(command), help(command));
    }
    page
}

fn typed(command: &[&str]) -> String {
    std::iter::once("hushwire").chain(command.iter().copied()).collect::<Vec<_>>().join(" ")
}
