//! PHP behind a web server, and programs at an X server: what they exchange is the same with both preloaded, one, and none.

#[path = "support/programs.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod programs;
#[path = "support/preload.rs"]
mod support;

use programs::{COMBINATIONS, counts_show_links, finish, program, start};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::Folder;

/// Requests over one connection of the client.
const REQUESTS: usize = 30;

/// What a page answers: the sum and length of what was posted, and many words.
const PAGE: &str = "<?php $posted = file_get_contents('php://input'); echo md5($posted), ' ', strlen($posted), \"\\n\", \
                    str_repeat($_SERVER['QUERY_STRING'] . ' words ', 30000), \"\\n\";";

/// Debian names the program after PHP's version.
fn php_fpm() -> PathBuf {
    let programs = std::fs::read_dir("/usr/sbin").into_iter().flatten().flatten().map(|entry| entry.path());
    let found =
        programs.filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"php-fpm")));
    found.max().expect("PHP-FPM is installed; run scripts/install")
}

/// The process manager of PHP, which answers at a socket.
fn pages(folder: &Folder, preloaded: bool, socket: &Path) -> Command {
    let text = format!(
        "[global]\ndaemonize = no\nerror_log = {}\n[pool]\nlisten = {}\npm = static\npm.max_children = 2\n{}",
        folder.path("php.log").display(),
        socket.display(),
        if is_root() { "user = root\ngroup = root\n" } else { "" }
    );
    std::fs::write(folder.path("php.conf"), text).expect("the folder is writable");
    std::fs::write(folder.path("page.php"), PAGE).expect("the folder is writable");
    let mut server = program(&php_fpm().to_string_lossy(), preloaded, folder);
    if is_root() {
        server.arg("--allow-to-run-as-root");
    }
    server.args(["--no-php-ini", "--nodaemonize", "--fpm-config"]).arg(folder.path("php.conf"));
    server
}

/// A web server that keeps its connections to PHP.
fn web(folder: &Folder, preloaded: bool, socket: &Path, pages: &Path) -> Command {
    let (root, user) = (folder.path(""), if is_root() { "user root;" } else { "" });
    let text = format!(
        "daemon off; pid {root}/pid; error_log {root}/error; events {{}} {user} http {{ access_log off; \
         client_body_temp_path {root}/t; fastcgi_temp_path {root}/f; client_max_body_size 9m; \
         upstream php {{ server unix:{pages}; keepalive 4; }} \
         server {{ listen unix:{socket}; root {root}; location / {{ fastcgi_pass php; fastcgi_keep_conn on; \
         fastcgi_param SCRIPT_FILENAME {root}/page.php; fastcgi_param REQUEST_METHOD $request_method; \
         fastcgi_param QUERY_STRING $query_string; fastcgi_param CONTENT_LENGTH $content_length; \
         fastcgi_param CONTENT_TYPE $content_type; }} }} }}",
        root = root.display(),
        pages = pages.display(),
        socket = socket.display(),
    );
    std::fs::write(folder.path("web.conf"), text).expect("the folder is writable");
    let mut server = program("nginx", preloaded, folder);
    server.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-c").arg(folder.path("web.conf"));
    server
}

#[test]
fn php_answers_a_web_server() {
    let posted: Vec<u8> = (0..400_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 15) as u8).collect();
    let mut plain = None;
    for preloaded in COMBINATIONS {
        let folder = Folder::new();
        let (socket, behind) = (folder.path("web"), folder.path("php"));
        std::fs::write(folder.path("posted"), &posted).expect("the folder is writable");
        let _pages = start(pages(&folder, preloaded[0], &behind), &behind);
        let _web = start(web(&folder, preloaded[1], &socket, &behind), &socket);
        let mut client = program("curl", false, &folder);
        client.args(["-sf", "--unix-socket"]).arg(&socket).arg("--data-binary");
        client.arg(format!("@{}", folder.path("posted").display())).arg(format!("http://x/?[1-{REQUESTS}]"));
        let said = finish(client).stdout;
        let expected = plain.get_or_insert_with(|| said.clone());
        assert!(
            expected.len() > REQUESTS * 200_000,
            "{}",
            String::from_utf8_lossy(&expected[..200.min(expected.len())])
        );
        assert!(said == *expected, "{preloaded:?}: another answer");
        if preloaded == [true, true] {
            // The processes of PHP write their counts when they end.
            drop(_web);
            drop(_pages);
            counts_show_links(&folder);
        }
    }
}

/// A server of windows without a screen, and the name by which its clients find it.
fn windows(folder: &Folder, preloaded: bool, number: u32) -> (Command, PathBuf, String) {
    let display = format!(":{number}");
    let mut server = program("Xvfb", preloaded, folder);
    server.args([&display, "-screen", "0", "800x700x24", "-nolisten", "tcp", "-ac", "-noreset"]);
    (server, PathBuf::from(format!("/tmp/.X11-unix/X{number}")), display)
}

#[test]
fn an_x_server_draws_for_its_clients() {
    let mut plain = None;
    for (place, preloaded) in (0..).zip(COMBINATIONS) {
        let folder = Folder::new();
        // Displays are numbered for the whole machine.
        let (server, socket, display) = windows(&folder, preloaded[0], 4096 + 4 * (std::process::id() % 8192) + place);
        let server = start(server, &socket);
        let client = |name: &str, words: &[&str]| {
            let mut client = program(name, preloaded[1], &folder);
            client.env("DISPLAY", &display).args(words);
            finish(client).stdout
        };
        let about = client("xdpyinfo", &[]);
        // Requests of all sizes: single points, pixels from client to server and back, and round trips.
        let load = ["-repeat", "1", "-reps", "500", "-dot", "-putimage100", "-getimage100", "-prop", "-sync"];
        let load = client("x11perf", &load);
        assert_eq!(String::from_utf8_lossy(&load).matches(" reps @ ").count(), 4, "x11perf has not done all");
        let picture = client("xwd", &["-root", "-silent"]);
        let about = String::from_utf8_lossy(&about).replace(&display, "DISPLAY");
        assert!(about.len() > 500 && picture.len() > 800 * 700 * 4, "it says too little");
        let expected = plain.get_or_insert_with(|| (about.clone(), picture.clone()));
        assert_eq!(about, expected.0, "{preloaded:?}");
        assert!(picture == expected.1, "{preloaded:?}: another picture");
        drop(server);
        if preloaded == [true, true] {
            counts_show_links(&folder);
        }
    }
}

fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").stderr(Stdio::null()).output();
    asked.is_ok_and(|asked| asked.stdout == b"0\n")
}
