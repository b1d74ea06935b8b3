//! hushwire
fn main() {}
