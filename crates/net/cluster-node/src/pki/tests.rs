use super::*;

const NOW_S: u64 = 1_796_000_000;

fn name(text: &str) -> MemberName {
    text.parse().expect("a name")
}

#[test]
fn a_node_gets_what_it_asked_for_and_its_key_stays_where_it_is() {
    let root = Root::generate("test root", &[name("cluster.example")], NOW_S, ROOT_DAYS).expect("a root");
    let node = NodeSecret::from_seed([7; 32]);
    let asked = request(&node, &name("n1.cluster.example")).expect("a request");
    let read = Request::from_pem(&asked).expect("a good request");
    assert_eq!((read.node_id, read.name.as_str()), (node.node_id(), "n1.cluster.example"));
    let issued = root.issue(read.node_id, &read.name, NOW_S, NODE_DAYS).expect("a certificate");
    let info = CertificateInfo::from_pem(&issued.certificate).expect("a certificate");
    assert_eq!(info, issued.info);
    assert_eq!((info.node_id, info.is_authority), (Some(node.node_id()), false));
    assert_eq!(
        (info.subject.as_str(), info.names.as_slice()),
        ("n1.cluster.example", &["n1.cluster.example".to_owned()][..])
    );
    assert_eq!(info.not_before_s, 1_796_000_000 - 3_600);
    assert_eq!(info.not_after_s, 1_796_000_000 + 90 * 86_400);
    let again = root.issue(read.node_id, &read.name, NOW_S, NODE_DAYS).expect("a certificate");
    assert_ne!(again.info.serial, info.serial, "each certificate has a number of its own");
}

#[test]
fn a_root_is_read_back_and_signs_only_inside_its_domains_and_its_time() {
    let made = Root::generate("test root", &[name("cluster.example")], NOW_S, 100).expect("a root");
    let root = Root::from_pem(made.certificate(), &made.reveal_key()).expect("the same root");
    assert_eq!(root.info(), made.info());
    assert!(root.info().is_authority);
    assert_eq!(root.info().domains, ["cluster.example"]);
    let node = NodeId([9; 32]);
    let refused = |text: &str, days| root.issue(node, &name(text), NOW_S, days).err();
    assert_eq!(refused("n1.other.example", 90), Some(PkiError::OutsideDomains));
    assert_eq!(refused("xcluster.example", 90), Some(PkiError::OutsideDomains));
    assert_eq!(refused("cluster.example", 90), None);
    assert_eq!(refused("n1.cluster.example", 101), Some(PkiError::RootEnds));
    let other = Root::generate("test root", &[], NOW_S, 100).expect("a root");
    assert_eq!(Root::from_pem(made.certificate(), &other.reveal_key()).err(), Some(PkiError::RootKey));
    let leaf = root.issue(node, &name("cluster.example"), NOW_S, 1).expect("a certificate").certificate;
    assert_eq!(Root::from_pem(&leaf, &made.reveal_key()).err(), Some(PkiError::RootKey));
    assert_eq!(Root::generate("", &[], NOW_S, 1).err(), Some(PkiError::RootName));
    assert_eq!(Root::generate("x", &[], u64::MAX, 1).err(), Some(PkiError::Date));
}

#[test]
fn a_request_that_was_altered_is_refused() {
    let asked = request(&NodeSecret::from_seed([7; 32]), &name("n1.example")).expect("a request");
    let (mut read, mut refused) = (0, 0);
    for place in asked.find('\n').expect("a line")..asked.rfind("-----END").expect("an end") {
        let mut bytes = asked.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).expect("letters");
        match Request::from_pem(&text) {
            Ok(request) => {
                assert_eq!(request.name, name("n1.example"));
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    // The identifier of the algorithm behind the signed part is not looked at, nor are the bits that padding leaves.
    assert!(refused > 200 && read < 30, "{refused} refused, {read} read");
}

#[test]
fn dates_of_both_forms_are_read() {
    let root = Root::generate("x", &[], 0, 1).expect("a root");
    assert_eq!((root.info().not_before_s, root.info().not_after_s), (0, 86_400));
    // The last second of 2049 is the last one in the short form; 29 February 2096 is one that exists.
    for end_s in [2_524_607_999, 2_524_608_000, 3_981_139_200 + 86_400 * 59] {
        let root = Root::generate("x", &[], end_s - 86_400, 1).expect("a root");
        assert_eq!(root.info().not_after_s, i64::try_from(end_s).expect("a small number"));
    }
}

#[test]
fn moments_are_shown_as_dates() {
    assert_eq!(utc_text(0), "1970-01-01 00:00 UTC");
    assert_eq!(utc_text(951_782_399), "2000-02-28 23:59 UTC");
    assert_eq!(utc_text(951_782_400), "2000-02-29 00:00 UTC");
    assert_eq!(utc_text(1_796_000_000), "2026-11-30 00:53 UTC");
    assert_eq!(utc_text(4_102_444_799), "2099-12-31 23:59 UTC");
    assert_eq!(utc_text(-1), "1969-12-31 23:59 UTC");
}
