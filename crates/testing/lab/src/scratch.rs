//! Temporary folders and free ports.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A folder that is removed with this value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a fresh folder below the system's temporary folder, which only this user can read.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hushwire-lab-{}-{number}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path within it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file within it and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.join(name);
        std::fs::write(&path, contents)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays in the temporary folder, where it is found by its name.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Ports that this process was given: whoever was given one may not have opened it yet.
static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
/// How often a port is asked for before there is none.
const TRIES: u32 = 1_000;

/// A TCP address on loopback that nobody listens on, and that was not given before.
///
/// # Errors
/// If there is none.
pub fn free_tcp_address() -> io::Result<SocketAddr> {
    not_given(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr())
}

/// A UDP address on loopback that nobody has, and that was not given before.
///
/// # Errors
/// If there is none.
pub fn free_udp_address() -> io::Result<SocketAddr> {
    not_given(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr())
}

fn not_given(ask: impl Fn() -> io::Result<SocketAddr>) -> io::Result<SocketAddr> {
    for _ in 0..TRIES {
        let address = ask()?;
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address) {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let given: BTreeSet<SocketAddr> = (0..300).map(|_| free_udp_address().expect("a port")).collect();
        assert_eq!(given.len(), 300);
    }

    #[test]
    fn folders_are_private_and_go_away() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new().expect("the temporary folder is writable");
        let path = scratch.path().to_owned();
        scratch.write("x", "y").expect("the folder is writable");
        let mode = std::fs::metadata(&path).expect("the folder is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn two_folders_differ() {
        let folders =
            [Scratch::new(), Scratch::new()].map(|scratch| scratch.expect("the temporary folder is writable"));
        assert_ne!(folders[0].path(), folders[1].path());
    }
}
