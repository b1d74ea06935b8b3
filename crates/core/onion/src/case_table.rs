//! Tables of every state against every input, for a person to read.

use std::fmt::Write;

/// A state and what leads to it, or an input and how it happens.
pub(crate) type Step<B> = (&'static str, fn(&mut B));

/// How a bench is used.
pub(crate) struct Cases<B, S> {
    /// A bench in the first state.
    pub(crate) fresh: fn() -> B,
    /// Takes what was said on the way to a state. It returns what the description is to be compared with.
    pub(crate) settle: fn(&mut B) -> S,
    /// What has become of the case with this name.
    pub(crate) describe: fn(&mut B, S, &str) -> String,
    /// Columns of an input's name.
    pub(crate) width: usize,
}

impl<B, S> Cases<B, S> {
    /// A line for each input under each state, every one with a bench of its own.
    pub(crate) fn table(&self, states: &[Step<B>], inputs: &[Step<B>]) -> String {
        let mut table = String::new();
        for (state, make) in states {
            let _ = writeln!(table, "{state}");
            for (input, happen) in inputs {
                let mut bench = (self.fresh)();
                make(&mut bench);
                let before = (self.settle)(&mut bench);
                happen(&mut bench);
                let described = (self.describe)(&mut bench, before, &format!("{state}: {input}"));
                let _ = writeln!(table, "  {input:0$} {described}", self.width);
            }
        }
        table
    }
}
