//! Name lookup.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use anyloop_api::{
    AddrInfo, AddrInfoFlags, Bind, Connect, Executor, Family, Job, Lookup, NameInfoFlags,
    SocketKind,
};
use dns_lookup::AddrInfoHints;

use super::prelude::*;
use crate::tools::Script;

cases! {
    DNS_01 => a_lookup_is_not_done_by_the_loop, many_lookups_at_a_time;
    DNS_02 => answers_are_the_resolvers, errors_are_the_resolvers, flags_are_the_resolvers,
        names_of_addresses, a_zero_byte_is_refused, whoever_resolves_fails_in_the_same_way;
    DNS_03 => an_answer_after_close_is_ignored, a_cancelled_lookup_ends_at_once;
    DNS_04 => slow_lookups_are_logged, in_debug_mode_only;
}

/// Keeps jobs until they are let go.
#[derive(Debug)]
struct Holding {
    jobs: Mutex<Sender<Job>>,
}

impl Holding {
    fn new() -> (Arc<Self>, Receiver<Job>) {
        let (keep, kept) = mpsc::channel();
        (Arc::new(Self { jobs: Mutex::new(keep) }), kept)
    }
}

impl Executor for Holding {
    fn execute(&self, job: Job) -> anyloop_api::Result<()> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(job).map_err(|_| Error::usage("nobody runs jobs any more"))
    }
}

fn a_lookup_is_not_done_by_the_loop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (inner, log) = (lp.clone(), trace.clone());
    let task = lp.create_task(async move {
        let found = inner.getaddrinfo(Lookup::to("localhost", 80)).await;
        log.push(if found.is_ok() { "found" } else { "not found" });
    })?;
    let log = trace.clone();
    lp.create_task(async move { log.push("another task") })?;
    lp.run_until_done(&task)?;
    // Had the loop waited for the answer, it would have been there first.
    trace.expect(["another task", "found"])
}

fn many_lookups_at_a_time(cx: &Context) -> Outcome {
    const MANY: usize = 20;
    let lp = cx.new_loop()?;
    let (executor, held) = Holding::new();
    lp.set_default_executor(executor);
    let tasks: Vec<_> = (0..MANY)
        .map(|port| lp.create_task(lp.getaddrinfo(Lookup::to("localhost", port))))
        .collect::<Result<_, _>>()?;
    // All of them are asked before the first answer is there, by threads of ours.
    stop_after(&lp, 100)?;
    lp.run_forever()?;
    let jobs: Vec<Job> = held.try_iter().collect();
    if !jobs.is_empty() {
        ensure_eq!(jobs.len(), MANY, "lookups in the executor");
        ensure!(tasks.iter().all(|task| !task.done()), "answered without the executor");
    }
    let threads: Vec<_> = jobs.into_iter().map(thread::spawn).collect();
    for (port, task) in tasks.into_iter().enumerate() {
        let found = lp.run_until_done(&task)??;
        ensure!(
            found.iter().all(|info| usize::from(info.address.port()) == port),
            "the answer for port {port} is {found:?}"
        );
    }
    threads.into_iter().try_for_each(join)
}

/// The platform's answer, asked without a loop.
fn expected(lookup: &Lookup) -> Result<Vec<AddrInfo>, i32> {
    let kinds = [
        (SocketKind::Stream, dns_lookup::SockType::Stream),
        (SocketKind::Datagram, dns_lookup::SockType::DGram),
        (SocketKind::Raw, dns_lookup::SockType::Raw),
    ];
    let kinds = kinds.map(|(kind, raw)| (kind, i32::from(raw)));
    let raw = |kind| kinds.iter().find(|(mine, _)| *mine == kind).map_or(0, |(_, raw)| *raw);
    let family = match lookup.family {
        Family::Unspecified => 0,
        Family::Inet => rustix::net::AddressFamily::INET.as_raw().into(),
        Family::Inet6 => rustix::net::AddressFamily::INET6.as_raw().into(),
    };
    let hints = AddrInfoHints {
        flags: 0,
        address: family,
        socktype: raw(lookup.kind),
        protocol: lookup.protocol,
    };
    let (host, port) = (lookup.host.as_deref(), lookup.port.as_deref());
    let found = dns_lookup::getaddrinfo(host, port, Some(hints))
        .map_err(|error| error.error_num())?
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|_| 0)?;
    Ok(found
        .into_iter()
        .map(|info| {
            let kind = kinds.iter().find(|(_, raw)| *raw == info.socktype);
            let kind = kind.map_or(SocketKind::Unspecified, |(kind, _)| *kind);
            AddrInfo::new(info.sockaddr, kind, info.protocol)
        })
        .collect())
}

