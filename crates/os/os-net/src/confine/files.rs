//! Limits on files, TCP ports and signals by landlock.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::{Files, Needs, PartState, Sockets};

/// The newest landlock interface whose rights are all denied. Older kernels deny what they know.
const NEWEST: ABI = ABI::V6;

/// Denies all files but those of `needs`, listening on and (unless needed) connecting to TCP ports, signals to and
/// abstract unix sockets of processes outside.
pub(super) fn restrict(needs: &Needs) -> Result<PartState, String> {
    let status = apply(needs).map_err(|error| error.to_string())?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(PartState::On),
        RulesetStatus::PartiallyEnforced => Ok(PartState::Partly),
        RulesetStatus::NotEnforced => Err("this kernel has no landlock, or it is switched off".to_owned()),
    }
}

fn apply(needs: &Needs) -> Result<RestrictionStatus, RulesetError> {
    let ports = match needs.sockets {
        Sockets::Udp => AccessNet::BindTcp | AccessNet::ConnectTcp,
        Sockets::UdpAndTcp => AccessNet::BindTcp.into(),
    };
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(ports)?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let ruleset = match &needs.files {
        Files::None => ruleset,
        Files::Read(paths) => ruleset.add_rules(path_beneath_rules(paths, AccessFs::ReadFile | AccessFs::ReadDir))?,
    };
    ruleset.restrict_self()
}
