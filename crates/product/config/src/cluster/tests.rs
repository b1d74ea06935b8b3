use super::*;
use crate::EXAMPLE_CLUSTER;

const PX: &str = r#"{
  "me": {
    "id": "n2.example",
    "addr": "192.0.2.2:4433",
    "tls_config_info": { "cert_path": "tls/n2.crt", "key_path": "tls/n2.key", "ca_cert_path": "/etc/ca.crt" }
  },
  "retry_delay": 1000,
  "servers": [
    { "addr": "192.0.2.3:4433", "server_name": "n3.example" },
    { "addr": "n1.example", "server_name": "N1.example" }
  ]
}
"#;

fn example() -> String {
    let ids = [1, 2].map(|seed| identity::NodeSecret::from_seed([seed; 32]).node_id().to_string());
    let member = |number: usize, id: &str| {
        format!(
            "[[members]]\nnode_id = \"{id}\"\nname = \"n{number}.cluster.example\"\naddress = \"192.0.2.{number}:4500\"\n"
        )
    };
    let head = EXAMPLE_CLUSTER.split("[[members]]").next().expect("a head");
    format!("{head}{}{}", member(1, &ids[0]), member(2, &ids[1]))
}

/// With every key that stands in a comment.
fn spelled_out(text: &str) -> String {
    let is_key = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let key = |line: &'static str| {
        line.strip_prefix("# ").filter(|rest| rest.split_once(" = ").is_some_and(|(name, _)| is_key(name)))
    };
    let known: Vec<&str> = EXAMPLE_CLUSTER.lines().filter_map(key).collect();
    assert_eq!(known.len(), 7, "{known:?}");
    known.iter().fold(text.to_owned(), |text, key| text.replace(&format!("# {key}"), key))
}

fn keys_of_problems(found: &Diagnostics) -> Vec<&str> {
    assert!(found.iter().all(|one| !one.problem.remedy().is_empty()));
    found.iter().map(|one| one.key.as_str()).collect()
}

#[test]
fn the_example_is_read_and_its_comments_are_the_defaults() {
    let folder = Path::new("/etc/hushwire");
    let short = parse_cluster(&example(), folder).expect("the example is good");
    let mut long = parse_cluster(&spelled_out(&example()), folder).expect("the example is good");
    assert_eq!(long.revoked_file.take(), Some(folder.join("revoked")));
    assert_eq!(short, long);
    assert_eq!((short.cluster, short.members.len()), ([0; 32], 2));
    assert_eq!(short.data_dir, folder.join("cluster-log"));
    let users = example().replace("# pipe_users = []", "pipe_users = [0, 1000]");
    assert_eq!(parse_cluster(&users, folder).expect("two users").pipe_users, [0, 1000]);
    let nobody = example().replace("# pipe_users = []", "pipe_users = [4294967295]");
    assert_eq!(keys_of_problems(&parse_cluster(&nobody, folder).expect_err("no user")), ["pipe_users[0]"]);
}

#[test]
fn a_member_of_a_directory_has_a_table_of_its_own() {
    let folder = Path::new("/etc/hushwire");
    let once = |table: &str| {
        let text = example().replacen("[[members]]", &format!("{table}\n[[members]]"), 1);
        parse_cluster(&text, folder)
    };
    assert_eq!(parse_cluster(&example(), folder).expect("the example is good").directory, None);
    let found = once("[directory]\ncharter_file = \"network.charter\"").expect("one key").directory.expect("a table");
    let expected = Directory {
        charter_file: folder.join("network.charter"),
        state_dir: folder.join("directory"),
        socket: folder.join("directory.socket"),
        term: None,
    };
    assert_eq!(found, expected);
    let half = once("[directory]\ncharter_file = \"c\"\nterm_file = \"t\"").expect_err("a term has a state");
    assert_eq!(keys_of_problems(&half), ["directory.term_file"]);
    let none = once("[directory]\nsockets = \"s\"").expect_err("a charter is needed");
    assert_eq!(keys_of_problems(&none), ["directory.charter_file", "directory.sockets"]);
}

