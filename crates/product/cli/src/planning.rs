//! A plan between the command line and the screen. The figures come from `shaping-plan`.

pub(crate) mod figures;
pub(crate) mod json;
pub(crate) mod options;
pub(crate) mod snippet;
pub(crate) mod text;
