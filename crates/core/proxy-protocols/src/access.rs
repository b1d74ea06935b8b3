//! Who may use a proxy: user names and passwords.

use std::fmt;
use thiserror::Error;

/// Bytes of the longest user name or password: RFC 1929 counts them in one byte.
pub const CREDENTIAL_MAX: usize = 255;

/// A user's name: 1..=255 bytes, any of them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Vec<u8>);

impl UserName {
    /// Checks the length.
    pub fn new(name: &[u8]) -> Result<Self, AccessError> {
        if name.is_empty() || name.len() > CREDENTIAL_MAX {
            return Err(AccessError::Length);
        }
        Ok(Self(name.to_vec()))
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for UserName {
    /// Users are private: `Debug` may end in a log, so it shows none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserName(..)")
    }
}

/// Who a request comes from, as far as the proxy protocol tells.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// No name was given; the client is whoever has the address.
    Anonymous,
    /// A known user who gave the right password: the client is this user, from whichever address.
    User(UserName),
    /// A name that nobody vouches for. It keeps flows apart, it never makes a client.
    Isolated(UserName),
}

/// A list of logins that means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AccessError {
    /// RFC 1929 has room for 1 to 255 bytes.
    #[error("a user name or password must have 1 to 255 bytes")]
    Length,
    /// Nobody could get in.
    #[error("a login is required but none is listed")]
    NoLogins,
    /// Two passwords for one name.
    #[error("a user name is listed twice")]
    Twice,
}

/// Which logins a proxy knows and whether it asks for one.
#[derive(Clone, Default)]
pub struct Access {
    logins: Vec<(UserName, Vec<u8>)>,
    required: bool,
}

impl Access {
    /// No login is known or asked for. A name that an application gives all the same only isolates.
    pub fn open() -> Self {
        Self::default()
    }

    /// Knows these pairs of user name and password. `required`: nobody gets in without one of them.
    pub fn new(logins: &[(String, String)], required: bool) -> Result<Self, AccessError> {
        if required && logins.is_empty() {
            return Err(AccessError::NoLogins);
        }
        let mut known: Vec<(UserName, Vec<u8>)> = Vec::with_capacity(logins.len());
        for (user, password) in logins {
            let user = UserName::new(user.as_bytes())?;
            if password.is_empty() || password.len() > CREDENTIAL_MAX {
                return Err(AccessError::Length);
            }
            if known.iter().any(|(other, _)| *other == user) {
                return Err(AccessError::Twice);
            }
            known.push((user, password.as_bytes().to_vec()));
        }
        Ok(Self { logins: known, required })
    }

    /// Whether a login is asked for.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Who gives this name and password. `None`: a known name with a wrong password, or an unknown name
    /// where a login is required. The time taken does not depend on where a password starts to differ.
    pub fn identify(&self, user: &[u8], password: &[u8]) -> Option<Identity> {
        let mut known = false;
        let mut right = false;
        for (name, expected) in &self.logins {
            let same_name = equal(name.as_bytes(), user);
            known |= same_name;
            right |= same_name & equal(expected, password);
        }
        let Ok(user) = UserName::new(user) else {
            return (!self.required).then_some(Identity::Anonymous);
        };
        match (known, right) {
            (true, true) => Some(Identity::User(user)),
            (true, false) => None,
            (false, _) => (!self.required).then_some(Identity::Isolated(user)),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access {{ logins: {}, required: {} }}", self.logins.len(), self.required)
    }
}

/// Compares without stopping at the first difference; lengths are no secret.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[test]
    fn a_known_user_needs_the_right_password_and_others_are_only_isolated() {
        let access = Access::new(&[login("ann", "one"), login("bob", "two")], false).expect("two logins");
        let user = |name: &str| UserName::new(name.as_bytes()).expect("a short name");
        assert_eq!(access.identify(b"ann", b"one"), Some(Identity::User(user("ann"))));
        assert_eq!(access.identify(b"ann", b"two"), None);
        assert_eq!(access.identify(b"eve", b"two"), Some(Identity::Isolated(user("eve"))));
        assert_eq!(access.identify(b"", b""), Some(Identity::Anonymous));
    }

    #[test]
    fn where_a_login_is_required_nobody_else_gets_in() {
        let access = Access::new(&[login("ann", "one")], true).expect("a login");
        assert!(access.identify(b"ann", b"one").is_some());
        assert_eq!(access.identify(b"eve", b"one"), None);
        assert_eq!(access.identify(b"", b""), None);
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        assert_eq!(Access::new(&[], true).err(), Some(AccessError::NoLogins));
        assert_eq!(Access::new(&[login("", "x")], false).err(), Some(AccessError::Length));
        assert_eq!(Access::new(&[login("x", &"p".repeat(256))], false).err(), Some(AccessError::Length));
        assert_eq!(Access::new(&[login("x", "1"), login("x", "2")], false).err(), Some(AccessError::Twice));
    }

    #[test]
    fn debug_shows_neither_user_nor_password() {
        let access = Access::new(&[login("ann", "one")], true).expect("a login");
        let shown = format!("{access:?} {:?}", access.identify(b"ann", b"one"));
        assert!(!shown.contains("ann") && !shown.contains("one"), "{shown}");
    }
}
