#![doc = include_str!("../README.md")]

mod args;
mod budget;
mod clock;
mod commands;
mod cost;
mod failure;
mod local;
mod logging;
mod plan;
mod planning;
mod refusals;
mod report;
mod roles;
mod settings;
mod template;
mod terminal;

use args::{Command, CommandLine};
use clap::FromArgMatches;
use failure::{Code, Outcome};
use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = match args::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    let command_line = match CommandLine::from_arg_matches(&matches) {
        Ok(command_line) => command_line,
        Err(error) => return usage(&error),
    };
    let outcome = match command_line.command {
        // Its exit codes mean something to its supervisor only.
        Command::Process(args) => return commands::run::process(&args),
        command => run(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(command_line.verbose),
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Init(args) => commands::init::run(args),
        Command::Keys(args) => commands::keys::run(args.command),
        Command::Pki(args) => commands::pki::run(args.command),
        Command::Network(args) => commands::network::run(args.command),
        Command::Relay(args) => commands::relay::run(&args),
        Command::Sim(args) => commands::sim::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Invite(args) => commands::invite::run(&args),
        Command::Join(args) => commands::join::run(&args),
        Command::Ledger(args) => commands::ledger::run(&args.command),
        Command::Check(args) => commands::check::run(&args),
        Command::Entry(args) => commands::run::entry(&args),
        Command::Exit(args) => commands::run::exit(&args),
        Command::Mirror(args) => commands::mirror::run(&args),
        Command::Node(args) => commands::node::run(&args),
        Command::Reload(args) => commands::node::reload(&args),
        Command::Drain(args) => commands::node::drain(&args),
        Command::Circuit(args) => commands::circuit::run(&args),
        Command::Peers(args) => commands::peers::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Service(args) => commands::service::run(args.command),
        Command::Cluster(args) => commands::cluster::run(args.command),
        Command::Directory(args) => commands::directory::run(args.command),
        Command::Hop(args) => commands::hop::run(args.command),
        Command::Swap(args) => commands::swap::run(args),
        Command::Version(args) => commands::version::run(&args),
        Command::Completions(args) => commands::generate::completions(&args),
        Command::Man(args) => commands::generate::man(&args),
        Command::Process(_) => Ok(()),
    }
}

/// Prints clap's answer. Help goes to stdout and is a success, everything else is a usage error.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        terminal::complain(&error.render().to_string());
        return ExitCode::from(Code::Usage as u8);
    }
    let text = error.render();
    terminal::say(&if terminal::has_colour() { text.ansi().to_string() } else { text.to_string() });
    ExitCode::SUCCESS
}
