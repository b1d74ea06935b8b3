//! Nodes of different versions: the other node is played by the test, because no program can be told its version.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use identity::KeyFile;
use lab::pair::Role;
use lab::scratch::Scratch;
use link::{Accept, Endpoint, EndpointConfig, LinkEvent, Now, Peer};

use super::rig::{GoodPair, Outcome, PATIENCE, WrongEntry, fresh_keys, take_turn, wait_until};

/// No version that was ever given out.
const OTHER_VERSION: u8 = 77;

/// A node of another version.
struct OtherVersion {
    endpoint: Endpoint,
    socket: UdpSocket,
}

impl OtherVersion {
    fn new(keys: &KeyFile, accept: Accept) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let node_id = keys.node_secret.node_id();
        let config = EndpointConfig {
            version: OTHER_VERSION,
            gridded: false,
            accept,
            ..EndpointConfig::new(node_id, keys.link_secret.clone(), keys.door_key.clone())
        };
        Ok(Self { endpoint: Endpoint::new(config, [OTHER_VERSION; 32]), socket })
    }

    /// Sends what is due, and takes one packet if one comes.
    fn step(&mut self) -> Outcome {
        let links: Vec<_> = self.endpoint.links().collect();
        let mut out = Vec::new();
        for link in links {
            if let Some(to) = self.endpoint.poll_own_packet(now()?, link, &mut out) {
                self.socket.send_to(&std::mem::take(&mut out), to.to)?;
            }
        }
        while let Some(to) = self.endpoint.poll_door_packet(now()?, &mut out) {
            self.socket.send_to(&std::mem::take(&mut out), to.to)?;
        }
        let mut packet = [0; 2048];
        if let Ok((length, from)) = self.socket.recv_from(&mut packet) {
            self.endpoint.handle_packet(now()?, from, false, &mut packet[..length]);
        }
        Ok(())
    }
}

fn now() -> anyhow::Result<Now> {
    let unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    Ok(Now { instant: Instant::now(), unix_s })
}

fn keys(path: &std::path::Path) -> anyhow::Result<KeyFile> {
    KeyFile::parse(&std::fs::read_to_string(path)?).context("a key file")
}

#[test]
fn an_entry_of_another_version_is_told_and_counted() -> Outcome {
    let _turn = take_turn();
    let good = GoodPair::recorded("2 Mbit/s")?;
    let exit = keys(&good.pair.folder().join("exit.keys"))?;
    let peer = Peer {
        node_id: exit.node_secret.node_id(),
        link_key: exit.link_secret.link_key(),
        door_key: exit.door_key.clone(),
    };
    // With the keys of the good entry, whose link must not suffer.
    let mut other = OtherVersion::new(&keys(&good.pair.folder().join("entry.keys"))?, Accept::Nobody)?;
    other.endpoint.dial(now()?, &peer, good.door()?, [0; 7])?;
    let deadline = Instant::now() + PATIENCE;
    let theirs = loop {
        other.step()?;
        match other.endpoint.poll_event() {
            Some(LinkEvent::WrongVersion { theirs, .. }) => break theirs,
            Some(event) => anyhow::bail!("the exit took it for one of its version: {event:?}"),
            None => assert!(Instant::now() < deadline, "the exit does not say its version"),
        }
    };
    assert_eq!(theirs, link::LINK_VERSION);
    good.fetch()?;
    good.wait_for(Role::Exit, "wrong version", 1)?;
    good.wait_for_log(Role::Exit, "wrong version 1")?;
    good.fetch()
}

#[test]
fn an_entry_says_that_its_exit_has_another_version() -> Outcome {
    let _turn = take_turn();
    let scratch = Scratch::new()?;
    let line = fresh_keys(&scratch, "exit.keys")?;
    let mut other = OtherVersion::new(&keys(&scratch.join("exit.keys"))?, Accept::Anyone)?;
    let door: SocketAddr = other.socket.local_addr()?;
    let mut entry = WrongEntry::start(door, &line)?;
    let sentence = "the other node speaks another version; install the same release on both";
    wait_until("the sentence", || {
        other.step()?;
        Ok(entry.log()?.contains(sentence))
    })?;
    let tries = entry.relay.recording().records().len();
    wait_until("another try", || {
        other.step()?;
        Ok(entry.relay.recording().records().len() > tries)
    })?;
    entry.node.check()
}
