//! Options and files, put together: what the command line says comes before what the file says.

use crate::args::hop::{HopClientArgs, HopCommonArgs, HopServerArgs};
use crate::failure::{Code, Failure};
use crate::settings;
use config::{HopClient, HopCommon, HopServer};
use hop_proxy::{ClientSettings, Common, LIST_MAX, ServerSettings};
use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

/// What an end tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Time between two lines of counters, if there shall be any.
    pub(crate) counters: Option<Duration>,
    /// Socket that tells the state, if there shall be one.
    pub(crate) socket: Option<PathBuf>,
}

pub(crate) fn client(args: HopClientArgs) -> Result<(ClientSettings, Telling), Failure> {
    let file = match &args.common.config {
        Some(path) => settings::loaded(config::load_hop_client(path))?,
        None => HopClient::default(),
    };
    let listen = given(args.listen, file.listen, "--listen", "listen")?;
    let servers = given(args.server, file.servers, "--server", "servers")?;
    let bytes = match args.bytes {
        Some(text) => config::parse_byte_span(&text).map_err(|problem| {
            Failure::new(Code::Data, format!("--bytes {text:?}: {problem}")).remedy(problem.remedy())
        })?,
        None => file.bytes.unwrap_or(ByteBudget::DEFAULT),
    };
    let interval = args.interval.or(file.interval).unwrap_or_else(|| Timers::default().interval());
    let timers = if args.unsafe_interval {
        Timers::below_floor(interval, bytes, UnsafeTimers)
    } else {
        Timers::new(interval, bytes)
            .map_err(|error| Failure::new(Code::Data, error.to_string()).remedy("write --interval 20s..40s"))?
    };
    let (common, telling) = common(&args.common, file.common)?;
    Ok((ClientSettings { listen, servers, timers, common }, telling))
}

pub(crate) fn server(args: HopServerArgs) -> Result<(ServerSettings, Telling), Failure> {
    let file = match &args.common.config {
        Some(path) => settings::loaded(config::load_hop_server(path))?,
        None => HopServer::default(),
    };
    let mut listen = if args.listen.is_empty() { file.listen } else { args.listen };
    if listen.is_empty() {
        // A system without IPv6 has no such address.
        let both = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
        listen.push(if both { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() });
    }
    let Some(ports) = args.ports.or(file.ports) else {
        return Err(missing("--ports", "ports"));
    };
    let targets = given(args.to, file.targets, "--to", "targets")?;
    let (common, telling) = common(&args.common, file.common)?;
    Ok((ServerSettings { listen, ports, targets, common }, telling))
}

fn common(args: &HopCommonArgs, file: HopCommon) -> Result<(Common, Telling), Failure> {
    let default = Common::default();
    let key = match args.key.as_ref().or(file.key_file.as_ref()) {
        Some(path) => Some(settings::hop_key(path)?),
        None => None,
    };
    let common = Common {
        key,
        idle_timeout: args.idle.map(Duration::from_secs).or(file.idle_timeout).unwrap_or(default.idle_timeout),
        flows_max: args.flows.or(file.flows).unwrap_or(default.flows_max),
        offload: !args.no_offload && file.offload.unwrap_or(default.offload),
        forbid_fragments: args.no_fragments || file.fragments.map_or(default.forbid_fragments, |allowed| !allowed),
    };
    let counters = args.counters.map(Duration::from_secs).or(file.counters);
    Ok((common, Telling { counters, socket: args.socket.clone().or(file.socket) }))
}

/// The option's values, else those of the file.
fn given<T>(option: Vec<T>, file: Vec<T>, flag: &str, key: &str) -> Result<Vec<T>, Failure> {
    let values = if option.is_empty() { file } else { option };
    match values.len() {
        0 => Err(missing(flag, key)),
        many if many > LIST_MAX => Err(Failure::new(Code::Usage, format!("{flag} is given {many} times"))
            .remedy(format!("give it at most {LIST_MAX} times"))),
        _ => Ok(values),
    }
}

fn missing(flag: &str, key: &str) -> Failure {
    Failure::new(Code::Usage, format!("{flag} is not given"))
        .remedy(format!("give {flag}, or `{key}` in the file that -c names"))
}
