//! `getaddrinfo` and `getnameinfo`: the platform's resolver, asked in the executor.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyloop_api::{
    AddrInfo, AddrInfoFlags, Error, EventLoopExt, Family, Lookup, LookupError, LoopRef,
    NameInfoFlags, Report, Result, SocketKind,
};
use dns_lookup::{AddrInfoHints, LookupErrorKind as Kind};

/// Every address of `lookup`, in the resolver's order.
pub(crate) async fn getaddrinfo(lp: LoopRef, lookup: Lookup) -> Result<Vec<AddrInfo>> {
    let what = format!("getaddrinfo({:?}, {:?})", text(&lookup.host), text(&lookup.port));
    off_the_loop(lp, what, move |what| look_up(&lookup, what)).await
}

/// Host and service of `address`.
pub(crate) async fn getnameinfo(
    lp: LoopRef,
    address: SocketAddr,
    flags: NameInfoFlags,
) -> Result<(String, String)> {
    let what = format!("getnameinfo({address})");
    let flags = name_flags(flags);
    let ask = move |what: &str| {
        dns_lookup::getnameinfo(&address, flags).map_err(|error| refused(what, error))
    };
    off_the_loop(lp, what, ask).await
}

fn text(part: &Option<String>) -> &str {
    part.as_deref().unwrap_or_default()
}

async fn off_the_loop<T: Send + 'static>(
    lp: LoopRef,
    what: String,
    ask: impl FnOnce(&str) -> Result<T> + Send + 'static,
) -> Result<T> {
    let job = {
        let what = what.clone();
        move || {
            let begin = Instant::now();
            (ask(&what), begin.elapsed())
        }
    };
    let answer = lp.run_in_executor(None, job)?;
    let weak = lp.downgrade();
    drop(lp);
    let (answer, took) = answer.await?;
    if let Some(lp) = weak.upgrade()
        && lp.get_debug()
    {
        warn_if_slow(&lp, &what, took);
    }
    answer
}

/// DNS-04.
fn warn_if_slow(lp: &LoopRef, what: &str, took: Duration) {
    if took >= lp.state().slow_callback_duration() {
        lp.call_exception_handler(Report::warning(format!("{what} took {took:?}")));
    }
}

/// Asks the resolver; blocks.
pub(crate) fn look_up(lookup: &Lookup, what: &str) -> Result<Vec<AddrInfo>> {
    if lookup.host.is_none() && lookup.port.is_none() {
        // What the platform says; the crate would not ask it.
        return Err(refused(what, dns_lookup::LookupError::new(libc::EAI_NONAME)));
    }
    if [&lookup.host, &lookup.port].iter().any(|part| text(part).contains('\0')) {
        return Err(Error::invalid_arg(format!("{what}: a name cannot contain a zero byte")));
    }
    let hints = AddrInfoHints {
        flags: addr_flags(lookup.flags),
        address: match lookup.family {
            Family::Unspecified => libc::AF_UNSPEC,
            Family::Inet => libc::AF_INET,
            Family::Inet6 => libc::AF_INET6,
        },
        socktype: match lookup.kind {
            SocketKind::Stream => libc::SOCK_STREAM,
            SocketKind::Datagram => libc::SOCK_DGRAM,
            SocketKind::Raw => libc::SOCK_RAW,
            _ => 0,
        },
        protocol: lookup.protocol,
    };
    let found =
        dns_lookup::getaddrinfo(lookup.host.as_deref(), lookup.port.as_deref(), Some(hints))
            .map_err(|error| refused(what, error))?;
    found
        .map(|entry| {
            let entry = entry.map_err(|error| Error::os(what.to_owned(), error))?;
            let mut info = AddrInfo::new(entry.sockaddr, kind(entry.socktype), entry.protocol);
            // musl gives a name unasked.
            let named = lookup.flags.contains(AddrInfoFlags::CANONICAL_NAME);
            info.canonical_name = entry.canonname.filter(|_| named);
            Ok(info)
        })
        .collect()
}

fn kind(raw: i32) -> SocketKind {
    match raw {
        libc::SOCK_STREAM => SocketKind::Stream,
        libc::SOCK_DGRAM => SocketKind::Datagram,
        libc::SOCK_RAW => SocketKind::Raw,
        _ => SocketKind::Unspecified,
    }
}

fn refused(what: &str, error: dns_lookup::LookupError) -> Error {
    use io::ErrorKind as As;
    let (kind, name) = match error.kind() {
        Kind::NoName => (As::NotFound, "EAI_NONAME"),
        Kind::NoData => (As::NotFound, "EAI_NODATA"),
        Kind::Service => (As::NotFound, "EAI_SERVICE"),
        Kind::Badflags => (As::InvalidInput, "EAI_BADFLAGS"),
        Kind::Family => (As::InvalidInput, "EAI_FAMILY"),
        Kind::Socktype => (As::InvalidInput, "EAI_SOCKTYPE"),
        Kind::Again => (As::TimedOut, "EAI_AGAIN"),
        Kind::Memory => (As::OutOfMemory, "EAI_MEMORY"),
        Kind::Fail => (As::Other, "EAI_FAIL"),
        // The operating system's error, not the resolver's; or an answer that is not text.
        _ if matches!(error.kind(), Kind::System) || error.error_num() == 0 => {
            return Error::os(what.to_owned(), error.into());
        }
        _ => (As::Other, "an unknown code"),
    };
    let error = LookupError::new(error.error_num(), format!("{error} ({name})"));
    Error::os(what.to_owned(), io::Error::new(kind, error))
}

fn addr_flags(flags: AddrInfoFlags) -> i32 {
    sum(&[
        (flags.contains(AddrInfoFlags::PASSIVE), libc::AI_PASSIVE),
        (flags.contains(AddrInfoFlags::CANONICAL_NAME), libc::AI_CANONNAME),
        (flags.contains(AddrInfoFlags::NUMERIC_HOST), libc::AI_NUMERICHOST),
        (flags.contains(AddrInfoFlags::NUMERIC_PORT), libc::AI_NUMERICSERV),
        (flags.contains(AddrInfoFlags::V4_MAPPED), libc::AI_V4MAPPED),
        (flags.contains(AddrInfoFlags::ALL), libc::AI_ALL),
        (flags.contains(AddrInfoFlags::ADDRESS_CONFIGURED), libc::AI_ADDRCONFIG),
    ])
}

fn name_flags(flags: NameInfoFlags) -> i32 {
    sum(&[
        (flags.contains(NameInfoFlags::NUMERIC_HOST), libc::NI_NUMERICHOST),
        (flags.contains(NameInfoFlags::NUMERIC_PORT), libc::NI_NUMERICSERV),
        (flags.contains(NameInfoFlags::NO_DOMAIN), libc::NI_NOFQDN),
        (flags.contains(NameInfoFlags::NAME_REQUIRED), libc::NI_NAMEREQD),
        (flags.contains(NameInfoFlags::DATAGRAM), libc::NI_DGRAM),
    ])
}

fn sum(flags: &[(bool, i32)]) -> i32 {
    flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_code_and_name() {
        let error =
            refused("getaddrinfo(\"nowhere\")", dns_lookup::LookupError::new(libc::EAI_NONAME));
        assert_eq!(error.lookup_code(), Some(libc::EAI_NONAME));
        assert_eq!(error.io_kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().ends_with("(EAI_NONAME)"), "{error}");
    }
}