fn answers_are_the_resolvers(cx: &Context) -> Outcome {
    const UDP: i32 = 17;
    let lp = cx.new_loop()?;
    let lookups = [
        Lookup::to("localhost", 80),
        Lookup::to("localhost", "http").kind(SocketKind::Stream),
        Lookup::to("localhost", "domain").kind(SocketKind::Datagram),
        Lookup::to("localhost", 0).family(Family::Inet),
        Lookup::to("127.0.0.1", 8080),
        Lookup::to("127.0.0.1", 8080).protocol(UDP),
        Lookup::to("::1", 8080).kind(SocketKind::Raw),
        Lookup::to("::1", "").family(Family::Inet6),
        Lookup::to("", 80),
        Lookup::to("127.1", 80),
        Lookup::host("127.0.0.1"),
        Lookup::port(80),
        Lookup::port("http").kind(SocketKind::Stream),
    ];
    for lookup in lookups {
        let found = lp.run_until_complete(lp.getaddrinfo(lookup.clone()))?;
        let found = found.map_err(|error| error.lookup_code().unwrap_or(0));
        ensure_eq!(found, expected(&lookup), "the answer to {lookup:?}");
    }
    Ok(())
}

fn errors_are_the_resolvers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let lookups = [
        Lookup::to("127.0.0.1", "no-such-service-here"),
        Lookup::to("127.0.0.1", "http").protocol(12345),
        Lookup::to("::1", 80).family(Family::Inet),
        Lookup::to("127.0.0.1", "http").kind(SocketKind::Raw),
        Lookup::default(),
    ];
    for lookup in lookups {
        let found = lp.run_until_complete(lp.getaddrinfo(lookup.clone()))?;
        // musl's resolver looks a service up whatever the protocol.
        if lookup.protocol != 0
            && let (Ok(found), Ok(theirs)) = (&found, expected(&lookup))
        {
            ensure_eq!(*found, theirs, "the answer to {lookup:?}");
            continue;
        }
        let Err(error) = found else {
            return Err(Failure::new(format!("{lookup:?} was found: {found:?}")));
        };
        ensure!(matches!(error, Error::Os(_)), "{lookup:?}: {error:?}");
        let code = error.lookup_code();
        ensure!(code.is_some_and(|code| code != 0), "no code in {error:?}");
        if lookup != Lookup::default() {
            ensure_eq!(code, expected(&lookup).err(), "the code for {lookup:?}");
        }
    }
    Ok(())
}

fn flags_are_the_resolvers(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let ask = |lookup| lp.run_until_complete(lp.getaddrinfo(lookup));
    let addresses = |found: Vec<AddrInfo>| -> Vec<IpAddr> {
        found.into_iter().map(|info| info.address.ip()).collect()
    };
    let here = Lookup::port(80).kind(SocketKind::Stream);
    let loopback = addresses(ask(here.clone())??);
    ensure!(loopback.iter().all(IpAddr::is_loopback), "without PASSIVE: {loopback:?}");
    let all = addresses(ask(here.flags(AddrInfoFlags::PASSIVE))??);
    ensure!(!all.is_empty() && all.iter().all(IpAddr::is_unspecified), "with PASSIVE: {all:?}");

    let literal = Lookup::to("127.0.0.1", 80).kind(SocketKind::Stream);
    let named = ask(literal.clone().flags(AddrInfoFlags::CANONICAL_NAME))??;
    let canonical = named.first().and_then(|info| info.canonical_name.as_deref());
    ensure_eq!(canonical, Some("127.0.0.1"), "the real name of a literal");

    let mapped = literal.family(Family::Inet6).flags(AddrInfoFlags::V4_MAPPED);
    let mapped = addresses(ask(mapped)??);
    ensure_eq!(mapped, ["::ffff:127.0.0.1".parse::<IpAddr>()?], "an IPv4 address in IPv6 form");

    // Names that exist are refused where a literal is wanted.
    let numeric = AddrInfoFlags::NUMERIC_HOST;
    ensure_is!(ask(Lookup::host("localhost").flags(numeric))?, Err(Error::Os(_)));
    let numeric = AddrInfoFlags::NUMERIC_PORT;
    ensure_is!(ask(Lookup::to("127.0.0.1", "http").flags(numeric))?, Err(Error::Os(_)));
    Ok(())
}

