//! The example, its defaults, and what is refused.

use super::*;
use crate::EXAMPLE_SERVICE;
use crate::everything::everything;

#[test]
fn the_example_is_read_and_its_comments_are_the_defaults() {
    let plain = parse_service(EXAMPLE_SERVICE, Path::new("/etc")).expect("the example is good");
    let all = parse_service(&everything(EXAMPLE_SERVICE), Path::new("/etc"))
        .unwrap_or_else(|problems| panic!("{}", problems.render("service.toml", &everything(EXAMPLE_SERVICE), false)));
    assert_eq!(plain.hosts[0].ports, [HostPort { port: 80, to: ([127, 0, 0, 1], 8080).into() }]);
    assert_eq!(plain.directory, Path::new("/etc/directory.socket"));
    assert_eq!(plain.network.guards_file, Path::new("/etc/service.guards"));
    let process = Process { shaped_core: None, unshaped_core: None, ..all.process };
    let mut hosts = all.hosts;
    assert_eq!(hosts[0].clients.len(), 1);
    hosts[0].clients.clear();
    assert_eq!(Service { process, hosts, ..all }, plain);
}

const LEAST: &str = "role = \"service\"\ndirectory = \"d\"\n[network]\nfile = \"n\"\n[[host]]\nname = \"web\"\n\
                     key_file = \"k\"\nports = [{ port = 80, to = \"127.0.0.1:8080\" }]\n";

#[test]
fn what_is_wrong_is_said_at_its_key() {
    assert!(parse_service(LEAST, Path::new("")).is_ok());
    let second = "[[host]]\nname = \"web\"\nkey_file = \"other\"\nports = [{ port = 1, to = \"10.0.0.1:1\" }]\n";
    for (text, key) in [
        (LEAST.replace("\"service\"", "\"exit\""), "role"),
        (LEAST.replace("directory", "direktory"), "direktory"),
        (LEAST.replace("\"web\"", "\"My web\""), "host[0].name"),
        (LEAST.replace("port = 80, ", ""), "host[0].ports[0]"),
        (LEAST.replace("port = 80", "port = 0"), "host[0].ports[0]"),
        (LEAST.replace("127.0.0.1:8080", "localhost:8080"), "host[0].ports[0]"),
        (LEAST.replace("127.0.0.1:8080", "0.0.0.0:8080"), "host[0].ports[0]"),
        (LEAST.replace("[{ ", "[{ port = 80, to = \"127.0.0.1:1\" }, { "), "host[0].ports"),
        (LEAST.replace("ports", "#ports"), "host[0].ports"),
        (LEAST.replace("key_file = \"k\"", "key_file = \"k\"\nclients = [\"hwa1nonsense\"]"), "host[0].clients[0]"),
        (format!("{LEAST}{second}"), "host[1].name"),
        (LEAST.split("[[host]]").next().unwrap_or_default().to_owned(), "host"),
        (LEAST.replace("[network]", "[shaping]\nmode = \"dp\"\n[network]"), "shaping.mode"),
    ] {
        let problems = parse_service(&text, Path::new("")).expect_err(&text);
        assert!(problems.iter().any(|one| one.key == key), "{key}: {}", problems.render("s", &text, false));
        assert!(problems.iter().all(|one| !one.problem.remedy().is_empty()));
    }
}

#[test]
fn too_many_of_anything_are_refused() {
    let host = |number: usize| {
        format!(
            "[[host]]\nname = \"h{number}\"\nkey_file = \"k{number}\"\nports = [{{ port = 1, to = \"[::1]:1\" }}]\n"
        )
    };
    let node = |hosts: usize| {
        let head = "role = \"service\"\ndirectory = \"d\"\n[network]\nfile = \"n\"\n";
        (0..hosts).map(host).fold(head.to_owned(), |text, host| text + &host)
    };
    let parse = |text: &str| parse_service(text, Path::new(""));
    assert_eq!(parse(&node(HOSTS_MAX)).map(|service| service.hosts.len()), Ok(HOSTS_MAX));
    assert!(parse(&node(HOSTS_MAX + 1)).is_err());
    let ports = |count: usize| {
        let ports: Vec<String> = (1..=count).map(|port| format!("{{ port = {port}, to = \"[::1]:1\" }}")).collect();
        LEAST.replace("{ port = 80, to = \"127.0.0.1:8080\" }", &ports.join(", "))
    };
    assert!(parse(&ports(HOST_PORTS_MAX)).is_ok());
    assert!(parse(&ports(HOST_PORTS_MAX + 1)).is_err());
}
