//! The head of an HTTP CONNECT request (RFC 9110, section 9.3.6; RFC 9112, sections 2, 3.2.3 and 5).

use crate::access::{Access, Identity};
use crate::answer::http_response;
use crate::handshake::{HEAD_MAX, Parsed, Refusal, RefusalCause, host_of_text};
use data_encoding::BASE64;
use wire::flow::{Destination, Host};

/// Methods that exist and that a tunnel has no use for: refused as "not allowed" instead of "unknown".
const OTHER_METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"];

/// Bytes of the longest method that is looked at; a longer word is no method.
const METHOD_MAX: usize = 32;

const ASK_FOR_LOGIN: &str = "Proxy-Authenticate: Basic realm=\"hushwire\", charset=\"UTF-8\"\r\n";

/// Reads a request head. `scanned` bytes are known to hold no end of it.
pub(crate) fn parse_head(bytes: &[u8], scanned: usize, access: &Access) -> Parsed<(Destination, Identity)> {
    let Some(length) = find_end(bytes, scanned) else {
        return match early_fault(bytes) {
            Some(fault) => Parsed::Refused(fault.refusal()),
            None => Parsed::Incomplete,
        };
    };
    if length > HEAD_MAX {
        return Parsed::Refused(Fault::TooLong.refusal());
    }
    match parse_whole(&bytes[..length], access) {
        Ok(request) => Parsed::Done(request, length),
        Err(fault) => Parsed::Refused(fault.refusal()),
    }
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    RequestLine,
    OtherMethod,
    UnknownMethod,
    Version,
    Target,
    Field,
    Content,
    TooLong,
    LoginMissing,
    LoginWrong,
}

impl Fault {
    fn refusal(self) -> Refusal {
        const USE: &str = "this proxy serves CONNECT (and SOCKS5) only; for plain HTTP use it as a SOCKS5 proxy";
        let (status, fields, line, cause) = match self {
            Self::RequestLine => ("400 Bad Request", "", "the request line is malformed", RefusalCause::Malformed),
            Self::OtherMethod => ("405 Method Not Allowed", "Allow: CONNECT\r\n", USE, RefusalCause::Command),
            Self::UnknownMethod => ("501 Not Implemented", "", USE, RefusalCause::Command),
            Self::Version => {
                let line = "this proxy speaks HTTP/1.1 and HTTP/1.0";
                ("505 HTTP Version Not Supported", "", line, RefusalCause::Version)
            }
            Self::Target => {
                let line = "CONNECT needs a target of the form host:port, [address]:port for IPv6";
                ("400 Bad Request", "", line, RefusalCause::Destination)
            }
            Self::Field => ("400 Bad Request", "", "a header field is malformed", RefusalCause::Malformed),
            Self::Content => ("400 Bad Request", "", "a CONNECT request has no content", RefusalCause::Malformed),
            Self::TooLong => {
                let line = "the request head is longer than 8 KiB";
                ("431 Request Header Fields Too Large", "", line, RefusalCause::TooLong)
            }
            Self::LoginMissing => {
                let line = "this proxy asks for a user name and password";
                ("407 Proxy Authentication Required", ASK_FOR_LOGIN, line, RefusalCause::NoLogin)
            }
            Self::LoginWrong => {
                let line = "the user name or password is wrong";
                ("407 Proxy Authentication Required", ASK_FOR_LOGIN, line, RefusalCause::WrongLogin)
            }
        };
        Refusal { reply: http_response(status, fields, line), cause }
    }
}

/// Length of the head with the empty line that ends it. A line may end with LF alone (RFC 9112, section 2.2).
fn find_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let start = scanned.saturating_sub(3);
    let ends = bytes[start..].iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(offset, _)| start + offset).find_map(|end| {
        let next = &bytes[end + 1..];
        match next {
            [b'\n', ..] => Some(end + 2),
            [b'\r', b'\n', ..] => Some(end + 3),
            _ => None,
        }
    })
}

/// What is already wrong with a head that has not ended: a first word that is no method (so that garbage
/// is not waited for), or too many bytes.
fn early_fault(bytes: &[u8]) -> Option<Fault> {
    if bytes.len() >= HEAD_MAX {
        return Some(Fault::TooLong);
    }
    let word = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    let is_method = word <= METHOD_MAX && bytes[..word].iter().copied().all(is_token_byte);
    (!is_method).then_some(Fault::RequestLine)
}

