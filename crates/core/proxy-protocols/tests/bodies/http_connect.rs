//! Any bytes behind the start of a CONNECT request.

use proxy_protocols::access::Access;
use proxy_protocols::handshake::{HEAD_MAX, Handshake, Step};

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let mut request = b"CONNECT ".to_vec();
    request.extend_from_slice(data);
    let mut handshake = Handshake::new();
    handshake.handle_bytes(&request);
    match handshake.poll_step(&Access::open()) {
        Step::NeedMore => assert!(request.len() < HEAD_MAX, "a head of this length is refused"),
        Step::Reply(_) => panic!("HTTP has no replies before its end"),
        Step::Refused(refusal) => {
            let reply = String::from_utf8(refusal.reply).expect("responses are text");
            assert!(reply.starts_with("HTTP/1.1 4") || reply.starts_with("HTTP/1.1 5"), "{reply}");
        }
        Step::Ready(ready) => {
            let leftover = handshake.into_leftover();
            assert!(request.ends_with(&leftover) && request.len() - leftover.len() <= HEAD_MAX);
            let mut again = Handshake::new();
            again.handle_bytes(format!("CONNECT {} HTTP/1.1\r\n\r\n", ready.destination).as_bytes());
            let Step::Ready(same) = again.poll_step(&Access::open()) else { panic!("a destination is a target") };
            assert_eq!(same.destination, ready.destination);
        }
    }
}
