//! The fuzz bodies over the committed corpora.

#[path = "bodies/exit_policy.rs"]
mod exit_policy;
#[path = "bodies/http_connect.rs"]
mod http_connect;
#[path = "../../../../fuzz/replay.rs"]
mod replay;
#[path = "bodies/socks5.rs"]
mod socks5;

#[test]
fn socks5_corpus() {
    replay::inputs("socks5", 5).iter().for_each(|input| socks5::run(input));
}

#[test]
fn http_connect_corpus() {
    replay::inputs("http_connect", 5).iter().for_each(|input| http_connect::run(input));
}

#[test]
fn exit_policy_corpus() {
    replay::inputs("exit_policy", 5).iter().for_each(|input| exit_policy::run(input));
}
