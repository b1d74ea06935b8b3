//! `hushwire bench`.

use crate::args::BenchArgs;
use crate::failure::{Code, Failure, Outcome};

pub(crate) fn run(_args: &BenchArgs) -> Outcome {
    Err(Failure::new(Code::Software, "not built in"))
}
