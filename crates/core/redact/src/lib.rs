#![doc = include_str!("../README.md")]

use std::fmt;

/// A value that no log shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Hides `value` from `Debug` and `Display`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Every call is a place where a private value may leave its wrapper.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Takes the value out of the wrapper.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_format_shows_the_value() {
        let hidden = Sensitive::new("secret");
        for text in [format!("{hidden}"), format!("{hidden:?}"), format!("{hidden:#?}"), format!("{hidden:>40}")] {
            assert!(!text.contains("secret"), "{text}");
        }
        #[derive(Debug)]
        struct Outer {
            #[expect(dead_code, reason = "only its Debug form is looked at")]
            inner: Sensitive<u32>,
        }
        assert_eq!(format!("{:?}", Outer { inner: Sensitive::new(7) }), "Outer { inner: [redacted] }");
    }

    #[test]
    fn the_value_comes_out_unchanged() {
        assert_eq!(*Sensitive::new(5).expose(), 5);
        assert_eq!(Sensitive::from(5).into_inner(), 5);
    }
}