#[test]
fn what_is_wrong_is_said_at_its_key() {
    let wrong = example()
        .replace("cluster = \"00", "cluster = \"0x")
        .replace("0.0.0.0:4500", "0.0.0.0:0")
        .replace("\"n1.cluster.example\"", "\"n1 cluster\"")
        .replace("192.0.2.1:4500", "192.0.2.1")
        .replace("# retry_delay_ms = 100", "retry_delay_ms = 0")
        .replace("# idle_timeout_s = 10", "idle_timeout = 10");
    let found = parse_cluster(&wrong, Path::new("")).expect_err("six mistakes");
    let expected = ["cluster", "listen", "retry_delay_ms", "idle_timeout", "members[0].name", "members[0].address"];
    assert_eq!(keys_of_problems(&found), expected);
    let twice = example().replace("n2.cluster", "n1.cluster");
    assert_eq!(keys_of_problems(&parse_cluster(&twice, Path::new("")).expect_err("twice")), ["members[1].name"]);
    let one = example();
    let one = &one[..one.rfind("[[members]]").expect("two of them")];
    assert_eq!(keys_of_problems(&parse_cluster(one, Path::new("")).expect_err("one member")), ["members"]);
    let empty = parse_cluster("", Path::new("")).expect_err("nothing");
    let required = ["cluster", "key_file", "certificate_file", "root_file", "listen"];
    assert_eq!(keys_of_problems(&empty), required);
}

#[test]
fn px_a_file_of_the_original_is_taken_as_it_is() {
    let px = parse_px(PX, Path::new("/etc/px")).expect("the original takes it");
    assert_eq!((px.id.as_str(), px.listen.to_string().as_str()), ("n2.example", "192.0.2.2:4433"));
    assert_eq!((px.key_file, px.root_file), (PathBuf::from("/etc/px/tls/n2.key"), PathBuf::from("/etc/ca.crt")));
    assert_eq!(px.retry_delay, Duration::from_secs(1));
    let px = parse_px(PX, Path::new("")).expect("the same");
    let members = px.members(&"n2.example".parse().expect("a name")).expect("three different ones");
    let shown: Vec<_> = members.iter().map(|(number, member)| (*number, member.name.as_str())).collect();
    assert_eq!(shown, [(1, "n1.example"), (2, "n2.example"), (3, "n3.example")]);
    assert_eq!(members[0].1.address.to_string(), "n1.example:4433", "without a port it is this node's");
    assert!(members.iter().all(|(_, member)| member.proof == Proof::Name));
    assert_eq!(px.members(&"n1.example".parse().expect("a name")), None, "a name that another one has");
}

#[test]
fn px_an_older_file_is_taken_too() {
    let older = PX
        .replace("\"retry_delay\"", "\"ping\": true, \"retry_delay\"")
        .replace("\"id\": \"n2.example\"", "\"id\": 7")
        .replace("{ \"addr\": \"192.0.2.3", "{ \"id\": 9, \"addr\": \"192.0.2.3")
        .replace("{ \"addr\": \"n1", "{ \"id\": \"8\", \"addr\": \"n1");
    let px = parse_px(&older, Path::new("")).expect("the original took it");
    let members = px.members(&"n2.example".parse().expect("a name")).expect("three different ones");
    assert_eq!(members.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [8, 7, 9]);
    let px = parse_px(&older.replace("\"8\"", "9"), Path::new("")).expect("the original took it");
    assert_eq!(px.members(&"n2.example".parse().expect("a name")), None, "a number twice");
}

#[test]
fn px_what_is_wrong_is_said_at_its_place_in_the_json() {
    let wrong = PX
        .replace("192.0.2.2:4433", "192.0.2.2")
        .replace("\"tls/n2.key\"", "5")
        .replace("1000", "0")
        .replace("\"server_name\": \"n3.example\"", "\"name\": \"n3.example\"");
    let found = parse_px(&wrong, Path::new("")).expect_err("mistakes");
    let expected =
        ["me.addr", "me.tls_config_info.key_path", "retry_delay", "servers[0].server_name", "servers[0].name"];
    let mut keys = keys_of_problems(&found);
    keys.retain(|key| *key != "servers[1].addr");
    assert_eq!(keys, expected);
    let address = found.iter().next().expect("some");
    assert_eq!(&wrong[address.span.clone()], "\"192.0.2.2\"", "the place is that of the value");
    let shown = found.render("px.json", &wrong, false);
    assert!(shown.contains("px.json:4"), "{shown}");
    let cut = parse_px("{\n  \"me\": {", Path::new("")).expect_err("it is cut");
    assert!(matches!(cut.iter().next().map(|one| &one.problem), Some(Problem::Json(_))), "{cut:?}");
    assert!(parse_px("[]", Path::new("")).is_err() && parse_px("", Path::new("")).is_err());
    let slash = parse_px(&PX.replace("tls/n2.crt", "tls\\/n2.crt"), Path::new("")).expect("JSON may escape a slash");
    assert_eq!(slash.certificate_file, PathBuf::from("tls/n2.crt"));
}
