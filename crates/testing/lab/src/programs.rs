//! Programs and Python modules that the tests use but nobody here wrote.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A program is missing. The message is the whole story: tests fail with it and are never skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this test needs {what}: run scripts/install, or install the Debian package {package}")]
pub struct Missing {
    /// What is missing.
    pub what: &'static str,
    /// The package that has it.
    pub package: &'static str,
}

/// Programs with their Debian packages.
const PROGRAMS: [(&str, &str); 20] = [
    ("cc", "gcc"),
    ("curl", "curl"),
    ("nginx", "nginx"),
    ("openssl", "openssl"),
    ("python3", "python3"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-server"),
    ("iperf3", "iperf3"),
    ("socat", "socat"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("tcpdump", "tcpdump"),
    ("dnsmasq", "dnsmasq-base"),
    ("dig", "bind9-dnsutils"),
    ("wireguard-go", "wireguard-go"),
    ("wg", "wireguard-tools"),
];

/// Python modules with their Debian packages.
const MODULES: [(&str, &str); 3] =
    [("websockets", "python3-websockets"), ("socks", "python3-socks"), ("dns", "python3-dnspython")];

/// Folders that hold servers and are not in everybody's search path.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The interpreter of the distribution, which sees the distribution's modules.
const PYTHON: &str = "/usr/bin/python3";

/// Finds a program of the list.
///
/// # Errors
/// If it is not installed.
///
/// # Panics
/// If the list does not have it.
pub fn find(name: &'static str) -> Result<PathBuf, Missing> {
    let listed = PROGRAMS.iter().find(|(program, _)| *program == name);
    let (what, package) = listed.copied().expect("programs that tests use stand in the list");
    let search = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&search).chain(MORE_FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or(Missing { what, package })
}

/// The Python interpreter, after a check that it can import a module of the list.
///
/// # Errors
/// If Python or the module is not installed.
///
/// # Panics
/// If the list does not have the module.
pub fn python_with(module: &'static str) -> Result<PathBuf, Missing> {
    let listed = MODULES.iter().find(|(name, _)| *name == module);
    let (what, package) = listed.copied().expect("modules that tests use stand in the list");
    let python = python()?;
    let import = format!("import {module}");
    let mut command = Command::new(&python);
    let imported = command.args(["-c", &import]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if imported.is_ok_and(|status| status.success()) { Ok(python) } else { Err(Missing { what, package }) }
}

/// The Python interpreter of the distribution.
///
/// # Errors
/// If it is not installed.
pub fn python() -> Result<PathBuf, Missing> {
    let python = PathBuf::from(PYTHON);
    if python.is_file() { Ok(python) } else { Err(Missing { what: "python3", package: "python3" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_are_named_with_their_package() {
        let missing = Missing { what: "sshd", package: "openssh-server" };
        assert_eq!(
            missing.to_string(),
            "this test needs sshd: run scripts/install, or install the Debian package openssh-server"
        );
    }

    #[test]
    fn what_is_installed_is_found() {
        assert!(find("ip").is_ok_and(|path| path.ends_with("ip")));
    }
}
