//! `hushwire keys new|show`.

use crate::args::KeysCommand;
use crate::commands::init::parse_address;
use crate::failure::Outcome;
use crate::settings;
use crate::terminal;
use config::Role;
use std::path::PathBuf;

pub(crate) fn run(command: KeysCommand) -> Outcome {
    match command {
        KeysCommand::New { file } => {
            let keys = settings::new_keys()?;
            config::create_secret_file(&file, &keys.reveal()).map_err(|error| settings::secret(&error))?;
            terminal::say(&format!("{}\n", keys.node_secret.node_id()));
            terminal::complain(&format!("Wrote {}. The line above is the node's public id.\n", file.display()));
            Ok(())
        }
        KeysCommand::Show { file, config, address } => show(file, config, address),
    }
}

fn show(file: Option<PathBuf>, config: Option<PathBuf>, address: Option<String>) -> Outcome {
    let mut address = address.map(|written| parse_address(&written)).transpose()?;
    let key_file = match (file, config) {
        (Some(file), _) => file,
        (None, path) => {
            let loaded = settings::load(&path.unwrap_or_default())?;
            if let Role::Exit(exit) = loaded.role {
                address = address.or(exit.public_address);
            }
            loaded.key_file
        }
    };
    let line = settings::keys(&key_file)?.peer_string(address);
    terminal::complain("For the other node only; it holds the door key that keeps strangers out:\n");
    terminal::say(&format!("{}\n", line.reveal().as_str()));
    Ok(())
}
