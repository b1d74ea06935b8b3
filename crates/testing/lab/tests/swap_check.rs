//! `hushwire swap --check` says of programs from Debian what is true of them: whether the library gets in is seen by running them with it.

use lab::pair::hushwire;
use lab::scratch::Scratch;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Programs with words that make them end at once, and whether their sockets can be swapped.
const PROGRAMS: [(&str, &[&str], bool); 14] = [
    ("/bin/sh", &["-c", ":"], true),
    ("/usr/bin/python3", &["--version"], true),
    ("redis-server", &["--version"], true),
    ("redis-benchmark", &["--version"], true),
    ("/usr/sbin/nginx", &["-v"], true),
    ("memcached", &["-V"], true),
    ("socat", &["-V"], true),
    ("rsync", &["--version"], true),
    ("curl", &["--version"], true),
    ("node", &["--version"], true),
    ("java", &["-version"], true),
    ("dbus-daemon", &["--version"], true),
    // Runs with another group's rights.
    ("ssh-agent", &["-h"], false),
    // Linked statically.
    ("/sbin/ldconfig", &["-p"], false),
];

/// The library, as cargo builds it with the workspace's tests, or now.
fn library() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let folders: Vec<PathBuf> = own.ancestors().skip(1).take(2).map(PathBuf::from).collect();
    let find = || folders.iter().map(|folder| folder.join("libhushwire_swap.so")).find(|path| path.exists());
    find().unwrap_or_else(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = folders[1].parent().expect("a target folder");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "socket-swap", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../Cargo.toml"))
            .arg("--target-dir")
            .arg(target)
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the library cannot be built");
        find().expect("it was built")
    })
}

#[test]
fn check_tells_the_truth_about_programs_of_debian() {
    let (binary, library) = (hushwire().expect("the binary"), library());
    for (program, words, expected) in PROGRAMS {
        let check = Command::new(binary).args(["swap", "--check", program]).output().expect("it runs");
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.status.success(), "{program}: {said}{}", String::from_utf8_lossy(&check.stderr));
        assert_eq!(said.contains("are swapped where"), expected, "{said}");
        assert_eq!(said.contains("stays plain"), !expected, "{said}");

        let is_in = loader_takes(&library, program, words);
        assert_eq!(is_in, expected, "{program}: the library {} it", if is_in { "is in" } else { "is not in" });
    }
}

/// Whether the loader says, of a run of this program, that it began the library.
fn loader_takes(library: &Path, program: &str, words: &[&str]) -> bool {
    let folder = Scratch::new().expect("a folder");
    let ran = Command::new(program)
        .args(words)
        .env("LD_PRELOAD", library)
        .env("LD_DEBUG", "files")
        .env("LD_DEBUG_OUTPUT", folder.join("loader"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(ran.is_ok(), "{program} is not installed: scripts/install does that");
    let files = std::fs::read_dir(folder.path()).expect("the folder");
    let said = files.map(|file| std::fs::read(file.expect("an entry").path()).expect("a file of the loader"));
    let begun = format!("calling init: {}", library.display());
    said.into_iter().any(|said| String::from_utf8_lossy(&said).contains(&begun))
}
