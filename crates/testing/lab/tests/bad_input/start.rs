//! Nodes that cannot start because of their files or ports: one sentence, an exit code, and nothing left behind.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use lab::pair::hushwire;
use lab::process;
use lab::scratch::{Scratch, free_udp_address};

use super::rig::{Outcome, PATIENCE, fresh_keys, private};

/// Exit codes of docs/cli.md.
pub(crate) mod code {
    pub(crate) const DATA: i32 = 65;
    pub(crate) const NO_INPUT: i32 = 66;
    pub(crate) const SYSTEM: i32 = 71;
    pub(crate) const CANNOT_CREATE: i32 = 73;
    pub(crate) const INPUT_OUTPUT: i32 = 74;
    pub(crate) const PERMISSION: i32 = 77;
    pub(crate) const CONFIGURATION: i32 = 78;
}

/// A folder in which a node is to start, with good keys and a good configuration.
pub(crate) struct Place {
    pub(crate) folder: Scratch,
}

impl Place {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        fresh_keys(&folder, "exit.keys")?;
        let bind = free_udp_address()?;
        let text = format!(
            "role = \"exit\"\nkey_file = \"exit.keys\"\npeers = []\n[network]\nbind = \"{bind}\"\n\
             public_address = \"{bind}\"\n[shaping]\nmode = \"off\"\n"
        );
        private(&folder, "exit.toml", &text)?;
        Ok(Self { folder })
    }

    /// Changes the configuration.
    pub(crate) fn edit(&self, change: impl FnOnce(String) -> String) -> Outcome {
        let text = std::fs::read_to_string(self.folder.join("exit.toml"))?;
        private(&self.folder, "exit.toml", &change(text))?;
        Ok(())
    }

    /// Runs `exit` in the folder, which must fail, leaving no process and no socket.
    pub(crate) fn refused(&self, by: &[&str], exit_code: i32, parts: &[&str]) -> anyhow::Result<String> {
        let mut line: Vec<&str> = by.to_vec();
        let binary = hushwire()?.display().to_string();
        line.extend([binary.as_str(), "exit", "-c", "exit.toml"]);
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).current_dir(self.folder.path()).env_remove("HUSHWIRE_LOG");
        let output = process::run_to_end(&mut command, PATIENCE)?;
        let text = check(&output, exit_code, parts);
        assert_eq!(processes_in(self.folder.path()), Vec::<String>::new(), "processes are left: {text}");
        assert!(!self.folder.join("exit.admin").exists(), "the admin socket is left: {text}");
        Ok(text)
    }
}

/// A refusal has its code, exactly one sentence of an error, what to do, and these words.
pub(crate) fn check(output: &Output, exit_code: i32, parts: &[&str]) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit_code), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    let told = parts.iter().all(|part| text.contains(part));
    assert!(told, "{parts:?} is not all in:\n{text}");
    assert!(text.lines().filter(|line| line.starts_with("error: ")).count() >= 1, "{text}");
    assert!(text.contains("\n  try: "), "nothing to do about it:\n{text}");
    text
}

/// Numbers of all processes whose working folder is this one.
fn processes_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = |path: &Path| std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    let numbers = entries.map(|entry| entry.path()).filter(|path| inside(path));
    numbers.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect()
}

#[test]
fn keys_that_are_missing_open_to_others_or_none_are_refused() -> Outcome {
    let place = Place::new()?;
    let keys = place.folder.join("exit.keys");
    let good = std::fs::read_to_string(&keys)?;
    let mode = |mode| std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(mode));
    mode(0o644)?;
    place.refused(&[], code::PERMISSION, &["exit.keys has mode 0644", "other users can read", "chmod 600"])?;
    mode(0o600)?;
    std::fs::write(&keys, "no keys at all\n")?;
    place.refused(&[], code::DATA, &["exit.keys is not a key file", "restore it from a copy"])?;
    std::fs::write(&keys, [0xff, 0xfe, 0])?;
    place.refused(&[], code::DATA, &["exit.keys", "valid UTF-8", "restore it from a copy"])?;
    std::fs::write(&keys, &good[..good.len() / 2])?;
    place.refused(&[], code::DATA, &["exit.keys is not a key file"])?;
    std::fs::remove_file(&keys)?;
    place.refused(&[], code::NO_INPUT, &["exit.keys", "No such file", "hushwire keys new"])?;
    std::fs::create_dir(&keys)?;
    place.refused(&[], code::DATA, &["exit.keys is not a regular file"])?;
    Ok(())
}

