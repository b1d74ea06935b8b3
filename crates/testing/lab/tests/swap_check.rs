//! `hushwire swap --check` says of programs from Debian what is true of them: whether the library gets in is seen by running them with it.

use lab::pair::{hushwire, swap_library};
use lab::scratch::Scratch;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is true of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Truth {
    /// The library gets in, and its calls go through it.
    Swapped,
    /// The library does not get in.
    Plain,
    /// The library gets in, but its calls do not go through it.
    GoesAround,
    /// The library gets in, but some of its calls do not go through it.
    GoesPartlyAround,
}
use Truth::{GoesAround, GoesPartlyAround, Plain, Swapped};

/// Programs with words that make them end at once.
const PROGRAMS: [(&str, &[&str], Truth); 15] = [
    ("/bin/sh", &["-c", ":"], Swapped),
    ("/usr/bin/python3", &["--version"], Swapped),
    ("redis-server", &["--version"], Swapped),
    ("redis-benchmark", &["--version"], Swapped),
    ("/usr/sbin/nginx", &["-v"], Swapped),
    ("memcached", &["-V"], Swapped),
    ("socat", &["-V"], Swapped),
    ("rsync", &["--version"], Swapped),
    ("curl", &["--version"], Swapped),
    ("node", &["--version"], Swapped),
    ("java", &["-version"], Swapped),
    ("dbus-daemon", &["--version"], Swapped),
    // Runs with another group's rights.
    ("ssh-agent", &["-h"], Plain),
    // Linked statically.
    ("/sbin/ldconfig", &["-p"], Plain),
    // Written in Go, with a libc for what else it does.
    ("wireguard-go", &["--version"], GoesAround),
];

#[test]
fn check_tells_the_truth_about_programs_of_debian() {
    let library = swap_library().expect("the library");
    for (program, words, truth) in PROGRAMS {
        let said = holds(library, program, words, truth);
        assert!(!said.contains("a script"), "{said}");
    }
    // Runs with root's rights, which only root has anyway.
    let truth = if rustix::process::getuid().is_root() { Swapped } else { Plain };
    holds(library, "/bin/su", &["--version"], truth);
}

#[test]
fn check_tells_the_truth_about_programs_made_for_it() {
    let library = swap_library().expect("the library");
    let folder = Scratch::new().expect("a folder");
    let path = |name: &str| folder.join(name).display().to_string();
    std::fs::write(folder.join("nothing.c"), "int main(void) { return 0; }\n").expect("the folder is writable");
    std::fs::write(folder.join("ring.c"), "int io_uring_queue_init(void) { return 0; }\n")
        .expect("the folder is writable");
    std::fs::write(
        folder.join("rings.c"),
        "int io_uring_queue_init(void);\nint main(void) { return io_uring_queue_init(); }\n",
    )
    .expect("the folder is writable");
    compile(&[&path("nothing.c"), "-o", &path("plain")]);
    holds(library, &path("plain"), &[], Swapped);
    compile(&[&path("nothing.c"), "-static", "-o", &path("static")]);
    holds(library, &path("static"), &[], Plain);
    compile(&[&path("nothing.c"), "-static-pie", "-fPIE", "-o", &path("static-pie")]);
    holds(library, &path("static-pie"), &[], Plain);
    // As programs have it that use the kernel's rings through the library for them.
    let ring = path("liburing.so.2");
    compile(&[&path("ring.c"), "-shared", "-fPIC", "-Wl,-soname,liburing.so.2", "-o", &ring]);
    let folder_of_ring = format!("-Wl,-rpath,{}", folder.path().display());
    compile(&[&path("rings.c"), &ring, &folder_of_ring, "-o", &path("rings")]);
    holds(library, &path("rings"), &[], GoesPartlyAround);
    // Scripts are what runs them.
    for (name, first, truth) in [("shell", "/bin/sh", Swapped), ("of-static", path("static").as_str(), Plain)] {
        std::fs::write(folder.join(name), format!("#!{first}\n")).expect("the folder is writable");
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.join(name), all).expect("it was made");
        let said = holds(library, &path(name), &[], truth);
        assert!(said.contains(&format!("a script of {first}: ")), "{said}");
    }
    // A mark that gives nothing: it is the caller's own program.
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o6755);
    std::fs::set_permissions(folder.join("plain"), own).expect("it was made");
    holds(library, &path("plain"), &[], Swapped);
}

fn compile(words: &[&str]) {
    let ran = Command::new("cc").args(words).output().expect("a C compiler called `cc`; scripts/install");
    assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Compares what is said of a program with what is true and with what its loader does. Returns what is said.
fn holds(library: &Path, program: &str, words: &[&str], truth: Truth) -> String {
    let binary = hushwire().expect("the binary");
    let check = Command::new(binary).args(["swap", "--check", program]).output().expect("it runs");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{program}: {said}{}", String::from_utf8_lossy(&check.stderr));
    assert_eq!(said.contains("are swapped where"), truth == Swapped, "{said}");
    assert_eq!(said.contains("stays plain"), [Plain, GoesAround].contains(&truth), "{said}");
    assert_eq!(said.contains("the others are swapped"), truth == GoesPartlyAround, "{said}");
    let is_in = loader_takes(library, program, words);
    assert_eq!(is_in, truth != Plain, "{program}: the library {} it", if is_in { "is in" } else { "is not in" });
    said
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
