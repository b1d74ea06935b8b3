//! Commands that need no running node, as a script sees them.

use crate::folder::Folder;
use std::error::Error;
use std::os::unix::fs::PermissionsExt;

type TestResult = Result<(), Box<dyn Error>>;

const EXIT: &[&str] = &["init", "--role", "exit", "--rate", "10 Mbit/s", "--public-address", "exit.example:4433"];

#[test]
fn two_inits_make_a_pair_that_passes_the_check() -> TestResult {
    let folder = Folder::new("pair")?;
    let made = folder.run(EXIT)?;
    assert_eq!(made.code, Some(0), "{made:?}");
    let exit_line = made.out.lines().find(|line| line.starts_with("hushwire:")).ok_or("the line for the entry")?;
    assert!(exit_line.ends_with("@exit.example:4433"));
    let shown = folder.run(&["keys", "show", "-c", "exit.toml"])?;
    assert_eq!(shown.out.trim_end(), exit_line, "init and keys show print the same line, and nothing else on stdout");

    let made = folder.run(&["init", "--role", "entry", "--rate", "256 kbit/s", "--peer", exit_line])?;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.out.contains("91.6 GB"), "the cost is printed: {}", made.out);
    let entry_line = made.out.lines().find(|line| line.starts_with("hushwire:")).ok_or("the line for the exit")?;

    for file in ["entry.toml", "entry.keys", "exit.toml", "exit.keys"] {
        let mode = folder.0.join(file).metadata()?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let checked = folder.run(&["check", "-c", "entry.toml"])?;
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""), "{checked:?}");
    let checked = folder.run(&["check", "-c", "exit.toml"])?;
    assert!(checked.out.contains("warning: `peers`: no entry is answered"), "{}", checked.out);

    let path = folder.0.join("exit.toml");
    let text = std::fs::read_to_string(&path)?.replace("peers = []", &format!("peers = [{entry_line:?}]"));
    std::fs::write(&path, text)?;
    let checked = folder.run(&["check", "-c", "exit.toml"])?;
    assert!(checked.code == Some(0) && !checked.out.contains("warning"), "{checked:?}");
    Ok(())
}

#[test]
fn nothing_is_overwritten() -> TestResult {
    let folder = Folder::new("twice")?;
    assert_eq!(folder.run(EXIT)?.code, Some(0));
    let before = std::fs::read_to_string(folder.0.join("exit.keys"))?;
    let again = folder.run(EXIT)?;
    assert_eq!(again.code, Some(73), "{again:?}");
    assert_eq!(folder.run(&["keys", "new", "exit.keys"])?.code, Some(73));
    assert_eq!(std::fs::read_to_string(folder.0.join("exit.keys"))?, before);
    Ok(())
}

