//! Sockets and files that the supervisor opens once and hands to each process that needs them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use os_net::udp::UdpSocket;
use rustix::fs::Mode;

use crate::error::NodeError;
use crate::plan::{ListenerPlan, NodePlan, UdpPlan};
use crate::replay_file;

/// Connections that may wait for the ingress to accept them; the kernel refuses or delays further ones.
const LISTEN_BACKLOG: i32 = 1024;

/// What stays open as long as the node runs, so that addresses stay taken while a process is restarted.
#[derive(Debug)]
pub(crate) struct Resources {
    /// For the shaped process.
    pub(crate) udp: OwnedFd,
    /// The same, behind all else.
    pub(crate) further_udp: Vec<OwnedFd>,
    /// Where the UDP socket is bound.
    pub(crate) udp_address: SocketAddr,
    /// For the unshaped process, in the plan's order.
    pub(crate) listeners: Vec<OwnedFd>,
    /// Where TCP listeners are bound, in the plan's order.
    pub(crate) tcp_addresses: Vec<SocketAddr>,
    /// Unix sockets, whose files are removed in the end.
    _socket_files: Vec<SocketFile>,
}

impl Resources {
    pub(crate) fn open(plan: &NodePlan) -> Result<Self, NodeError> {
        let open = |udp: &UdpPlan| {
            let failed = |source| match &udp.interface {
                Some(interface) => NodeError::Interface { interface: interface.clone(), source },
                None => NodeError::Udp { address: udp.address, source },
            };
            let socket = bind_udp(udp, udp.address.port()).map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            Ok::<_, NodeError>((socket, address))
        };
        let (socket, udp_address) = open(&plan.udp)?;
        let further = plan.further_udp.iter().map(|udp| open(udp).map(|(socket, _)| socket.into()));
        let mut resources = Self {
            udp: socket.into(),
            further_udp: further.collect::<Result<_, _>>()?,
            udp_address,
            listeners: Vec::new(),
            tcp_addresses: Vec::new(),
            _socket_files: Vec::new(),
        };
        for listener in &plan.listeners {
            match listener {
                ListenerPlan::Tcp(address) => {
                    let failed = |source| NodeError::Tcp { address: *address, source };
                    let listener = listen_tcp(*address).map_err(failed)?;
                    resources.tcp_addresses.push(listener.local_addr().map_err(failed)?);
                    resources.listeners.push(listener.into());
                }
                ListenerPlan::Unix { path, mode } => {
                    let failed = |source| NodeError::Unix { path: path.clone(), source };
                    let listener = listen_unix(path, *mode).map_err(failed)?;
                    resources._socket_files.push(SocketFile(path.clone()));
                    resources.listeners.push(listener.into());
                }
            }
        }
        Ok(resources)
    }
}

fn bind_udp(udp: &UdpPlan, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(udp.address.ip(), port);
    match &udp.interface {
        Some(interface) => UdpSocket::bind_to_interface(address, interface),
        None => UdpSocket::bind(address),
    }
}

/// A UDP socket where one of the plan is, for a hop of the shaped process.
pub(crate) fn open_hop_socket(plan: &NodePlan, beside: u32, port: u16, any_other: bool) -> io::Result<OwnedFd> {
    let Some(udp) = plan.udp_of(beside).filter(|_| plan.hop_ports.allows(port)) else {
        return Err(io::ErrorKind::PermissionDenied.into());
    };
    let at = |port| bind_udp(udp, port);
    let socket = at(port).or_else(|error| if any_other { at(0) } else { Err(error) })?;
    Ok(socket.into())
}

/// The replay file for a shaped process that is about to start.
pub(crate) fn open_replay(path: &Path) -> Result<OwnedFd, NodeError> {
    let failed = |source| NodeError::Replay { path: path.to_owned(), source };
    replay_file::open(path, os_net::clock::unix_day()).map_err(failed)
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, LISTEN_BACKLOG)?;
    Ok(listener)
}

fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path)
        && found.file_type().is_socket()
    {
        if UnixStream::connect(path).is_ok() {
            return Err(rustix::io::Errno::ADDRINUSE.into());
        }
        std::fs::remove_file(path)?;
    }
    // The mask makes the file right from its first moment; the supervisor has no other thread that makes files now.
    let before = rustix::process::umask(Mode::from_raw_mode(!mode & 0o777));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    rustix::net::listen(&listener, LISTEN_BACKLOG)?;
    Ok(listener)
}

/// Removes the file when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing can be done about a file that somebody else removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_unix_listener_replaces_a_dead_one_and_no_live_one() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("hushwire-listener-{}", std::process::id()));
        drop(UnixListener::bind(&path)?);
        let listener = listen_unix(&path, 0o600)?;
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(listen_unix(&path, 0o600).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        drop(listener);
        drop(SocketFile(path.clone()));
        assert!(!path.exists());
        std::fs::write(&path, "a file of somebody's")?;
        assert!(listen_unix(&path, 0o600).is_err());
        assert_eq!(std::fs::read(&path)?, b"a file of somebody's");
        std::fs::remove_file(&path)
    }
}
