//! The command line of `hushwire pki`.

use clap::{Args, Subcommand};
use cluster_node::member::MemberName;
use cluster_node::pki::{NODE_DAYS, ROOT_DAYS};
use identity::NodeId;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
docs/keys.md explains the keys of a node and the way of a certificate.

On the machine that keeps the root, which needs no network:
  hushwire pki init --dir ca --name 'our cluster' --domain cluster.example
On a node:
  hushwire keys new node.keys
  hushwire pki request --keys node.keys --name n1.cluster.example > n1.csr
On the machine of the root again:
  hushwire pki sign --dir ca n1.csr --out n1.crt")]
pub(crate) struct PkiArgs {
    #[command(subcommand)]
    pub(crate) command: PkiCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PkiCommand {
    /// Make a cluster's root: its key, to be kept offline, and its certificate, which every node gets
    Init(PkiInitArgs),
    /// On a node, print a request for a certificate; the key stays there
    Request(PkiRequestArgs),
    /// Sign a request with the root's key
    Sign(PkiSignArgs),
    /// Make a certificate for a node id that you have, without a request
    Issue(PkiIssueArgs),
    /// Make a certificate anew for the same node and name, with another date
    Renew(PkiRenewArgs),
    /// Note that a node is not to be let in any more, and say what makes it so
    Revoke(PkiRevokeArgs),
    /// Say what certificates and requests hold
    #[command(after_help = "Example:\n  hushwire pki show ca/root.crt n1.crt n2.csr")]
    Show {
        /// Files in PEM form
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Where the root is.
#[derive(Debug, Args)]
pub(crate) struct RootArgs {
    /// Folder of the root
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// How long a node's certificate is good.
#[derive(Debug, Args)]
pub(crate) struct DaysArgs {
    /// Days that it is good; renew it when a third is left
    #[arg(long, value_name = "DAYS", default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u16).range(1..=825))]
    pub(crate) days: u16,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire pki init --dir ca --name 'our cluster' --domain cluster.example")]
pub(crate) struct PkiInitArgs {
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// What the root is called
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Names that it may sign, with all below; may be repeated [default: any]
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Vec<MemberName>,
    /// Days that it is good
    #[arg(long, value_name = "DAYS", default_value_t = ROOT_DAYS, value_parser = clap::value_parser!(u16).range(1..=7_300))]
    pub(crate) days: u16,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire pki request --keys node.keys --name n1.cluster.example > n1.csr")]
pub(crate) struct PkiRequestArgs {
    /// The node's key file
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: PathBuf,
    /// Its name in the cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) name: MemberName,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Compare the node id that it prints with the one that the node's operator sees.

Example:
  hushwire pki sign --dir ca n1.csr --out n1.crt")]
pub(crate) struct PkiSignArgs {
    /// The request
    pub(crate) request: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// The file to make
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) days: DaysArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hushwire pki issue --dir ca hwn1… --name n1.cluster.example --out n1.crt")]
pub(crate) struct PkiIssueArgs {
    /// The node's id, as `hushwire keys new` printed it
    pub(crate) node_id: NodeId,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    /// Its name in the cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) name: MemberName,
    /// The file to make
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) days: DaysArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The file is replaced at once and as a whole; a node that has it open takes it into use by itself.

Example:
  hushwire pki renew --dir ca n1.crt")]
pub(crate) struct PkiRenewArgs {
    /// The certificate, which is replaced
    pub(crate) certificate: PathBuf,
    #[command(flatten)]
    pub(crate) root: RootArgs,
    #[command(flatten)]
    pub(crate) days: DaysArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A certificate cannot be taken back. What lets a node in is the list of members, so this writes the node id to the file
`revoked` beside the root, which nodes read (`revoked_file`), and the root signs nothing for it again.

Example:
  hushwire pki revoke --dir ca hwn1…")]
pub(crate) struct PkiRevokeArgs {
    /// The node's id
    pub(crate) node_id: NodeId,
    #[command(flatten)]
    pub(crate) root: RootArgs,
}
