//! `hushwire entry`, `hushwire exit` and the hidden `hushwire process`.

use crate::args::{NodeArgs, ProcessArgs, RoleArg};
use crate::failure::{Code, Failure, Outcome};
use crate::logging;
use crate::settings;
use config::{Config, Role};

pub(crate) fn entry(args: &NodeArgs) -> Outcome {
    let config = load(args, RoleArg::Entry)?;
    settings::keys(&config.key_file)?;
    logging::start(&config.log);
    Err(Failure::new(Code::Software, "not built in"))
}

pub(crate) fn exit(args: &NodeArgs) -> Outcome {
    let config = load(args, RoleArg::Exit)?;
    settings::keys(&config.key_file)?;
    logging::start(&config.log);
    Err(Failure::new(Code::Software, "not built in"))
}

pub(crate) fn process(args: &ProcessArgs) -> Outcome {
    Err(Failure::new(Code::Usage, format!("{} is started by its supervisor only", args.role)))
}

/// The configuration, if it is one of this role.
fn load(args: &NodeArgs, wanted: RoleArg) -> Result<Config, Failure> {
    let config = settings::load(&args.config)?;
    let found = match config.role {
        Role::Entry(_) => RoleArg::Entry,
        Role::Exit(_) => RoleArg::Exit,
    };
    if found == wanted {
        return Ok(config);
    }
    let (file, found, wanted) = (args.config.display(), found.name(), wanted.name());
    Err(Failure::new(Code::Configuration, format!("{file} is the configuration of an {found}, not of an {wanted}"))
        .remedy(format!("run `hushwire {found} -c {file}`, or name the file of the {wanted}")))
}
