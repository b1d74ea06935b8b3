//! Temporary folders and free ports.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

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
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("hushwire-lab-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                // Of a process that was killed and had the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < TRIES => {}
                Err(error) => return Err(error),
            }
        }
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

/// Ports that are given lie below those that Linux hands out by itself: whoever was given one may not have opened it yet, and until
/// then nobody gets it by chance.
const FIRST_PORT: u16 = 23_000;
const PORTS: u32 = 9_700;
/// Between two ports that are given one after the other; without a divisor in common with [`PORTS`], so that all of them have their turn.
const STRIDE: u32 = 7_919;
/// How often a port or a folder is tried before there is none.
const TRIES: u32 = 1_000;

/// A TCP address on loopback that nobody listens on, and that was not given before.
///
/// # Errors
/// If there is none.
pub fn free_tcp_address() -> io::Result<SocketAddr> {
    free(|address| TcpListener::bind(address).map(drop))
}

/// A UDP address on loopback that nobody has, and that was not given before.
///
/// # Errors
/// If there is none.
pub fn free_udp_address() -> io::Result<SocketAddr> {
    free(|address| UdpSocket::bind(address).map(drop))
}

fn free(bind: impl Fn(SocketAddr) -> io::Result<()>) -> io::Result<SocketAddr> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Other processes begin elsewhere.
    let begin = std::process::id() % PORTS * (STRIDE / 2);
    for _ in 0..TRIES {
        let number = GIVEN.fetch_add(1, Ordering::Relaxed) % PORTS;
        let port = FIRST_PORT + ((begin + number * STRIDE) % PORTS) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

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
