//! The certificates of a cluster, as a script makes them.

use crate::folder::{Folder, Ran};
use std::error::Error;
use std::os::unix::fs::PermissionsExt;

type TestResult = Result<(), Box<dyn Error>>;

const INIT: &[&str] = &["pki", "init", "--dir", "ca", "--name", "our cluster", "--domain", "cluster.example"];

fn good(ran: Ran) -> Result<Ran, String> {
    if ran.code == Some(0) { Ok(ran) } else { Err(format!("{ran:?}")) }
}

fn line<'a>(ran: &'a Ran, begin: &str) -> Result<&'a str, String> {
    let found = ran.out.lines().find_map(|line| line.strip_prefix(begin)).map(str::trim);
    found.ok_or_else(|| format!("no line `{begin}` in {ran:?}"))
}

#[test]
fn a_request_becomes_a_certificate_and_the_key_never_leaves_its_file() -> TestResult {
    let folder = Folder::new("pki-request")?;
    let made = good(folder.run(INIT)?)?;
    assert!(line(&made, "cluster = ")?.len() == 66 && line(&made, "SHA-256")?.len() == 95, "{made:?}");
    let mode = folder.0.join("ca/root.key").metadata()?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let keys = good(folder.run(&["keys", "new", "node.keys"])?)?;
    let node_id = keys.out.trim();
    let asked = good(folder.run(&["pki", "request", "--keys", "node.keys", "--name", "n1.cluster.example"])?)?;
    assert!(asked.err.contains(node_id) && asked.out.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{asked:?}");
    std::fs::write(folder.0.join("n1.csr"), &asked.out)?;
    let signed = good(folder.run(&["pki", "sign", "--dir", "ca", "n1.csr", "--out", "n1.crt"])?)?;
    assert_eq!(line(&signed, "node id")?, node_id);
    let shown = good(folder.run(&["pki", "show", "n1.crt", "ca/root.crt", "n1.csr"])?)?;
    assert!(
        shown.out.contains(&format!("[[members]]\nnode_id = \"{node_id}\"\nname = \"n1.cluster.example\"")),
        "{shown:?}"
    );
    assert_eq!(line(&shown, "only for")?, "cluster.example");
    let before = std::fs::read_to_string(folder.0.join("n1.crt"))?;
    let renewed = good(folder.run(&["pki", "renew", "--dir", "ca", "n1.crt", "--days", "30"])?)?;
    assert_eq!(line(&renewed, "node id")?, node_id);
    assert_ne!(std::fs::read_to_string(folder.0.join("n1.crt"))?, before);
    Ok(())
}

#[test]
fn a_revoked_node_gets_nothing_again_and_one_is_told_what_makes_it_so() -> TestResult {
    let folder = Folder::new("pki-revoke")?;
    good(folder.run(INIT)?)?;
    let node_id = good(folder.run(&["keys", "new", "node.keys"])?)?.out.trim().to_owned();
    let issue = ["pki", "issue", "--dir", "ca", &node_id, "--name", "n1.cluster.example", "--out"];
    good(folder.run(&[&issue[..], &["n1.crt"]].concat())?)?;
    let again = folder.run(&[&issue[..], &["n1.crt"]].concat())?;
    assert_eq!(again.code, Some(73), "nothing is overwritten: {again:?}");
    for _ in 0..2 {
        let revoked = good(folder.run(&["pki", "revoke", "--dir", "ca", &node_id])?)?;
        assert!(revoked.err.contains("revoked_file"), "{revoked:?}");
    }
    assert_eq!(std::fs::read_to_string(folder.0.join("ca/revoked"))?, format!("{node_id}\n"));
    for command in [[&issue[..], &["n2.crt"]].concat(), vec!["pki", "renew", "--dir", "ca", "n1.crt"]] {
        let refused = folder.run(&command)?;
        assert!(refused.code == Some(65) && refused.err.contains("is revoked"), "{refused:?}");
    }
    Ok(())
}

#[test]
fn every_refusal_has_its_exit_code_and_says_what_to_try() -> TestResult {
    let folder = Folder::new("pki-codes")?;
    good(folder.run(INIT)?)?;
    let node_id = good(folder.run(&["keys", "new", "node.keys"])?)?.out.trim().to_owned();
    let issue = |name: &'static str| vec!["pki", "issue", "--dir", "ca", &node_id, "--name", name, "--out", "x.crt"];
    let refused = |arguments: &[&str], code: i32, part: &str| -> TestResult {
        let ran = folder.run(arguments)?;
        assert!(ran.code == Some(code) && ran.err.contains(part), "{arguments:?}: {ran:?}");
        assert!(code == 64 || ran.err.contains("try:"), "{arguments:?}: {ran:?}");
        Ok(())
    };
    refused(INIT, 73, "exists already")?;
    refused(&issue("n1.elsewhere.example"), 64, "outside its domains")?;
    refused(&issue("not a name"), 64, "not a name such as")?;
    refused(&["pki", "show", "node.keys"], 65, "holds no such block")?;
    refused(&["pki", "show", "nothing.crt"], 66, "cannot read")?;
    refused(&["pki", "renew", "--dir", "ca", "ca/root.crt"], 65, "no certificate of a node")?;
    refused(&["pki", "issue", &node_id, "--name", "n.cluster.example", "--out", "x.crt"], 66, "root.key")?;
    let key = folder.0.join("ca/root.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644))?;
    refused(&issue("n1.cluster.example"), 77, "mode 0644")?;
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600))?;
    std::fs::write(&key, "nothing")?;
    refused(&issue("n1.cluster.example"), 65, "root's key")
}
