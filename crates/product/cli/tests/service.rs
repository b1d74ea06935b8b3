//! `hushwire service`: services are added to files of both kinds, looked at, restricted and taken out, and nothing else of a file changes.

use crate::folder::Folder;
use crate::outcome::{bad, good};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// As `hushwire join` writes it, with something of the user's own.
const NODE: &str = r#"# Mine.
[mirror]
invitation_file = "invitation"
entry = "directory-stream.sock"

[entry]
key_file = "node.keys"

[entry.network]
file = "network.document"
guards_file = "guards"

[entry.shaping]
mode = "constant" # always
up = "2 Mbit/s"
down = "2 Mbit/s"

[[entry.listen]]
kind = "proxy"
address = "127.0.0.1:1080"

[[entry.listen]]
kind = "directory"
unix = "directory-stream.sock"

# The end.
[log]
level = "warn"
"#;

fn node(name: &str) -> Folder {
    let folder = Folder::new(name).expect("a folder");
    write(&folder, "node.toml", NODE);
    folder
}

fn write(folder: &Folder, name: &str, text: &str) {
    let path = folder.0.join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("its mode");
}

fn text(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.0.join(name)).expect("it is there")
}

fn mode(folder: &Folder, name: &str) -> u32 {
    fs::metadata(folder.0.join(name)).expect("it is there").permissions().mode() & 0o777
}

fn json(folder: &Folder, args: &[&str]) -> Value {
    serde_json::from_str(&good(folder, args)).expect("JSON")
}

/// An address, as `add` prints it.
fn address(said: &str) -> String {
    let address = said.lines().find(|line| line.ends_with(".hush")).expect("an address").to_owned();
    assert_eq!(address.len(), 56 + 5);
    address
}

#[test]
fn services_come_and_go_and_the_rest_of_the_file_stays() {
    let folder = node("service");
    let web = address(&good(&folder, &["service", "add", "web", "--to", "127.0.0.1:8080"]));
    let with_web = text(&folder, "node.toml");
    assert!(with_web.starts_with(NODE), "{with_web}");
    for line in [
        "[service]\n# Made by",
        "directory = \"directory-stream.sock\"",
        "[service.network]\nfile = \"network.document\"",
        "[service.shaping]\nmode = \"constant\"",
        "[[service.host]]\nname = \"web\"\nkey_file = \"web.service-key\"\nports = [{ port = 80, to = \"127.0.0.1:8080\" }]",
    ] {
        assert!(with_web.contains(line), "{line}: {with_web}");
    }
    assert_eq!((mode(&folder, "web.service-key"), mode(&folder, "node.toml")), (0o600, 0o640));
    assert!(text(&folder, "web.service-key").contains(&web), "the file says whose it is");

    let shell = json(&folder, &["service", "add", "shell", "--to", "127.0.0.1:22", "--port", "22", "--json"]);
    let shell = shell["address"].as_str().expect("an address").to_owned();
    assert_ne!(web, shell);
    let listed = json(&folder, &["service", "list", "--json"]);
    let found: Vec<(&str, &str)> = listed["services"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| Some((one["name"].as_str()?, one["address"].as_str()?)))
        .collect();
    assert_eq!(found, [("web", web.as_str()), ("shell", shell.as_str())]);
    let list = good(&folder, &["service", "list"]);
    assert!(list.contains(&web) && list.contains("everybody"), "{list}");
    let shown = good(&folder, &["service", "show", "shell", "-c", "node.toml"]);
    assert!(shown.contains("22 leads to 127.0.0.1:22") && shown.contains("no, or its node gives no answer"), "{shown}");

    // Out and back again, under the same address.
    good(&folder, &["service", "remove", "web"]);
    assert!(folder.0.join("web.service-key").exists(), "its key stays");
    let back = ["service", "add", "again", "--key", "web.service-key", "--to", "127.0.0.1:8081"];
    assert_eq!(address(&good(&folder, &back)), web);
    good(&folder, &["service", "remove", "again"]);
    // With the last one the part is gone, and the file is what it was.
    good(&folder, &["service", "remove", "shell"]);
    assert_eq!(text(&folder, "node.toml"), NODE);
}

