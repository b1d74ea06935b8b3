//! `hushwire demo`.

use crate::args::DemoArgs;
use crate::failure::{Code, Failure, Outcome};

pub(crate) fn run(_args: &DemoArgs) -> Outcome {
    Err(Failure::new(Code::Software, "not built in"))
}
