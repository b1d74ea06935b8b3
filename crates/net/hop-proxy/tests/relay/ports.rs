//! Ports of a server: all of them, too many, taken ones.

use std::io::Write;
use std::net::UdpSocket;
use std::process::Command;

use hop_proxy::{Server, ServerSettings, StartError};
use port_hopping::ports::PortSet;

use crate::harness::{Echo, Outcome, PATIENCE, Program, Running, common, every, own_host};

#[test]
fn a_port_in_use_is_left_out_and_the_others_are_heard() -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let taken = UdpSocket::bind((host, 20_002))?;
    let server = Running::server(host, "20000-20004", echo.address, common())?;
    let counters = server.wait_for(|counters| counters.ports == 4);
    assert_eq!((counters.ports_missing, server.addresses.len()), (1, 4));
    drop(taken);
    Ok(())
}

#[test]
fn no_port_at_all_is_an_error_that_names_them() -> Outcome {
    let host = own_host();
    let taken = UdpSocket::bind((host, 20_002))?;
    let target = taken.local_addr()?.into();
    let settings =
        ServerSettings { listen: vec![host], ports: "20002".parse()?, targets: vec![target], common: common() };
    let error = Server::new(settings).err().ok_or("it must not start")?;
    assert!(matches!(&error, StartError::NoPort { ports, .. } if ports.to_string() == "20002"), "{error}");
    Ok(())
}

#[test]
fn defect_a_range_that_is_upside_down_or_begins_at_0_is_a_panic() {
    let upside_down = "20001-20000".parse::<PortSet>().expect_err("not a range");
    assert!(upside_down.to_string().contains("lower port first"), "{upside_down}");
    assert!("0-65535".parse::<PortSet>().is_err());
    assert_eq!("1-65535".parse::<PortSet>().map(|ports| ports.len()), Ok(65_535));
}

/// Kilobytes that this process has in memory, and that the kernel has for sockets and descriptors of all processes.
fn memory_kb() -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("VmRSS")?;
    let slab = std::fs::read_to_string("/proc/meminfo")?;
    let slab = slab.lines().find_map(|line| line.strip_prefix("Slab:")).ok_or("Slab")?;
    let number = |text: &str| text.split_whitespace().next().unwrap_or("0").parse::<u64>();
    Ok((number(resident)?, number(slab)?))
}

/// Set where a test runs in a process of its own.
const ALONE: &str = "HUSHWIRE_TEST_ALONE";

/// Runs [`range`] in a process in which no other test takes memory meanwhile: this program once more, with one test.
fn range_alone(test: &str, ports: &str, at_least: u64) -> Outcome {
    if std::env::var_os(ALONE).is_some() {
        return range(ports, at_least);
    }
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(ALONE, "1")
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    std::io::stderr().write_all(&output.stderr)?;
    Ok(())
}

/// Opens a range, carries a program over it, and says what a port costs.
fn range(ports: &str, at_least: u64) -> Outcome {
    let (echo, host) = (Echo::start()?, own_host());
    let before = memory_kb()?;
    let server = Running::server(host, ports, echo.address, common())?;
    let counters = server.wait_for(|counters| counters.ports > 0);
    assert!(counters.ports >= at_least, "{counters}");
    let after = memory_kb()?;
    let each = |after: u64, before: u64| (after.saturating_sub(before) * 1024) / counters.ports;
    let (own, kernel) = (each(after.0, before.0), each(after.1, before.1));
    assert!(own <= 1024, "{own} B of the process for an idle port");
    let open = PortSet::from_ranges(
        server
            .addresses
            .iter()
            .filter_map(|address| port_hopping::ports::PortRange::new(address.port(), address.port())),
    );
    let open = open.ok_or("a port")?;
    let client = Running::client(&[format!("{host}:{open}")], every("20ms..30ms"), common())?;
    let mut program = Program::new(client.address())?;
    for _ in 0..50 {
        assert!(program.ask(PATIENCE)?);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let ports = counters.ports;
    writeln!(std::io::stderr(), "{ports} ports: {own} B of the process and {kernel} B of the kernel for each")?;
    Ok(())
}

#[test]
fn two_thousand_ports_are_heard_whatever_the_limit_was() -> Outcome {
    range_alone("ports::two_thousand_ports_are_heard_whatever_the_limit_was", "30000-31999", 2_000)
}

#[test]
#[ignore = "opens every port there is: `cargo xtask long hop`"]
fn all_65535_ports_are_heard_or_what_does_not_fit_is_said() -> Outcome {
    range_alone("ports::all_65535_ports_are_heard_or_what_does_not_fit_is_said", "1-65535", 10_000)
}
