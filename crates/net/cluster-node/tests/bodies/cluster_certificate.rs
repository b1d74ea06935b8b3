//! The fuzz body of the reader of certificates and requests.

use cluster_node::pki::{CertificateInfo, Request};

/// Any bytes are read or refused. What is read can be shown.
pub(crate) fn run(input: &[u8]) {
    if let Ok(info) = CertificateInfo::from_der(input) {
        assert_eq!(info.fingerprint_text().len(), 95);
        assert!(info.names.iter().all(|name| name.is_ascii()));
    }
    if let Ok(request) = Request::from_der(input) {
        assert!(!request.name.as_str().is_empty());
    }
}
