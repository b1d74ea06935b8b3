//! `hushwire version`.

use crate::args::VersionArgs;
use crate::failure::Outcome;
use crate::terminal;

pub(crate) fn run(args: &VersionArgs) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let text = if args.json {
        let schema = admin::status::SCHEMA_VERSION;
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        let debug = cfg!(debug_assertions);
        let object = serde_json::json!({
            "name": "hushwire", "version": version, "status_schema": schema, "target": target, "debug_build": debug,
        });
        format!("{object}\n")
    } else {
        format!("hushwire {version}\n")
    };
    terminal::say(&text);
    Ok(())
}
