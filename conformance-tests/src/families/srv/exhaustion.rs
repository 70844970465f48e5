//! When descriptors run out.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::*;
use crate::tools::{Script, settle, tcp_pair};

/// Takes every descriptor the process may have; giving them back is dropping it.
struct Hoard(#[allow(dead_code, reason = "they are held, not used")] Vec<File>);

/// Allows the process only a few descriptors more than it has. The kernel may look at the limit when
/// accepting begins, so this comes before.
fn lower_the_limit() -> Outcome {
    let highest = std::fs::read_dir("/proc/self/fd")
        .map_err(|_| Failure::skip("the system does not list descriptors"))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok())
        .max()
        .unwrap_or(0);
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(highest + 50);
    Ok(setrlimit(Resource::Nofile, limit)?)
}

impl Hoard {
    fn new() -> Result<Self, Failure> {
        let mut files = Vec::new();
        loop {
            match File::open("/dev/null") {
                Ok(file) => files.push(file),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => {
                    return Ok(Self(files));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Clients that have their descriptors already.
fn prepared(count: usize) -> Result<Vec<OwnedFd>, Failure> {
    let flags = SocketFlags::CLOEXEC;
    let socket = || socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    Ok((0..count).map(|_| socket()).collect::<Result<_, _>>()?)
}

fn all_connect(clients: &[OwnedFd], address: SocketAddr) -> Outcome {
    Ok(clients.iter().try_for_each(|client| connect(client, &address))?)
}

pub(super) fn exhaustion_is_reported_once_and_survived(cx: &Context) -> Outcome {
    lower_the_limit()?;
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    let address = address(&server)?;
    // A connection from before goes on as ever.
    let (near, mut far) = tcp_pair()?;
    let old = Script::new().record();
    old.attach(&lp, near)?;
    let clients = prepared(3)?;
    settle(&lp)?;

    let hoard = Hoard::new()?;
    all_connect(&clients, address)?;
    let (begin, busy) = (Instant::now(), cpu_time());
    run_for(&lp, ms(2_500))?;
    let busy = cpu_time() - busy;
    std::io::Write::write_all(&mut far, b"x")?;
    old.until_received(&lp, 1)?;
    let seen = reports.one()?;
    ensure!(seen.exception.is_some(), "the report is {seen:?}");
    ensure!(seen.has("socket"), "the report is {seen:?}");
    ensure!(busy < ms(500), "2.5 seconds of waiting took {busy:?} of processor time");
    ensure_eq!(record.events(), [""; 0], "callbacks without descriptors");
    ensure!(server.is_serving(), "the server gave up");

    drop(hoard);
    record.until(&lp, |record| record.count("made") == 3)?;
    let took = begin.elapsed();
    ensure!(took < ms(15_000), "served {took:?} after the beginning");
    reports.none()?;
    // All is as it was before, and a new shortage is a new report.
    let clients = prepared(1)?;
    let hoard = Hoard::new()?;
    all_connect(&clients, address)?;
    run_for(&lp, ms(100))?;
    reports.one()?;
    drop(hoard);
    record.until(&lp, |record| record.count("made") == 4)?;
    Ok(())
}

pub(super) fn closed_while_resting(cx: &Context) -> Outcome {
    lower_the_limit()?;
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let record = Script::new().record();
    let server = start(&lp, &record, local())?;
    let clients = prepared(2)?;
    let address = address(&server)?;
    settle(&lp)?;
    let hoard = Hoard::new()?;
    all_connect(&clients, address)?;
    run_for(&lp, ms(100))?;
    reports.one()?;
    server.close();
    drop(hoard);
    // The listener's number is somebody else's by the time of the retry.
    let (near, mut far) = tcp_pair()?;
    let other = Script::new().record();
    other.attach(&lp, near)?;
    run_for(&lp, ms(1_500))?;
    reports.none()?;
    record.expect([])?;
    std::io::Write::write_all(&mut far, b"x")?;
    other.until_received(&lp, 1)?;
    wait_closed(&lp, &server)
}