#[test]
fn errors_of_the_configuration_name_key_line_and_remedy() -> Outcome {
    let place = Place::new()?;
    let good = std::fs::read_to_string(place.folder.join("exit.toml"))?;
    let cases: [(&str, &str, &[&str]); 7] = [
        ("colour = \"blue\"\n", "", &["colour", "there is no such key", "exit.toml:1:1", "^"]),
        ("session_timeout_s = \"long\"\n", "", &["session_timeout_s", "exit.toml:1:", "^"]),
        ("session_timeout_s = 100000\n", "", &["session_timeout_s", "1..=600", "^"]),
        ("session_timeout_s = = 3\n", "", &["exit.toml:1:", "^"]),
        ("", "[queues]\nmax_flow = 16\n", &["max_flow", "max_flows", "^"]),
        ("", "[exit_policy]\nrules = [\"maybe *\"]\n", &["rules", "maybe", "^"]),
        ("", "[limits]\nconnect_timeout_s = -1\n", &["connect_timeout_s", "^"]),
    ];
    for (before, behind, parts) in cases {
        private(&place.folder, "exit.toml", &format!("{before}{good}{behind}"))?;
        place.refused(&[], code::CONFIGURATION, parts)?;
    }
    std::fs::write(place.folder.join("exit.toml"), [0xff, 0xfe, 0])?;
    place.refused(&[], code::CONFIGURATION, &["exit.toml", "valid UTF-8", "hushwire init"])?;
    std::fs::write(place.folder.join("exit.toml"), "# ".repeat(10 << 20))?;
    place.refused(&[], code::CONFIGURATION, &["exit.toml"])?;
    std::fs::remove_file(place.folder.join("exit.toml"))?;
    place.refused(&[], code::NO_INPUT, &["exit.toml", "No such file", "hushwire init"])?;
    Ok(())
}

#[test]
fn ports_and_sockets_that_others_have_are_named() -> Outcome {
    let place = Place::new()?;
    let taken = UdpSocket::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let bound = |text: &str| text.lines().find_map(|line| line.strip_prefix("bind = ")).map(str::to_owned);
    place.edit(|text| {
        let free = bound(&text).unwrap_or_default();
        text.replacen(&format!("bind = {free}"), &format!("bind = \"{address}\""), 1)
    })?;
    place.refused(&[], code::SYSTEM, &["cannot open the UDP socket", &address, "another program has it"])?;

    let entry = Place::new()?;
    let line = fresh_keys(&entry.folder, "other.keys")?.join(".");
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let text = format!(
        "role = \"entry\"\nkey_file = \"exit.keys\"\npeer = \"hushwire:{line}@127.0.0.1:9\"\n\
         [[listen]]\nkind = \"proxy\"\naddress = \"{address}\"\n"
    );
    private(&entry.folder, "entry.toml", &text)?;
    let mut command = Command::new(hushwire()?);
    command.args(["entry", "-c", "entry.toml"]).current_dir(entry.folder.path());
    let output = process::run_to_end(&mut command, PATIENCE)?;
    check(&output, code::SYSTEM, &["cannot listen on TCP", &address, "another program has it"]);
    assert_eq!(processes_in(entry.folder.path()), Vec::<String>::new());
    assert!(!entry.folder.join("entry.admin").exists());
    // The file of the other role is not started either.
    std::fs::rename(entry.folder.join("entry.toml"), entry.folder.join("exit.toml"))?;
    entry.refused(&[], code::CONFIGURATION, &["is the configuration of an entry, not of an exit"])?;
    Ok(())
}
