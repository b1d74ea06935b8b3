//! Any bytes on a proxy port, and as a datagram of an association. The first byte says where the network
//! cuts them and whether a login is required.

use proxy_protocols::access::Access;
use proxy_protocols::handshake::{HEAD_MAX, Handshake, Step};
use proxy_protocols::socks5::datagram;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let logins = [("ann".to_owned(), "one".to_owned())];
    let access = Access::new(&logins, choice & 1 == 1).expect("one login is a list");
    let whole = outcome(&access, bytes, bytes.len().max(1));
    assert_eq!(outcome(&access, bytes, usize::from(choice >> 1).max(1)), whole, "where the bytes are cut matters");
    if let Ok((far, payload)) = datagram::decode(bytes) {
        let (mut record, mut again) = (Vec::new(), Vec::new());
        wire::udp::encode(&far, payload, &mut record);
        datagram::encode_record(&record, &mut again);
        assert_eq!(datagram::decode(&again), Ok((far, payload)));
    }
}

/// Replies, end and leftover of a handshake that is given `bytes` in pieces.
fn outcome(access: &Access, bytes: &[u8], piece: usize) -> (Vec<u8>, Option<Step>, Vec<u8>) {
    let mut handshake = Handshake::new();
    let mut replies = Vec::new();
    let mut fed = 0;
    for part in bytes.chunks(piece) {
        handshake.handle_bytes(part);
        fed += part.len();
        loop {
            match handshake.poll_step(access) {
                Step::NeedMore => break,
                Step::Reply(reply) => replies.extend(reply),
                Step::Ready(request) => {
                    let mut leftover = handshake.into_leftover();
                    leftover.extend_from_slice(&bytes[fed..]);
                    return (replies, Some(Step::Ready(request)), leftover);
                }
                Step::Refused(refusal) => return (replies, Some(Step::Refused(refusal)), Vec::new()),
            }
        }
        assert!(fed <= HEAD_MAX + 3 * 515 + piece, "bytes without an end are refused");
    }
    (replies, None, Vec::new())
}