fn parse_whole(head: &[u8], access: &Access) -> Result<(Destination, Identity), Fault> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let destination = parse_request_line(lines.next().unwrap_or_default())?;
    let mut login = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = parse_field(line)?;
        if name.eq_ignore_ascii_case(b"proxy-authorization") {
            // Two of them would leave it open who asks.
            if login.replace(value).is_some() {
                return Err(Fault::Field);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding")
            || (name.eq_ignore_ascii_case(b"content-length") && value != b"0")
        {
            return Err(Fault::Content);
        }
    }
    Ok((destination?, identify(login, access)?))
}

/// The outer error is about the request as a whole, the inner one about the target alone.
fn parse_request_line(line: &[u8]) -> Result<Result<Destination, Fault>, Fault> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Fault::RequestLine);
    };
    if method.is_empty() || method.len() > METHOD_MAX || !method.iter().copied().all(is_token_byte) {
        return Err(Fault::RequestLine);
    }
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => {}
        _ if version.starts_with(b"HTTP/") => return Err(Fault::Version),
        _ => return Err(Fault::RequestLine),
    }
    if method != b"CONNECT" {
        let known = OTHER_METHODS.iter().any(|other| other.as_bytes() == method);
        return Err(if known { Fault::OtherMethod } else { Fault::UnknownMethod });
    }
    Ok(parse_target(target).ok_or(Fault::Target))
}

/// `host:port` with a port of 1..=65535.
fn parse_target(target: &[u8]) -> Option<Destination> {
    let (host, port) = std::str::from_utf8(target).ok()?.rsplit_once(':')?;
    if port.is_empty() || port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bracketed = host.starts_with('[');
    match host_of_text(host)? {
        // `::1:443` without brackets could end anywhere.
        Host::Ip(address) if address.is_ipv6() != bracketed => None,
        Host::Name(_) if bracketed || host.contains([':', '/', '@', '?', '#']) => None,
        host => Some(Destination { host, port }),
    }
}

/// `name: value`; folded lines and spaces around the name are refused (RFC 9112, section 5).
fn parse_field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Fault::Field)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let value_is_plain = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if name.is_empty() || !name.iter().copied().all(is_token_byte) || !value_is_plain {
        return Err(Fault::Field);
    }
    Ok((name, value.trim_ascii()))
}

