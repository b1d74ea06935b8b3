//! Any bytes as a SYN and as a record of a datagram flow.

use wire::flow::{Destination, Host, Syn};
use wire::read::Reader;
use wire::udp;

/// Feeds one input.
pub(crate) fn run(data: &[u8]) {
    let mut reader = Reader::new(data);
    if let Ok(syn) = Syn::decode(&mut reader) {
        let read = data.len() - reader.rest().len();
        let mut written = Vec::new();
        syn.encode(&mut written);
        same(&written, &data[..read]);
        bounded(&syn.destination);
        assert_eq!(Syn::decode(&mut Reader::new(&written)), Ok(syn));
    }
    if let Ok((far, payload)) = udp::decode(data) {
        assert!(payload.len() <= udp::PAYLOAD_MAX);
        bounded(&far);
        let mut written = Vec::new();
        udp::encode(&far, payload, &mut written);
        assert!(written.ends_with(payload));
        same(&written[..written.len() - payload.len()], &data[..data.len() - payload.len()]);
        assert_eq!(udp::decode(&written), Ok((far, payload)));
    }
}

/// A host name is read in any case and written in lower case; all else is written as it was read.
fn same(written: &[u8], read: &[u8]) {
    assert!(written.eq_ignore_ascii_case(read), "what is read is written alike");
}

fn bounded(destination: &Destination) {
    let mut encoded = Vec::new();
    destination.encode(&mut encoded);
    assert!(encoded.len() <= Destination::ENCODED_MAX);
    if let Host::Name(name) = &destination.host {
        assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
    }
    let (debug, display) = (format!("{destination:?}"), destination.to_string());
    assert_eq!(debug, "Destination(..)", "what may end in a log shows no destination");
    assert!(display.ends_with(&format!(":{}", destination.port)));
}
