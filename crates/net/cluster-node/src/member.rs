//! Who belongs to the cluster, and how each member proves who it is.

use identity::{NodeId, PeerAddress};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error;

/// Most members of a cluster, this node included. A longer list is refused.
pub const MEMBERS_MAX: usize = 64;

/// Longest name of a member (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;

/// The DNS name in a member's certificate, in lower case. It is never looked up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MemberName(String);

/// A text that is no DNS name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a name such as `node-1.example`: letters, digits and hyphens between dots")]
pub struct NameError;

impl MemberName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As TLS wants it.
    pub(crate) fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.0.clone()).expect("it was parsed as a DNS name")
    }
}

impl FromStr for MemberName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.to_ascii_lowercase();
        let is_dns = matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_)));
        if !is_dns || name.len() > NAME_MAX || name.ends_with('.') {
            return Err(NameError);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a member proves who it is, beside a certificate of the cluster's root that carries its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The certificate's key is the member's node id. Whoever takes the member off the list has revoked it.
    Key,
    /// The name alone, with a key of any kind: whoever has a certificate of the root with that name is the member. Only for
    /// configurations that name no keys; the node id is then [`id_of_name`].
    Name,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the log.
    pub id: NodeId,
    /// The name in its certificate.
    pub name: MemberName,
    /// Where it is dialled. Looked up anew for each attempt.
    pub address: PeerAddress,
    /// What is checked.
    pub proof: Proof,
}

/// The node id that stands for a member of which only the name is known: the first 32 bytes of
/// SHA-256("hushwire cluster member 1" | name). Nothing is ever signed with it.
pub fn id_of_name(name: &MemberName) -> NodeId {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(b"hushwire cluster member 1");
    hash.update(name.as_str().as_bytes());
    NodeId(hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// What stands for the name of a cluster that has none: SHA-256("hushwire cluster of names 1" | for each member's name,
/// ascending, its length in one byte | name). A cluster of other members is another one.
pub fn cluster_of_names<'a>(names: impl IntoIterator<Item = &'a MemberName>) -> [u8; 32] {
    let mut names: Vec<&str> = names.into_iter().map(MemberName::as_str).collect();
    names.sort_unstable();
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    hash.update(b"hushwire cluster of names 1");
    for name in names {
        // A name has at most 253 bytes.
        hash.update(&[name.len() as u8]);
        hash.update(name.as_bytes());
    }
    hash.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// A file of node ids that are not let in, one a line; blank lines and what stands behind a `#` are passed over.
///
/// # Errors
/// The number of the first line, from 1, that is no node id.
pub fn parse_revoked(text: &str) -> Result<Vec<NodeId>, usize> {
    let mut revoked = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let id = line.split('#').next().unwrap_or("").trim();
        if !id.is_empty() {
            revoked.push(id.parse().map_err(|_| index + 1)?);
        }
    }
    Ok(revoked)
}

/// The list without those who are not let in.
pub fn without_revoked(members: Vec<Member>, revoked: &[NodeId]) -> Vec<Member> {
    members.into_iter().filter(|member| !revoked.contains(&member.id)).collect()
}

/// A list of members that cannot be used: our own fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MembersError {
    /// More than [`MEMBERS_MAX`].
    #[error("a cluster has at most {MEMBERS_MAX} members")]
    TooMany,
    /// Two members with one node id.
    #[error("two members have the same node id")]
    IdTwice,
    /// Two members with one name.
    #[error("two members have the same name")]
    NameTwice,
}

/// The list that is in force. Handshakes in progress and connections that stand ask the same one.
#[derive(Debug, Clone)]
pub(crate) struct Roster(Arc<RwLock<BTreeMap<NodeId, Member>>>);

impl Roster {
    /// The list without this node itself.
    pub(crate) fn new(own: NodeId, members: &[Member]) -> Result<Self, MembersError> {
        Ok(Self(Arc::new(RwLock::new(checked(own, members)?))))
    }

    /// Puts another list in its place.
    pub(crate) fn replace(&self, own: NodeId, members: &[Member]) -> Result<(), MembersError> {
        let members = checked(own, members)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = members;
        Ok(())
    }

    pub(crate) fn all(&self) -> BTreeMap<NodeId, Member> {
        self.read(Clone::clone)
    }