/// RFC 7617: `Basic base64(user ":" password)`.
fn identify(login: Option<&[u8]>, access: &Access) -> Result<Identity, Fault> {
    let Some(login) = login else {
        return if access.is_required() { Err(Fault::LoginMissing) } else { Ok(Identity::Anonymous) };
    };
    let (scheme, encoded) = login.split_at(login.iter().position(|byte| *byte == b' ').unwrap_or(login.len()));
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return if access.is_required() { Err(Fault::LoginMissing) } else { Ok(Identity::Anonymous) };
    }
    let decoded = BASE64.decode(encoded.trim_ascii()).map_err(|_| Fault::LoginWrong)?;
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or(Fault::LoginWrong)?;
    access.identify(&decoded[..colon], &decoded[colon + 1..]).ok_or(Fault::LoginWrong)
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::UserName;

    fn parse(text: &str) -> Parsed<(Destination, Identity)> {
        parse_head(text.as_bytes(), 0, &Access::open())
    }

    fn status(parsed: Parsed<(Destination, Identity)>) -> (u16, RefusalCause) {
        let Parsed::Refused(refusal) = parsed else { panic!("not refused: {parsed:?}") };
        let reply = String::from_utf8(refusal.reply).expect("responses are text");
        let code = reply.get(9..12).and_then(|code| code.parse().ok()).expect("a status code");
        (code, refusal.cause)
    }

    #[test]
    fn targets_of_all_forms_are_read() {
        for (target, read) in [
            ("example.org:443", "example.org:443"),
            ("EXAMPLE.org:1", "example.org:1"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
        ] {
            let text = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            let Parsed::Done((destination, identity), length) = parse(&text) else { panic!("{target} is a target") };
            assert_eq!((destination.to_string().as_str(), identity, length), (read, Identity::Anonymous, text.len()));
        }
        assert!(matches!(parse("CONNECT a:1 HTTP/1.0\n\nxyz"), Parsed::Done(_, 22)));
    }

    #[test]
    fn targets_that_are_none_are_refused() {
        for target in
            ["a", "a:", "a:0", "a:65536", "a:+1", ":1", "[a]:1", "::1:1", "[192.0.2.1]:1", "http://a/:1", "a@b:1"]
        {
            let text = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
            assert_eq!(status(parse(&text)), (400, RefusalCause::Destination), "{target}");
        }
        let long = format!("CONNECT {}:1 HTTP/1.1\r\n\r\n", "n".repeat(256));
        assert_eq!(status(parse(&long)), (400, RefusalCause::Destination));
    }

    #[test]
    fn other_methods_and_versions_are_refused_with_help() {
        let get = parse("GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n");
        assert_eq!(status(get), (405, RefusalCause::Command));
        assert_eq!(status(parse("BREW a:1 HTTP/1.1\r\n\r\n")), (501, RefusalCause::Command));
        assert_eq!(status(parse("PRI * HTTP/2.0\r\n\r\n")), (505, RefusalCause::Version));
        for line in ["CONNECT a:1", "CONNECT  a:1 HTTP/1.1", "CONNECT a:1 HTTP/1.1 x", "CONNECT a:1 FTP", "a"] {
            assert_eq!(status(parse(&format!("{line}\r\n\r\n"))), (400, RefusalCause::Malformed), "{line}");
        }
    }

    #[test]
    fn garbage_is_refused_before_its_line_ends() {
        assert_eq!(status(parse("CONN\u{1}")), (400, RefusalCause::Malformed));
        assert_eq!(status(parse(&"A".repeat(METHOD_MAX + 1))), (400, RefusalCause::Malformed));
        assert_eq!(parse(&"A".repeat(METHOD_MAX)), Parsed::Incomplete);
    }

    #[test]
    fn fields_are_checked() {
        let with = |field: &str| parse(&format!("CONNECT a:1 HTTP/1.1\r\n{field}\r\n\r\n"));
        for field in [" folded: x", "no colon", ": x", "a b: x", "a : x", "a: \u{1}", "a: x\r y"] {
            assert_eq!(status(with(field)), (400, RefusalCause::Malformed), "{field:?}");
        }
        assert_eq!(status(with("Content-Length: 5")), (400, RefusalCause::Malformed));
        assert_eq!(status(with("Transfer-Encoding: chunked")), (400, RefusalCause::Malformed));
        assert!(matches!(with("Content-Length: 0"), Parsed::Done(..)));
        assert!(matches!(with("User-Agent: \u{e9}\t(x)"), Parsed::Done(..)));
    }

    #[test]
    fn a_head_of_8_kib_is_read_and_a_longer_one_refused() {
        let head = |length: usize| {
            let start = "CONNECT a:1 HTTP/1.1\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
        };
        assert!(matches!(parse(&head(HEAD_MAX)), Parsed::Done(..)));
        assert_eq!(status(parse(&head(HEAD_MAX + 1))), (431, RefusalCause::TooLong));
        assert_eq!(status(parse(&head(HEAD_MAX + 9)[..HEAD_MAX])), (431, RefusalCause::TooLong));
        assert_eq!(parse(&head(HEAD_MAX)[..HEAD_MAX - 1]), Parsed::Incomplete);
    }

    #[test]
    fn logins_are_asked_for_and_checked() {
        let required = Access::new(&[("ann".to_owned(), "o:ne".to_owned())], true).expect("one login");
        let with = |value: &str| {
            let field = if value.is_empty() { String::new() } else { format!("Proxy-Authorization: {value}\r\n") };
            parse_head(format!("CONNECT a:1 HTTP/1.1\r\n{field}\r\n").as_bytes(), 0, &required)
        };
        let basic = |login: &str| format!("bAsIc  {}", BASE64.encode(login.as_bytes()));
        assert_eq!(status(with("")), (407, RefusalCause::NoLogin));
        assert_eq!(status(with("Bearer abc")), (407, RefusalCause::NoLogin));
        assert_eq!(status(with("Basic !")), (407, RefusalCause::WrongLogin));
        assert_eq!(status(with(&basic("ann"))), (407, RefusalCause::WrongLogin));
        assert_eq!(status(with(&basic("ann:one"))), (407, RefusalCause::WrongLogin));
        let user = UserName::new(b"ann").expect("a short name");
        let Parsed::Done((_, identity), _) = with(&basic("ann:o:ne")) else { panic!("the login is right") };
        assert_eq!(identity, Identity::User(user));
        let twice = format!("{0}\r\nProxy-Authorization: {0}", basic("ann:o:ne"));
        assert_eq!(status(with(&twice)), (400, RefusalCause::Malformed));
    }

    #[test]
    fn the_end_is_found_wherever_the_scan_stopped() {
        for text in ["CONNECT a:1 HTTP/1.1\r\nA: b\r\n\r\nrest", "CONNECT a:1 HTTP/1.1\nA: b\n\nrest"] {
            let end = text.len() - 4;
            for scanned in 0..end {
                assert_eq!(find_end(text.as_bytes(), scanned), Some(end), "scanned {scanned} of {text:?}");
            }
        }
    }
}
