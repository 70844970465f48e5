//! Name resolution: literals at once, everything else by the platform's resolver in the executor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyloop_api::{Error, EventLoopExt, Family, LoopRef, Result, port_number};
use dns_lookup::{AddrInfoHints, SockType, getaddrinfo};

/// No host (`None`, empty or `*`) means all interfaces, IPv4 first; `None` or an empty port means 0.
pub(crate) async fn resolve(
    lp: LoopRef,
    host: Option<String>,
    port: Option<String>,
    family: Family,
    kind: SockType,
) -> Result<Vec<SocketAddr>> {
    let host = host.filter(|host| !matches!(&**host, "" | "*"));
    let port = port.filter(|port| !port.is_empty()).unwrap_or_else(|| "0".into());
    if let Some(known) = literal(host.as_deref(), &port, family)? {
        return Ok(known);
    }
    let lookup = lp.run_in_executor(None, move || look_up(host.as_deref(), &port, family, kind))?;
    drop(lp);
    lookup.await?
}

/// A literal IP address with a numeric port needs no resolver (CONN-05).
fn literal(host: Option<&str>, port: &str, family: Family) -> Result<Option<Vec<SocketAddr>>> {
    let number = port_number(port).map_err(|error| {
        error.within(&format!("getaddrinfo({:?}, {port:?})", host.unwrap_or_default()))
    })?;
    let Some(number) = number else { return Ok(None) };
    let ips = match host {
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
        Some(host) => match host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => return Ok(None),
        },
    };
    let admitted: Vec<SocketAddr> =
        ips.into_iter().filter(|ip| family.admits(*ip)).map(|ip| (ip, number).into()).collect();
    // An address of another family is for the resolver to refuse.
    Ok(Some(admitted).filter(|admitted| !admitted.is_empty()))
}

fn look_up(
    host: Option<&str>,
    port: &str,
    family: Family,
    kind: SockType,
) -> Result<Vec<SocketAddr>> {
    const AF_INET: i32 = 2;
    let what = || format!("getaddrinfo({:?}, {port:?})", host.unwrap_or_default());
    let hints = AddrInfoHints {
        socktype: kind.into(),
        address: match family {
            Family::Unspecified => 0,
            Family::Inet => AF_INET,
            Family::Inet6 => rustix::net::AddressFamily::INET6.as_raw().into(),
        },
        // As `literal` does it; the resolver would give the loopback addresses.
        flags: if host.is_none() { libc::AI_PASSIVE } else { 0 },
        protocol: 0,
    };
    let found = getaddrinfo(host, Some(port), Some(hints))
        .map_err(|error| Error::os(what(), error.into()))?;
    let mut addresses = Vec::new();
    for entry in found {
        let address = entry.map_err(|error| Error::os(what(), error))?.sockaddr;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}
