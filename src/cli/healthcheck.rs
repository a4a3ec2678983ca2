//! `orderhub healthcheck`: asks the hub on this machine whether it is ready, for containers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::ArgMatches;

use super::CliError;

/// Shorter than the timeout of container runtimes for a check.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Reads only `BIND_ADDR`: a check inside a container must not need the hub's secrets.
pub(super) fn run(matches: &ArgMatches) -> Result<(), CliError> {
    let bind: SocketAddr = matches
        .get_one("bind")
        .copied()
        .ok_or_else(|| CliError::Failed("BIND_ADDR: there is none".to_owned()))?;
    if bind.port() == 0 {
        let problem = "BIND_ADDR: with port 0 the hub's port is not known in advance";
        return Err(CliError::Failed(problem.to_owned()));
    }
    let url = format!("http://{}/readyz", reachable(bind));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        // The hub is on this machine; a proxy would ask another one.
        .proxy(None)
        .build()
        .into();
    let answer = agent.get(&url).call();
    match answer.map(|answer| answer.status().as_u16()) {
        Ok(200) => Ok(()),
        Ok(status) => Err(CliError::Failed(format!("not ready: {url} says {status}"))),
        Err(error) => Err(CliError::Failed(format!("{url} does not answer: {error}"))),
    }
}

/// The address at which this machine can reach a hub that listens on `bind`.
pub(super) fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_on_all_addresses_is_asked_on_loopback() {
        for (bind, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.0.0.7:80", "10.0.0.7:80"),
        ] {
            let bind = bind.parse().expect("an address");
            assert_eq!(reachable(bind).to_string(), asked);
        }
    }
}
