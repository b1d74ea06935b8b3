//! What an application is told in its own protocol when its request ends well or not.

use crate::socks5::{self, ReplyCode};
use std::net::SocketAddr;
use wire::flow::ResetReason;

/// The protocol in which an application asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 1928.
    Socks5,
    /// RFC 9110, section 9.3.6.
    HttpConnect,
}

/// A status of HTTP with its reason phrase and the error type of RFC 9209 (`Proxy-Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpStatus {
    /// Three digits.
    pub code: u16,
    /// The phrase behind them.
    pub phrase: &'static str,
    /// The `error` parameter of the `Proxy-Status` field.
    pub error: &'static str,
}

/// The answer "the destination is connected". `bound` is the exit's own end of that connection, or the
/// address of a UDP association's relay socket.
pub fn established(protocol: Protocol, bound: SocketAddr) -> Vec<u8> {
    match protocol {
        Protocol::Socks5 => socks5::reply(ReplyCode::Succeeded, bound),
        Protocol::HttpConnect => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
    }
}

/// The answer "this did not work", with the reason as exactly as the protocol can say it.
pub fn failed(protocol: Protocol, reason: ResetReason) -> Vec<u8> {
    match protocol {
        Protocol::Socks5 => socks5::failure(reply_code(reason)),
        Protocol::HttpConnect => {
            let HttpStatus { code, phrase, error } = http_status(reason);
            let status = format!("{code} {phrase}");
            http_response(&status, &format!("Proxy-Status: hushwire; error={error}\r\n"), &reason.to_string())
        }
    }
}

/// The answer "this name is none", with a sentence about it. No one was asked for it.
pub fn wrong_name(protocol: Protocol, sentence: &str) -> Vec<u8> {
    match protocol {
        Protocol::Socks5 => socks5::failure(ReplyCode::HostUnreachable),
        Protocol::HttpConnect => {
            http_response("400 Bad Request", "Proxy-Status: hushwire; error=dns_error\r\n", sentence)
        }
    }
}

/// The SOCKS5 reply code of a reason.
pub fn reply_code(reason: ResetReason) -> ReplyCode {
    match reason {
        ResetReason::Refused | ResetReason::ByPeer => ReplyCode::ConnectionRefused,
        ResetReason::Unreachable | ResetReason::NameUnknown | ResetReason::NoService => ReplyCode::HostUnreachable,
        ResetReason::Denied | ResetReason::NotAuthorised => ReplyCode::NotAllowed,
        ResetReason::TimedOut | ResetReason::ServiceSilent => ReplyCode::TtlExpired,
        ResetReason::TunnelLost => ReplyCode::NetworkUnreachable,
        ResetReason::TooManyFlows
        | ResetReason::Protocol
        | ResetReason::NotOffered
        | ResetReason::NoMemory
        | ResetReason::ServiceIsOff
        | ResetReason::ServiceIsShaped => ReplyCode::GeneralFailure,
    }
}

/// The HTTP status of a reason.
pub fn http_status(reason: ResetReason) -> HttpStatus {
    let (code, phrase, error) = match reason {
        ResetReason::Refused => (502, "Bad Gateway", "connection_refused"),
        ResetReason::ByPeer => (502, "Bad Gateway", "connection_terminated"),
        ResetReason::Unreachable => (502, "Bad Gateway", "destination_ip_unroutable"),
        ResetReason::NameUnknown => (502, "Bad Gateway", "dns_error"),
        ResetReason::NoService => (502, "Bad Gateway", "destination_not_found"),
        ResetReason::NotAuthorised => (403, "Forbidden", "connection_refused"),
        ResetReason::ServiceSilent => (504, "Gateway Timeout", "connection_timeout"),
        ResetReason::Denied => (403, "Forbidden", "destination_ip_prohibited"),
        ResetReason::TimedOut => (504, "Gateway Timeout", "connection_timeout"),
        ResetReason::TunnelLost => (503, "Service Unavailable", "destination_unavailable"),
        ResetReason::TooManyFlows | ResetReason::NoMemory => (503, "Service Unavailable", "connection_limit_reached"),
        ResetReason::Protocol | ResetReason::NotOffered => (502, "Bad Gateway", "proxy_internal_error"),
        ResetReason::ServiceIsOff | ResetReason::ServiceIsShaped => (502, "Bad Gateway", "proxy_configuration_error"),
    };
    HttpStatus { code, phrase, error }
}

/// A whole response with one line of plain text, after which the connection is closed. `fields` are
/// further header lines, each with its line end.
pub(crate) fn http_response(status: &str, fields: &str, line: &str) -> Vec<u8> {
    let length = line.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{fields}Connection: close\r\n\r\n{line}\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: [(ResetReason, u8, u16); 16] = [
        (ResetReason::Refused, 5, 502),
        (ResetReason::Unreachable, 4, 502),
        (ResetReason::Denied, 2, 403),
        (ResetReason::TimedOut, 6, 504),
        (ResetReason::TunnelLost, 3, 503),
        (ResetReason::ByPeer, 5, 502),
        (ResetReason::TooManyFlows, 1, 503),
        (ResetReason::Protocol, 1, 502),
        (ResetReason::NameUnknown, 4, 502),
        (ResetReason::NotOffered, 1, 502),
        (ResetReason::NoService, 4, 502),
        (ResetReason::NotAuthorised, 2, 403),
        (ResetReason::ServiceSilent, 6, 504),
        (ResetReason::NoMemory, 1, 503),
        (ResetReason::ServiceIsOff, 1, 502),
        (ResetReason::ServiceIsShaped, 1, 502),
    ];

    #[test]
    fn every_reason_has_its_code_in_both_protocols() {
        for (reason, code, status) in REASONS {
            assert_eq!(failed(Protocol::Socks5, reason)[..4], [5, code, 0, 1], "{reason:?}");
            let response = String::from_utf8(failed(Protocol::HttpConnect, reason)).expect("responses are text");
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
            let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{response}");
            assert_eq!(body, format!("{reason}\n"));
        }
    }

    #[test]
    fn a_wrong_name_is_told_in_words_where_the_protocol_has_any() {
        assert_eq!(wrong_name(Protocol::Socks5, "no")[..4], [5, 4, 0, 1]);
        let response = String::from_utf8(wrong_name(Protocol::HttpConnect, "it is too short")).expect("text");
        assert!(response.starts_with("HTTP/1.1 400 ") && response.ends_with("\r\n\r\nit is too short\n"), "{response}");
    }

    #[test]
    fn success_names_the_bound_address_where_the_protocol_can() {
        let bound = SocketAddr::from(([192, 0, 2, 1], 258));
        assert_eq!(established(Protocol::Socks5, bound), [5, 0, 0, 1, 192, 0, 2, 1, 1, 2]);
        assert!(established(Protocol::HttpConnect, bound).ends_with(b"\r\n\r\n"));
    }
}