#[test]
fn every_refusal_has_its_exit_code_and_says_what_to_try() -> TestResult {
    let folder = Folder::new("codes")?;
    assert_eq!(folder.run(EXIT)?.code, Some(0));
    std::fs::write(folder.0.join("wrong.toml"), "role = \"exit\"\nkey_file = \"exit.keys\"\nnetwork.bind = \"x\"\n")?;
    std::fs::write(folder.0.join("open.keys"), "x")?;
    std::fs::set_permissions(folder.0.join("open.keys"), std::fs::Permissions::from_mode(0o644))?;
    let cases: &[(&[&str], i32)] = &[
        (&["init"], 64),
        (&["init", "--role", "entry"], 64),
        (&["init", "--role", "entry", "--rate", "fast"], 65),
        (&["init", "--role", "entry", "--rate", "2 Mbit/s", "--peer", "hushwire:x"], 65),
        (&["check", "-c", "nowhere.toml"], 66),
        (&["check", "-c", "wrong.toml"], 78),
        (&["entry", "-c", "exit.toml"], 78),
        (&["keys", "show", "nowhere.keys"], 66),
        (&["keys", "show", "open.keys"], 77),
        (&["keys", "show", "wrong.toml", "--address", "nonsense"], 65),
        (&["status"], 69),
        (&["status", "--socket", "nowhere"], 69),
    ];
    for (arguments, code) in cases {
        let ran = folder.run(arguments)?;
        assert_eq!(ran.code, Some(*code), "{arguments:?}: {ran:?}");
        assert!(ran.out.is_empty(), "{arguments:?} says nothing on stdout: {ran:?}");
        assert!(ran.err.contains("error: ") && ran.err.contains("\n  try: "), "{arguments:?}: {ran:?}");
    }
    for arguments in [&["frobnicate"][..], &[], &["check"], &["init", "--role", "middle"], &["process", "x", "y"]] {
        assert_eq!(folder.run(arguments)?.code, Some(64), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_wrong_file_is_shown_with_line_and_caret() -> TestResult {
    let folder = Folder::new("caret")?;
    std::fs::write(folder.0.join("exit.toml"), "role = \"exit\"\nkey_file = \"exit.keys\"\nnetwork.bind = \"x\"\n")?;
    let ran = folder.run(&["check", "-c", "exit.toml"])?;
    insta::assert_snapshot!(ran.err);
    Ok(())
}

#[test]
fn a_secret_that_others_can_read_is_refused_before_anything_starts() -> TestResult {
    let folder = Folder::new("mode")?;
    assert_eq!(folder.run(EXIT)?.code, Some(0));
    std::fs::set_permissions(folder.0.join("exit.keys"), std::fs::Permissions::from_mode(0o640))?;
    for command in ["check", "exit"] {
        let ran = folder.run(&[command, "-c", "exit.toml"])?;
        assert_eq!(ran.code, Some(77), "{command}: {ran:?}");
        assert!(ran.err.contains("run `chmod 600 exit.keys`"), "{command}: {ran:?}");
    }
    Ok(())
}

#[test]
fn a_node_that_is_its_own_peer_is_refused() -> TestResult {
    let folder = Folder::new("self")?;
    assert_eq!(folder.run(EXIT)?.code, Some(0));
    let line = folder.run(&["keys", "show", "-c", "exit.toml"])?.out;
    let path = folder.0.join("exit.toml");
    let text = std::fs::read_to_string(&path)?.replace("peers = []", &format!("peers = [{:?}]", line.trim_end()));
    std::fs::write(&path, text)?;
    let ran = folder.run(&["check", "-c", "exit.toml"])?;
    assert_eq!(ran.code, Some(78));
    assert!(ran.err.contains("`peers` in exit.toml is this node itself"), "{ran:?}");
    Ok(())
}

#[test]
fn a_ledger_is_made_once_and_shown_with_its_limits_to_nobody_else() -> TestResult {
    let folder = Folder::new("ledger")?;
    let made = folder.run(EXIT)?;
    let exit_line = made.out.lines().find(|line| line.starts_with("hushwire:")).ok_or("the line for the entry")?;
    folder.run(&["init", "--role", "entry", "--rate", "10 Mbit/s", "--peer", exit_line])?;
    let path = folder.0.join("entry.toml");
    let limits = "[budget]\nlifetime_bits = 5000";
    let text = std::fs::read_to_string(&path)?
        .replace("[budget]", limits)
        .replace("\n[shaping]", "\n[shaping]\nmode = \"stepped\"");
    std::fs::write(&path, text.replace("\nmode = \"constant\"", ""))?;
    let looked = folder.run(&["ledger", "show", "-c", "entry.toml"])?;
    assert_eq!(looked.code, Some(66), "none is made by looking: {looked:?}");
    let made = folder.run(&["ledger", "new", "-c", "entry.toml"])?;
    let id = made.err.split("ledger ").nth(1).and_then(|rest| rest.get(..32)).ok_or("the ledger's id")?;
    let shown = folder.run(&["ledger", "show", "-c", "entry.toml"])?;
    assert!(shown.out.contains(&format!("ledger {id}, 0 reservations")), "{shown:?}");
    assert!(shown.out.contains("at most") && shown.out.contains("5000"), "{shown:?}");
    assert_eq!(folder.run(&["ledger", "new", "-c", "entry.toml"])?.code, Some(73));
    std::fs::set_permissions(folder.0.join("entry.ledger"), std::fs::Permissions::from_mode(0o640))?;
    let refused = folder.run(&["ledger", "show", "-c", "entry.toml"])?;
    assert_eq!(refused.code, Some(77), "{refused:?}");
    assert!(refused.err.contains("run `chmod 600 entry.ledger`"), "{refused:?}");
    Ok(())
}

#[test]
fn versions_completions_and_man_pages_are_made() -> TestResult {
    let folder = Folder::new("made")?;
    let version = folder.run(&["version", "--json"])?;
    let object: serde_json::Value = serde_json::from_str(&version.out)?;
    assert_eq!(object["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(folder.run(&["completions", shell])?.out.contains("init"), "{shell}");
    }
    assert!(folder.run(&["man"])?.out.starts_with(".ie"), "a roff page");
    assert_eq!(folder.run(&["man", "pages"])?.code, Some(0));
    assert!(folder.0.join("pages/hushwire-init.1").is_file());
    Ok(())
}

#[test]
fn swap_says_which_programs_stay_plain() -> TestResult {
    let folder = Folder::new("swap")?;
    let shell = folder.run(&["swap", "--check", "sh"])?;
    assert_eq!(shell.code, Some(0), "{shell:?}");
    assert!(shell.out.contains("/sh: its unix stream sockets are swapped"), "{}", shell.out);
    std::fs::write(folder.0.join("script"), "#!/bin/sh\n")?;
    let script = folder.run(&["swap", "--check", "./script"])?;
    assert!(
        script.out.contains("./script: a script of /bin/sh: its unix stream sockets are swapped"),
        "{}",
        script.out
    );
    std::fs::write(folder.0.join("script"), "#!/nowhere/sh\n")?;
    let orphan = folder.run(&["swap", "--check", "./script"])?;
    assert_eq!(orphan.code, Some(66), "{orphan:?}");
    assert!(orphan.err.contains("/nowhere/sh"), "{orphan:?}");
    std::fs::write(folder.0.join("text"), "only text\n")?;
    let text = folder.run(&["swap", "--check", "./text"])?;
    assert!(text.out.contains("stays plain: it is no program"), "{}", text.out);
    let missing = folder.run(&["swap", "--check", "./nothing"])?;
    assert_eq!(missing.code, Some(66), "{missing:?}");
    let bad = folder.run(&["swap", "--path", "a:b", "--", "true"])?;
    assert!(matches!(bad.code, Some(64 | 66)), "a pattern with a colon, or no library: {bad:?}");
    Ok(())
}
