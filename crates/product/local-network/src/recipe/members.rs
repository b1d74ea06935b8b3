//! How a network is founded: the operator's key, the members' certificates, the charter, and the first invitations.

use super::addresses::DOOR_MEMBER;
use super::{CHARTER, HOP_PORTS, INVITATION, Kind, Node, OPERATOR_KEY, Recipe, RecipeError, Runner};
use config::create_secret_file;
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The domain in which the members' certificates are.
const DOMAIN: &str = "cluster.example";

/// A member before it has a file.
struct Founder {
    name: String,
    id: String,
    door: SocketAddr,
    cluster: SocketAddr,
}

impl Recipe {
    /// Makes everything that is there before any node runs, and the members' files.
    pub(super) fn found<R: Runner>(&self, runner: &R) -> Result<Vec<Node>, R::Error> {
        let folder = runner.folder();
        let operator = runner.run(&["network", "operator", OPERATOR_KEY])?;
        let said = runner.run(&["pki", "init", "--dir", "ca", "--name", "example", "--domain", DOMAIN])?;
        let cluster = said.lines().find(|line| line.contains("cluster = ")).ok_or(RecipeError::Printed("pki init"))?;
        let mut founders = Vec::new();
        for number in 0..self.members {
            founders.push(self.founder(runner, number)?);
        }
        self.charter(runner, operator.trim(), &founders)?;
        let mut tables = String::new();
        for Founder { name, id, cluster, .. } in &founders {
            // Writing to a string does not fail.
            let _ = write!(
                tables,
                "\n[[cluster.members]]\nnode_id = \"{id}\"\nname = \"{name}.{DOMAIN}\"\naddress = \"{cluster}\"\n"
            );
        }
        let mut contacts = Vec::new();
        for Founder { name, door, cluster: listen, .. } in &founders {
            let file = |file: &str| format!("{name}/{file}");
            let (keys, onion, own, at) =
                (file("node.keys"), file("node.onion-keys"), file("invitation"), door.to_string());
            let charter = ["--charter", CHARTER, "--keys", &keys, "--onion-keys", &onion];
            runner.run(&[&["invite"], &charter[..], &["--address", &at, &own]].concat())?;
            copy(&folder.join(CHARTER), &folder.join(file(CHARTER)))?;
            copy(&folder.join("ca/root.crt"), &folder.join(file("root.crt")))?;
            let text = member_text(cluster.trim(), (*listen, *door), (name, &self.relay_rate), &tables);
            create_secret_file(&folder.join(file("node.toml")), &text).map_err(RecipeError::from)?;
            contacts.push(own);
        }
        let contacts: Vec<&str> = contacts.iter().flat_map(|file| ["--and", file.as_str()]).collect();
        runner.run(&[&["invite"], &contacts[..], &[INVITATION]].concat())?;
        let node = |Founder { name, id, door, .. }| Node { kind: Kind::Member, name, id: Some(id), address: door };
        Ok(founders.into_iter().map(node).collect())
    }

    /// A member's keys and certificate.
    fn founder<R: Runner>(&self, runner: &R, number: u8) -> Result<Founder, R::Error> {
        let name = format!("d{number}");
        let path = runner.folder().join(&name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| RecipeError::File { path, source })?;
        let said = runner.run(&["keys", "new", &format!("{name}/node.keys")])?;
        let id = said.trim().to_owned();
        let (host, out) = (format!("{name}.{DOMAIN}"), format!("{name}/node.crt"));
        runner.run(&["pki", "issue", "--dir", "ca", &id, "--name", &host, "--out", &out])?;
        let (door, cluster) = (self.addresses.door(DOOR_MEMBER, number)?, self.addresses.cluster(number)?);
        Ok(Founder { name, id, door, cluster })
    }

    fn charter<R: Runner>(&self, runner: &R, operator: &str, founders: &[Founder]) -> Result<(), R::Error> {
        let (keys, valid) = (self.key_intervals.to_string(), self.valid_intervals.to_string());
        let mut words = vec!["network", "new", "--name", "example", "--operator-key", operator, "--directory"];
        words.extend(["--interval", &self.interval, "--key-intervals", &keys, "--valid-intervals", &valid]);
        words.extend(["--network-ports", HOP_PORTS]);
        founders.iter().for_each(|founder| words.extend(["--member", founder.id.as_str()]));
        words.push(CHARTER);
        runner.run(&words)?;
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), RecipeError> {
    let text = std::fs::read_to_string(from);
    let text = text.map_err(|source| RecipeError::File { path: from.to_owned(), source })?;
    Ok(create_secret_file(to, &text)?)
}

/// A member's file, as docs/directory.md says.
fn member_text(
    cluster: &str,
    (listen, door): (SocketAddr, SocketAddr),
    (operator, rate): (&str, &str),
    tables: &str,
) -> String {
    format!(
        "[cluster]\n{cluster}\nkey_file = \"node.keys\"\ncertificate_file = \"node.crt\"\nroot_file = \"root.crt\"\n\
         listen = \"{listen}\"\n\n[cluster.directory]\ncharter_file = \"{CHARTER}\"\nsocket = \"directory.socket\"\n{tables}\n\
         [mirror]\ninvitation_file = \"invitation\"\nsources = [\"directory.socket\"]\n\n\
         [mirror.announce]\nkey_file = \"node.keys\"\nonion_key_file = \"node.onion-keys\"\naddresses = [\"{door}\"]\n\
         roles = \"guard directory\"\noperator = \"{operator}\"\nrate = \"{rate}\"\n\n\
         [exit]\nkey_file = \"node.keys\"\n\n[exit.network]\nbind = \"{door}\"\nfile = \"network.document\"\n\
         onion_key_file = \"node.onion-keys\"\n\n[exit.directory]\nsocket = \"directory.socket\"\n\n\
         [exit.exit_policy]\nrules = [\"deny *\"]\n\n[exit.shaping]\nmode = \"off\"\n"
    )
}
