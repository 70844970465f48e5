//! Names and their addresses.

use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyloop_api::{Executor, Family, Job};

use super::*;
use crate::leaks::open_descriptors;
use crate::tools::{Script, settle};

/// Keeps the jobs it is given; runs them on demand.
#[derive(Debug, Default)]
struct Shelf(Mutex<Vec<Shelved>>);

struct Shelved(Job);

impl std::fmt::Debug for Shelved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelved")
    }
}

impl Shelf {
    fn take(&self) -> Vec<Shelved> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Executor for Shelf {
    fn execute(&self, job: Job) -> anyloop_api::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Shelved(job));
        Ok(())
    }
}

pub(super) fn a_literal_needs_no_resolver(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let shelf = Arc::new(Shelf::default());
    lp.set_default_executor(shelf.clone());
    let (_listener, at) = listener()?;
    let record = Script::new().record();
    // A resolver would never answer.
    connect(&lp, &record, Connect::to("127.0.0.1", at.port()))??;
    connect(&lp, &record, at.to_string().as_str())??;
    connect(&lp, &record, at)??;
    let local = Connect::to("127.0.0.1", at.port()).local_addr("127.0.0.1", 0);
    connect(&lp, &record, local)??;
    if let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        connect(&lp, &record, Connect::to("::1", listener.local_addr()?.port()))??;
        connect(&lp, &record, listener.local_addr()?)??;
    }
    ensure!(shelf.take().is_empty(), "the resolver was asked for a literal address");
    Ok(())
}

pub(super) fn names_and_services_do(cx: &Context) -> Outcome {
    for (host, port) in [("localhost", "80"), ("127.0.0.1", "http"), ("::1%lo", "80")] {
        let lp = cx.new_loop()?;
        let shelf = Arc::new(Shelf::default());
        lp.set_default_executor(shelf.clone());
        let connecting =
            lp.create_connection(Script::new().record().factory(), Connect::to(host, port));
        let task = lp.create_task(connecting)?;
        run_times(&lp, 3)?;
        ensure!(!task.done(), "connecting to {host}, {port} is done without a resolver");
        ensure_eq!(shelf.take().len(), 1, "questions to the resolver for {host}, {port}");
        lp.close()?;
    }
    Ok(())
}

pub(super) fn cancelled_while_resolving(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    run_once(&lp)?;
    let shelf = Arc::new(Shelf::default());
    lp.set_default_executor(shelf.clone());
    let before = open_descriptors();
    let record = Script::new().record();
    let connecting = lp.create_connection(record.factory(), Connect::to("localhost", 80));
    let task = lp.create_task(connecting)?;
    run_times(&lp, 3)?;
    task.cancel();
    ensure_is!(lp.run_until_done(&task).map(drop), Err(Error::Cancelled(_)));
    ensure_eq!(open_descriptors(), before, "descriptors after the cancellation");
    // An answer that comes too late goes to nobody.
    for Shelved(job) in shelf.take() {
        job();
    }
    settle(&lp)?;
    record.expect([])
}

pub(super) fn no_address_is_an_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (_listener, at) = listener()?;
    let record = Script::new().record();
    for to in [Connect::to_any([]), Connect::to_any([at]).family(Family::Inet6)] {
        ensure_is!(failed(connect(&lp, &record, to)?)?, Error::Os(_));
    }
    // The resolver's way of having no address of a family.
    let to = Connect::to("127.0.0.1", at.port()).family(Family::Inet6);
    ensure_is!(failed(connect(&lp, &record, to)?)?, Error::Os(_));
    record.expect([])
}
