//! The command line of `hushwire service`.

use crate::args::NodeArgs;
use clap::{Args, Subcommand};
use config::HostPort;
use identity::AccessKey;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
A service is a server of this machine that others reach under an address that ends in .hush, without learning where it is. It needs
a node with an entry that has a directory listener; `hushwire join` writes such a node's file. docs/services.md has the rest.

Examples:
  hushwire service add web --to 127.0.0.1:8080 -c node.toml
  hushwire reload node.toml
  hushwire service show web -c node.toml")]
pub(crate) struct ServiceArgs {
    #[command(subcommand)]
    pub(crate) command: ServiceCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Run the services of a file: they are reached as long as this runs
    #[command(after_help = "Example:\n  hushwire service run -c service.toml")]
    Run(NodeArgs),
    /// Make a service, and print its address
    Add(AddArgs),
    /// One line for each service of a file
    List(ServiceFile),
    /// All that is known of one service
    Show(ShowArgs),
    /// Take a service out of its file; its key stays
    Remove(RemoveArgs),
    /// Who is let in
    Client(ClientArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Makes NAME.service-key beside the file, with mode 0600: the address follows from it, and whoever has it can be this service. Keep a
copy where nobody else gets at it. A table for the service is added to the file, and nothing else there is changed.

Examples:
  hushwire service add web --to 127.0.0.1:8080
  hushwire service add box --to 127.0.0.1:22 --port 22 -c /etc/hushwire/node.toml
  hushwire service add web --key old.service-key --to 127.0.0.1:8080")]
pub(crate) struct AddArgs {
    /// What it is called here; nobody else learns it
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The server behind it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) to: SocketAddr,
    /// The port that clients ask for
    #[arg(long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// One who is let in; repeat it for several. Without any, everybody who knows the address is
    #[arg(long, value_name = "KEY")]
    pub(crate) client: Vec<AccessKey>,
    /// A key file that is there already, such as one from an earlier machine
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) file: ServiceFile,
}

impl AddArgs {
    pub(crate) fn host_port(&self) -> HostPort {
        HostPort { port: self.port, to: self.to }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Which
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) file: ServiceFile,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Which
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without a list everybody who knows a service's address is let in. With one, only those whose keys are on it: each client makes a key
and gives the operator its public part.

Examples:
  hushwire service client new alice.access-key          on the client's machine; prints the public part
  hushwire service client add web hwa1… -c node.toml    on the service's")]
pub(crate) struct ClientArgs {
    #[command(subcommand)]
    pub(crate) command: ClientCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Make a key that opens services, and print its public part
    #[command(after_help = "Example:\n  hushwire service client new alice.access-key")]
    New {
        /// The file to make, with mode 0600
        file: PathBuf,
    },
    /// Put a client on a service's list
    Add(ClientOf),
    /// Take a client from a service's list
    Remove(ClientRemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ClientOf {
    /// The service
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The public part of the client's key
    #[arg(value_name = "KEY")]
    pub(crate) key: AccessKey,
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ClientRemoveArgs {
    #[command(flatten)]
    pub(crate) client: ClientOf,
    /// It is the last one, and from now on everybody who knows the address is let in
    #[arg(long)]
    pub(crate) open: bool,
}

/// Which file.
#[derive(Debug, Args)]
pub(crate) struct ServiceFile {
    /// Configuration file; without it node.toml or service.toml, in this folder or in /etc/hushwire
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
