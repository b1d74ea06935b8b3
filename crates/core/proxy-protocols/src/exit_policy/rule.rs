//! One rule and its text form: `action target[:ports]`.

use super::address::Block;
use super::{PolicyFault, RuleError, Verdict};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use wire::flow::HostName;

/// Port ranges that one rule may list.
pub(super) const PORT_RANGES_MAX: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Deny,
}

impl Action {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Allow => Verdict::Allowed,
            Self::Deny => Verdict::Denied,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Any,
    Block(Block),
    Name(NamePattern),
}

/// One name, or all names below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NamePattern {
    /// In lower case, without `*.` and without a dot at its end.
    base: String,
    below: bool,
}

impl NamePattern {
    pub(super) fn matches(&self, name: &HostName) -> bool {
        let name = name.as_str();
        // "example.org." is the same name.
        let name = name.strip_suffix('.').unwrap_or(name);
        if !self.below {
            return name == self.base;
        }
        name.strip_suffix(self.base.as_str())
            .and_then(|front| front.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty())
    }
}

/// Inclusive ranges; none means every port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports(Vec<(u16, u16)>);

impl Ports {
    pub(super) fn contains(&self, port: u16) -> bool {
        self.0.is_empty() || self.0.iter().any(|(low, high)| (*low..=*high).contains(&port))
    }
}

/// One rule, as in `allow 10.0.0.0/8:80,443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub(super) action: Action,
    pub(super) pattern: Pattern,
    pub(super) ports: Ports,
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        parse_line(text)?.ok_or(RuleError { column: 1, fault: PolicyFault::Action })
    }
}

/// A fault and the byte of the line where it stands.
type At = (usize, PolicyFault);

/// Reads one line; `None` for a line without a rule.
pub(super) fn parse_line(line: &str) -> Result<Option<Rule>, RuleError> {
    parse(line).map_err(|(offset, fault)| RuleError { column: offset + 1, fault })
}

fn parse(line: &str) -> Result<Option<Rule>, At> {
    let text = &line[..line.find('#').unwrap_or(line.len())];
    let mut words = Words { text, position: 0 };
    let Some((action_at, action)) = words.next() else { return Ok(None) };
    let action = match action {
        "allow" => Action::Allow,
        "deny" => Action::Deny,
        _ => return Err((action_at, PolicyFault::Action)),
    };
    let (target_at, target) = words.next().ok_or((text.len(), PolicyFault::Target))?;
    if let Some((at, _)) = words.next() {
        return Err((at, PolicyFault::Trailing));
    }
    let (pattern, ports_offset) = parse_target(target).map_err(|(offset, fault)| (target_at + offset, fault))?;
    let ports = match ports_offset {
        None => Ports(Vec::new()),
        Some(offset) => parse_ports(&target[offset..]).map_err(|(at, fault)| (target_at + offset + at, fault))?,
    };
    Ok(Some(Rule { action, pattern, ports }))
}

/// Splits at white space and remembers where each word starts.
struct Words<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let rest = &self.text[self.position..];
        let start = self.position + (rest.len() - rest.trim_start().len());
        let word = self.text[start..].split(char::is_whitespace).next().filter(|word| !word.is_empty())?;
        self.position = start + word.len();
        Some((start, word))
    }
}

/// The pattern, and the offset behind the colon if there is one.
fn parse_target(target: &str) -> Result<(Pattern, Option<usize>), At> {
    if let Some(rest) = target.strip_prefix('[') {
        let end = rest.find(']').ok_or((0, PolicyFault::Brackets))?;
        let block = parse_block::<Ipv6Addr>(&rest[..end]).map_err(|(at, fault)| (1 + at, fault))?;
        let behind = end + 2;
        return match &target.as_bytes()[behind..] {
            [] => Ok((Pattern::Block(block), None)),
            [b':', ..] => Ok((Pattern::Block(block), Some(behind + 1))),
            _ => Err((behind, PolicyFault::Trailing)),
        };
    }
    if target.matches(':').count() > 1 {
        return Err((0, PolicyFault::Brackets));
    }
    let (host, ports) = match target.find(':') {
        Some(colon) => (&target[..colon], Some(colon + 1)),
        None => (target, None),
    };
    let pattern = if host == "*" {
        Pattern::Any
    } else if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'/') {
        Pattern::Block(parse_block::<Ipv4Addr>(host)?)
    } else {
        Pattern::Name(parse_name(host)?)
    };
    Ok((pattern, ports))
}

