//! Runs the fuzz targets' bodies over the committed corpora.

#[path = "bodies/cluster_certificate.rs"]
mod cluster_certificate;
#[path = "bodies/cluster_frames.rs"]
mod cluster_frames;
#[path = "../../../../fuzz/replay.rs"]
mod replay;

use cluster_node::frame::MessageParser;
use cluster_node::pki::{CertificateInfo, Request};

#[test]
fn cluster_frames_corpus() {
    let (mut good, mut refused) = (0, 0);
    for bytes in replay::inputs("cluster_frames", 5) {
        cluster_frames::run(&bytes);
        let mut parser = MessageParser::new();
        parser.append(bytes.get(1..).unwrap_or_default());
        for frame in parser {
            good += u32::from(frame.is_ok());
            refused += u32::from(frame.is_err());
        }
    }
    assert!(good >= 8 && refused >= 5, "{good} frames, {refused} refused");
}

#[test]
fn cluster_certificate_corpus() {
    let (mut certificates, mut requests) = (0, 0);
    for mut bytes in replay::inputs("cluster_certificate", 3) {
        cluster_certificate::run(&bytes);
        certificates += u32::from(CertificateInfo::from_der(&bytes).is_ok());
        requests += u32::from(Request::from_der(&bytes).is_ok());
        // Every bit of every file, and every place to cut it.
        for place in 0..bytes.len() {
            cluster_certificate::run(&bytes[..place]);
            for bit in 0..8 {
                bytes[place] ^= 1 << bit;
                cluster_certificate::run(&bytes);
                bytes[place] ^= 1 << bit;
            }
        }
    }
    assert!(certificates >= 2 && requests >= 1, "{certificates} certificates, {requests} requests");
}