fn names_of_addresses(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let ask = |address: &str, flags| -> Result<_, Failure> {
        let address: SocketAddr = address.parse()?;
        Ok(lp.run_until_complete(lp.getnameinfo(address, flags))?)
    };
    let numeric = NameInfoFlags::NUMERIC_HOST | NameInfoFlags::NUMERIC_PORT;
    let found = ask("127.0.0.1:80", numeric)??;
    ensure_eq!(found, ("127.0.0.1".to_owned(), "80".to_owned()), "all numeric");
    let found = ask("[::1]:65535", numeric)??;
    ensure_eq!(found, ("::1".to_owned(), "65535".to_owned()), "all numeric, IPv6");

    let (tcp, udp) = ("127.0.0.1:514", NameInfoFlags::NUMERIC_HOST | NameInfoFlags::DATAGRAM);
    let expected = dns_lookup::getnameinfo(&"127.0.0.1:514".parse()?, 0).ok();
    let found = ask(tcp, NameInfoFlags::NONE)?.ok();
    ensure_eq!(found, expected, "names of 127.0.0.1:514");
    let (stream, datagram) = (ask(tcp, NameInfoFlags::NUMERIC_HOST)??, ask(tcp, udp)??);
    if stream.1 != "514" {
        // The number has two names, where the table of services is there.
        ensure!(stream.1 != datagram.1, "DATAGRAM makes no difference: {stream:?}");
    }
    // An address of a documentation network that has no name.
    let required = NameInfoFlags::NUMERIC_PORT | NameInfoFlags::NAME_REQUIRED;
    let both = required | NameInfoFlags::NUMERIC_HOST;
    let refused = ask("192.0.2.1:80", both)?;
    let code = refused.err().and_then(|error| error.lookup_code());
    ensure!(code.is_some_and(|code| code != 0), "contradictory flags: {code:?}");
    Ok(())
}

fn a_zero_byte_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for lookup in [Lookup::to("local\0host", 80), Lookup::to("localhost", "8\u{0}0")] {
        let found = lp.run_until_complete(lp.getaddrinfo(lookup))?;
        ensure_is!(found, Err(Error::InvalidArg(_)));
    }
    Ok(())
}

/// Calls that are given a name look it up as `getaddrinfo` does.
fn whoever_resolves_fails_in_the_same_way(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let fail = |host: &str, port: &str| -> Result<_, Failure> {
        let record = Script::new().record();
        let connecting = lp.create_connection(record.factory(), Connect::to(host, port));
        let listening = lp.create_server(record.factory(), Bind::to(host, port));
        let resolving = lp.resolve(Some(host.into()), Some(port.into()), Family::Unspecified);
        Ok([
            lp.run_until_complete(connecting)?.err(),
            lp.run_until_complete(listening)?.err(),
            lp.run_until_complete(resolving)?.err(),
        ])
    };
    let service = "no-such-service-here";
    let theirs = expected(&Lookup::to("127.0.0.1", service).kind(SocketKind::Stream)).err();
    for error in fail("127.0.0.1", service)? {
        let code = error.as_ref().and_then(Error::lookup_code);
        ensure_eq!(code, theirs, "the code in {error:?}");
    }
    for (host, port) in [("local\0host", "80"), ("localhost", "8\0")] {
        for error in fail(host, port)? {
            ensure_is!(error, Some(Error::InvalidArg(_)));
        }
    }
    Ok(())
}

fn an_answer_after_close_is_ignored(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (executor, held) = Holding::new();
    lp.set_default_executor(executor);
    let task = lp.create_task(lp.getaddrinfo(Lookup::to("localhost", 80)))?;
    run_times(&lp, 3)?;
    task.mark_internal();
    let jobs: Vec<Job> = held.try_iter().collect();
    lp.close()?;
    // Loops with a resolver of their own have nothing to be late with.
    for job in jobs {
        join(thread::spawn(job))?;
    }
    reports.none()
}

fn a_cancelled_lookup_ends_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (executor, held) = Holding::new();
    lp.set_default_executor(executor);
    let task = lp.create_task(lp.getaddrinfo(Lookup::to("localhost", 80)))?;
    let numeric = NameInfoFlags::NUMERIC_HOST;
    let other = lp.create_task(lp.getnameinfo("127.0.0.1:1".parse()?, numeric))?;
    run_times(&lp, 2)?;
    // The jobs are never run: nothing but the cancellation can end this.
    task.cancel();
    other.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    ensure_is!(lp.run_until_done(&other), Err(Error::Cancelled(_)));
    drop(held);
    Ok(())
}

fn slow_lookups_are_logged(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    lp.state().set_slow_callback_duration(FAR);
    let reports = Reports::of(&lp);
    lp.run_until_complete(lp.getaddrinfo(Lookup::to("localhost", 80)))??;
    reports.none()?;
    // However quick it was, it counts as slow now; as may do the callbacks around it.
    lp.state().set_slow_callback_duration(Duration::ZERO);
    lp.run_until_complete(lp.getaddrinfo(Lookup::to("localhost", 81)))??;
    let seen = reports.take();
    let named = seen.iter().filter(|seen| seen.message.contains("\"81\"")).count();
    ensure_eq!(named, 1, "reports that name the lookup, in {seen:?}");
    Ok(())
}

fn in_debug_mode_only(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(false))?;
    lp.state().set_slow_callback_duration(Duration::ZERO);
    let reports = Reports::of(&lp);
    lp.run_until_complete(lp.getaddrinfo(Lookup::to("localhost", 80)))??;
    reports.none()
}