    pub(crate) fn member(&self, id: NodeId) -> Option<Member> {
        self.read(|members| members.get(&id).cloned())
    }

    /// The one member that this certificate, whose chain was verified, belongs to.
    pub(crate) fn identify(&self, certificate: &CertificateDer<'_>) -> Option<NodeId> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let key = NodeId::from_spki_der(&parsed.subject_public_key_info());
        let is = |member: &&Member| {
            let named = rustls::client::verify_server_name(&parsed, &member.name.server_name()).is_ok();
            named && (member.proof == Proof::Name || key == Some(member.id))
        };
        self.read(|members| {
            let mut found = members.values().filter(is);
            // A certificate with the names of two members is neither.
            found.next().filter(|_| found.next().is_none()).map(|member| member.id)
        })
    }

    fn read<T>(&self, read: impl FnOnce(&BTreeMap<NodeId, Member>) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn checked(own: NodeId, members: &[Member]) -> Result<BTreeMap<NodeId, Member>, MembersError> {
    if members.len() > MEMBERS_MAX {
        return Err(MembersError::TooMany);
    }
    let mut names: Vec<&MemberName> = members.iter().map(|member| &member.name).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() < members.len() {
        return Err(MembersError::NameTwice);
    }
    let mut map: BTreeMap<NodeId, Member> = members.iter().map(|member| (member.id, member.clone())).collect();
    if map.len() < members.len() {
        return Err(MembersError::IdTwice);
    }
    map.remove(&own);
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u8, name: &str) -> Member {
        Member {
            id: NodeId([id; 32]),
            name: name.parse().expect("a name"),
            address: "127.0.0.1:1".parse().expect("an address"),
            proof: Proof::Key,
        }
    }

    #[test]
    fn names_are_dns_names_in_lower_case() {
        assert_eq!("Node-1.Example".parse::<MemberName>().map(|name| name.to_string()), Ok("node-1.example".into()));
        for wrong in ["", "a b", "127.0.0.1", "::1", "a..b", "-a", "a.", &"a.".repeat(130)] {
            assert_eq!(wrong.parse::<MemberName>(), Err(NameError), "{wrong:?}");
        }
    }

    #[test]
    fn a_list_names_everybody_once_and_leaves_this_node_out() {
        let own = NodeId([1; 32]);
        let roster = Roster::new(own, &[member(1, "a"), member(2, "b")]).expect("a good list");
        assert_eq!(roster.all().into_keys().collect::<Vec<_>>(), [NodeId([2; 32])]);
        assert_eq!(roster.replace(own, &[member(2, "a"), member(2, "b")]), Err(MembersError::IdTwice));
        assert_eq!(roster.replace(own, &[member(2, "a"), member(3, "a")]), Err(MembersError::NameTwice));
        assert_eq!(roster.all().len(), 1, "a bad list changes nothing");
        let many: Vec<Member> = (0..=64).map(|id| member(id, &format!("n{id}"))).collect();
        assert_eq!(roster.replace(own, &many), Err(MembersError::TooMany));
    }

    #[test]
    fn revoked_ids_are_taken_off_a_list() {
        let text = format!("# gone\n\n{}  # n2\n", NodeId([2; 32]));
        let revoked = parse_revoked(&text).expect("a good file");
        let left = without_revoked(vec![member(1, "a"), member(2, "b")], &revoked);
        assert_eq!(left, [member(1, "a")]);
        assert_eq!(parse_revoked("\nhwn1x\n"), Err(2));
    }

    #[test]
    fn ids_of_names_differ_and_stay() {
        let id = |name: &str| id_of_name(&name.parse().expect("a name"));
        assert_eq!(id("A.example"), id("a.example"));
        assert_ne!(id("a.example"), id("b.example"));
        assert_eq!(data_encoding::HEXLOWER.encode(&id("a.example").0[..4]), "96ce3d52");
        let [one, other]: [MemberName; 2] = ["a.example", "b.example"].map(|name| name.parse().expect("a name"));
        assert_eq!(cluster_of_names([&one, &other]), cluster_of_names([&other, &one]));
        assert_ne!(cluster_of_names([&one, &other]), cluster_of_names([&one]));
    }
}
