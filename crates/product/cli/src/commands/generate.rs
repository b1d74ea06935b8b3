//! `hushwire completions` and `hushwire man`: made from the same definitions as the help.

use crate::args::{self, CompletionsArgs, ManArgs};
use crate::failure::{Failure, Outcome};
use crate::terminal;

pub(crate) fn completions(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "hushwire", &mut script);
    terminal::say(&String::from_utf8_lossy(&script));
    Ok(())
}

pub(crate) fn man(args: &ManArgs) -> Outcome {
    let mut command = args::command();
    command.build();
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::io("cannot write the page", &error))?;
        terminal::say(&String::from_utf8_lossy(&page));
        return Ok(());
    };
    let failed = |error| Failure::io(format!("cannot write man pages to {}", folder.display()), &error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(command, folder).map_err(failed)?;
    Ok(())
}
