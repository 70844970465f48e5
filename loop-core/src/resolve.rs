//! Name resolution: literals at once, everything else by the platform's resolver in the executor.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyloop_api::{AddrInfoFlags, Family, Lookup, LoopRef, Result, SocketKind, port_number};

use crate::lookup::getaddrinfo;

/// No host (`None`, empty or `*`) means all interfaces, IPv4 first; `None` or an empty port means 0.
pub(crate) async fn resolve(
    lp: LoopRef,
    host: Option<String>,
    port: Option<String>,
    family: Family,
    kind: SocketKind,
) -> Result<Vec<SocketAddr>> {
    let host = host.filter(|host| !matches!(&**host, "" | "*"));
    let port = port.filter(|port| !port.is_empty()).unwrap_or_else(|| "0".into());
    if let Some(known) = literal(host.as_deref(), &port, family)? {
        return Ok(known);
    }
    let lookup = match host {
        Some(host) => Lookup::to(host, port),
        // As `literal` does it; the resolver would give the loopback addresses.
        None => Lookup::port(port).flags(AddrInfoFlags::PASSIVE),
    };
    let mut addresses = Vec::new();
    for found in getaddrinfo(lp, lookup.family(family).kind(kind)).await? {
        if !addresses.contains(&found.address) {
            addresses.push(found.address);
        }
    }
    Ok(addresses)
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
