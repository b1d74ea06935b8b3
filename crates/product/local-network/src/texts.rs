//! What stands in the configurations.

use crate::shape::Shape;
use shaping::RateClass;
use std::net::SocketAddr;

/// What a network on one machine is like.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its size, and the tunnel over it.
    pub shape: Shape,
    /// Where applications connect to the entry, by SOCKS5 or HTTP CONNECT.
    pub proxy: SocketAddr,
    /// Plain forwards of the entry.
    pub forwards: Vec<Forward>,
    /// What each relay but the exit sends at most; without it as fast as it can.
    pub max_rate: Option<RateClass>,
    /// Rate of both directions of the tunnel in mode `constant`; without it the mode is `off`.
    pub constant: Option<RateClass>,
    /// How long entry and exit wait for each other, in seconds, before flows are reset: 1 to 600.
    pub session_timeout_s: u16,
}

/// A port of the entry that leads to one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Where applications connect.
    pub listen: SocketAddr,
    /// Where the exit connects.
    pub to: SocketAddr,
}

impl Plan {
    /// A network without forwards and limits, and with the usual time-out.
    pub fn new(shape: Shape, proxy: SocketAddr) -> Self {
        Self { shape, proxy, forwards: Vec::new(), max_rate: None, constant: None, session_timeout_s: 30 }
    }

    pub(crate) fn relay(&self, name: &str, listen: SocketAddr) -> String {
        let rate = self.max_rate.map_or(String::new(), |rate| format!("max_rate = \"{}\"\n", in_words(rate)));
        format!(
            "key_file = \"{name}.keys\"\nonion_key_file = \"{name}.onion-keys\"\nnetwork_file = \"{DOCUMENT}\"\n\
             listen = \"{listen}\"\nreplay_file = \"{name}.replay\"\n{rate}drain_s = 1\n"
        )
    }

    pub(crate) fn exit(&self, listen: SocketAddr) -> String {
        let timeout = self.session_timeout_s;
        let shaping = self.shaping(|rate| format!("max_rate = \"{rate}\""));
        format!(
            "role = \"exit\"\nkey_file = \"{EXIT}.keys\"\nsession_timeout_s = {timeout}\n\n[network]\nfile = \"{DOCUMENT}\"\n\
             onion_key_file = \"{EXIT}.onion-keys\"\nbind = \"{listen}\"\n\n{shaping}\
             [exit_policy]\nrules = [\"allow 127.0.0.0/8\"]\n"
        )
    }

    /// The table, with the lines in which a node says a rate.
    fn shaping(&self, lines: impl Fn(String) -> String) -> String {
        match self.constant {
            Some(rate) => format!("[shaping]\nmode = \"constant\"\n{}\n\n", lines(in_words(rate))),
            None => "[shaping]\nmode = \"off\"\n\n".to_owned(),
        }
    }

    pub(crate) fn entry(&self) -> String {
        let Shape { hops, legs, .. } = self.shape;
        let timeout = self.session_timeout_s;
        let shaping = self.shaping(|rate| format!("up = \"{rate}\"\ndown = \"{rate}\""));
        let mut text = format!(
            "role = \"entry\"\nkey_file = \"{ENTRY}.keys\"\nsession_timeout_s = {timeout}\n\n[network]\nfile = \"{DOCUMENT}\"\nguards_file = \"{ENTRY}.guards\"\n\
             hops = {hops}\nlegs = {legs}\nbind = \"127.0.0.1:0\"\n\n{shaping}\
             [[listen]]\nkind = \"proxy\"\naddress = \"{}\"\n",
            self.proxy
        );
        for Forward { listen, to } in &self.forwards {
            text += &format!("\n[[listen]]\nkind = \"forward\"\naddress = \"{listen}\"\nto = \"{to}\"\n");
        }
        text
    }
}

/// As a configuration says it.
fn in_words(rate: RateClass) -> String {
    format!("{} kbit/s", rate.bits_per_second() / 1000)
}

/// Name of the document.
pub(crate) const DOCUMENT: &str = "network.document";
/// Names of files of the two ends begin with these.
pub(crate) const EXIT: &str = "exit";
pub(crate) const ENTRY: &str = "entry";