fn parse_block<A>(text: &str) -> Result<Block, At>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let (address, prefix) = match text.find('/') {
        Some(slash) => (&text[..slash], Some((slash + 1, &text[slash + 1..]))),
        None => (text, None),
    };
    let address: IpAddr = address.parse::<A>().map_err(|_| (0, PolicyFault::Address))?.into();
    let Some((prefix_at, prefix)) = prefix else { return Ok(Block::single(address)) };
    let number = parse_number(prefix).and_then(|number| u8::try_from(number).ok());
    let number = number.ok_or((prefix_at, PolicyFault::Prefix))?;
    Block::new(address, number).map_err(|fault| (if fault == PolicyFault::Prefix { prefix_at } else { 0 }, fault))
}

fn parse_name(text: &str) -> Result<NamePattern, At> {
    let fault = (0, PolicyFault::Name);
    let (base, below) = match text.strip_prefix("*.") {
        Some(base) => (base, true),
        None => (text, false),
    };
    let name = HostName::new(base).map_err(|_| fault)?;
    let name = name.as_str();
    let base = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !base.split('.').all(is_label) {
        return Err(fault);
    }
    Ok(NamePattern { base: base.to_owned(), below })
}

fn parse_ports(text: &str) -> Result<Ports, At> {
    if text == "*" {
        return Ok(Ports(Vec::new()));
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    for item in text.split(',') {
        if ranges.len() == PORT_RANGES_MAX {
            return Err((at, PolicyFault::TooManyPorts));
        }
        let (low, high) = item.split_once('-').unwrap_or((item, item));
        let range = parse_port(low).zip(parse_port(high)).ok_or((at, PolicyFault::Ports))?;
        if range.0 > range.1 {
            return Err((at, PolicyFault::PortOrder));
        }
        ranges.push(range);
        at += item.len() + 1;
    }
    Ok(Ports(ranges))
}

fn parse_port(text: &str) -> Option<u16> {
    parse_number(text).filter(|port| *port != 0)
}

/// Digits only: Rust's own parser takes a `+`.
fn parse_number(text: &str) -> Option<u16> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            Action::Allow => "allow ",
            Action::Deny => "deny ",
        })?;
        match &self.pattern {
            Pattern::Any => f.write_str("*")?,
            Pattern::Block(block) => write!(f, "{block}")?,
            Pattern::Name(name) => write!(f, "{}{}", if name.below { "*." } else { "" }, name.base)?,
        }
        if self.ports.0.is_empty() {
            return f.write_str(":*");
        }
        for (index, (low, high)) in self.ports.0.iter().enumerate() {
            f.write_str(if index == 0 { ":" } else { "," })?;
            if low == high { write!(f, "{low}")? } else { write!(f, "{low}-{high}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_rule(text: &str) -> NamePattern {
        parse_name(text).unwrap_or_else(|(at, fault)| panic!("{text} at {at}: {fault}"))
    }

    fn host(text: &str) -> HostName {
        HostName::new(text).expect("a name")
    }

    #[test]
    fn a_star_stands_for_everything_below() {
        let below = name_rule("*.Example.org");
        assert!(below.matches(&host("a.example.org")));
        assert!(below.matches(&host("A.b.EXAMPLE.org.")));
        for other in ["example.org", ".example.org", "notexample.org", "a.example.org.evil", "org"] {
            assert!(!below.matches(&host(other)), "{other}");
        }
        let one = name_rule("example.org.");
        assert!(one.matches(&host("example.org")) && one.matches(&host("example.org.")));
        assert!(!one.matches(&host("a.example.org")));
    }

    #[test]
    fn ports_are_single_ranges_or_all() {
        let ports = |text: &str| parse_ports(text).unwrap_or_else(|(at, fault)| panic!("{text} at {at}: {fault}"));
        assert!(ports("*").contains(1) && ports("*").contains(u16::MAX));
        let some = ports("80,443,8000-8010");
        for (port, inside) in
            [(80, true), (81, false), (443, true), (7999, false), (8000, true), (8010, true), (8011, false)]
        {
            assert_eq!(some.contains(port), inside, "{port}");
        }
    }

    #[test]
    fn comments_and_empty_lines_hold_no_rule() {
        for line in ["", "   ", "# allow *", "\t# x"] {
            assert_eq!(parse(line), Ok(None), "{line:?}");
        }
        let rule = parse(" allow\t10.0.0.0/8:80,443 # intranet").map(|rule| rule.map(|rule| rule.to_string()));
        assert_eq!(rule, Ok(Some("allow 10.0.0.0/8:80,443".to_owned())));
        assert_eq!("# x".parse::<Rule>(), Err(RuleError { column: 1, fault: PolicyFault::Action }));
        assert_eq!("deny *:0".parse::<Rule>(), Err(RuleError { column: 8, fault: PolicyFault::Ports }));
    }
}