#[test]
fn a_list_of_clients_is_kept_in_the_file() {
    let folder = node("service-clients");
    let key = |name: &str| good(&folder, &["service", "client", "new", name]).lines().next().expect("a key").to_owned();
    let (alice, bob) = (key("alice.access-key"), key("bob.access-key"));
    assert!(alice.starts_with("hwa1") && alice != bob);
    assert_eq!(mode(&folder, "alice.access-key"), 0o600);
    assert!(!text(&folder, "alice.access-key").contains(&alice), "the file has the secret");
    good(&folder, &["service", "add", "web", "--to", "127.0.0.1:8080", "--client", &alice]);
    good(&folder, &["service", "add", "open", "--to", "127.0.0.1:8081"]);
    good(&folder, &["service", "client", "add", "web", &bob]);
    let clients = |name: &str| json(&folder, &["service", "show", name, "--json"])["clients"].clone();
    assert_eq!(clients("web"), serde_json::json!([alice, bob]));
    assert_eq!(clients("open"), serde_json::json!([]));
    good(&folder, &["service", "client", "remove", "web", &alice]);
    let last = bad(&folder, &["service", "client", "remove", "web", &bob], 64);
    assert!(last.contains("everybody who knows the address is let in") && last.contains("--open"), "{last}");
    assert_eq!(clients("web"), serde_json::json!([bob]));
    good(&folder, &["service", "client", "remove", "web", &bob, "--open"]);
    assert_eq!(clients("web"), serde_json::json!([]));
    let twice = bad(&folder, &["service", "client", "remove", "web", &bob], 64);
    assert!(twice.contains("not on the list"), "{twice}");
    assert!(bad(&folder, &["service", "client", "add", "web", "hwa1nonsense"], 64).contains("hwa1nonsense"));
}

#[test]
fn a_file_of_services_alone_has_one_at_least() {
    let folder = Folder::new("service-own").expect("a folder");
    let own = "role = \"service\" # mine\ndirectory = \"d.sock\"\n\n[network]\nfile = \"n\"\n\n\
               [[host]]\nname = \"old\"\nkey_file = \"old.service-key\"\nports = [\n  { port = 80, to = \"127.0.0.1:80\" },\n]\n\n# Logs.\n[log]\nlevel = \"warn\"\n";
    write(&folder, "service.toml", own);
    let said = good(&folder, &["service", "add", "new", "--to", "[::1]:81", "--port", "81"]);
    let text_of = text(&folder, "service.toml");
    let expected = "[[host]]\nname = \"new\"\nkey_file = \"new.service-key\"\nports = [{ port = 81, to = \"[::1]:81\" }]\n\n# Logs.";
    assert!(text_of.contains(expected), "{text_of}");
    good(&folder, &["service", "remove", "old"]);
    let checked = good(&folder, &["check", "-c", "service.toml"]);
    assert!(checked.contains(&address(&said)) && checked.contains("81 leads to [::1]:81"), "{checked}");
    let last = bad(&folder, &["service", "remove", "new"], 78);
    assert!(last.contains("the last service"), "{last}");
}

#[test]
fn what_cannot_be_says_why_and_changes_nothing() {
    let folder = node("service-refused");
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let said = bad(&folder, args, code);
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(text(&folder, "node.toml"), NODE);
    };
    let add = |name: &'static str, to: &'static str| ["service", "add", name, "--to", to];
    refused(&add("Not Good", "127.0.0.1:80"), 65, &["node.toml", "name", "as it was"]);
    refused(&add("web", "127.0.0.1:0"), 65, &["port"]);
    refused(&add("web", "nonsense"), 64, &["nonsense"]);
    refused(&["service", "add", "web", "--to", "127.0.0.1:80", "--key", "nowhere"], 66, &["nowhere"]);
    refused(&["service", "show", "web"], 64, &["no service `web`", "it has none"]);
    refused(&["service", "list", "-c", "nowhere.toml"], 66, &["nowhere.toml"]);
    assert!(!folder.0.join("web.service-key").exists(), "nothing is left behind");
    fs::write(folder.0.join("web.service-key"), "mine").expect("a file");
    refused(&add("web", "127.0.0.1:80"), 73, &["web.service-key", "never overwritten"]);
    // A node that cannot have services says what it lacks.
    for (without, word) in [("[mirror]", "mirror"), ("[entry]", "entry"), ("kind = \"directory\"", "listener")] {
        let lacking = match without {
            "[mirror]" => NODE.split("\n[entry]").nth(1).map(|rest| format!("[entry]{rest}")),
            "[entry]" => NODE.split("[entry]").next().map(|first| format!("{first}[log]\n")),
            _ => Some(
                NODE.replace("[[entry.listen]]\nkind = \"directory\"\nunix = \"directory-stream.sock\"\n", "")
                    .replace("entry = \"directory-stream.sock\"\n", ""),
            ),
        };
        write(&folder, "other.toml", &lacking.expect("a text"));
        let said = bad(&folder, &["service", "add", "x", "--to", "127.0.0.1:80", "-c", "other.toml"], 78);
        assert!(said.contains(word), "{without}: {said}");
        assert!(!folder.0.join("x.service-key").exists());
    }
    // A file that is written in another way is left to its writer.
    let inline = "role = \"service\"\ndirectory = \"d\"\nhost = [{ name = \"a\", key_file = \"a\", ports = [{ port = 1, to = \"127.0.0.1:1\" }] }]\n[network]\nfile = \"n\"\n";
    write(&folder, "service.toml", inline);
    let said = bad(&folder, &["service", "add", "b", "--to", "127.0.0.1:2", "-c", "service.toml"], 65);
    assert!(said.contains("as it was"), "{said}");
    assert_eq!(text(&folder, "service.toml"), inline);
}
