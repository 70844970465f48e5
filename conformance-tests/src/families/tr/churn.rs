//! Many connections, one after the other.

use anyloop_api::{Bind, Connect, Protocol, Transport};

use crate::families::prelude::*;
use crate::leaks::open_descriptors;
use crate::tools::resident_memory;

/// Says something, and closes when it was answered.
struct Caller(RefCell<Option<Transport>>, Counter, LoopFuture<()>);

impl Protocol for Caller {
    fn connection_made(&self, transport: Transport) {
        let _ = transport.write("?");
        *self.0.borrow_mut() = Some(transport);
    }

    fn data_received(&self, _: &[u8]) {
        if let Some(transport) = &*self.0.borrow() {
            transport.close();
        }
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.0.take();
        self.1.add();
        // Done already only if it is called twice, which the counter shows.
        let _ = self.2.set_result(());
    }
}

/// Answers, and closes at the end of the stream.
struct Answerer(RefCell<Option<Transport>>, Counter);

impl Protocol for Answerer {
    fn connection_made(&self, transport: Transport) {
        *self.0.borrow_mut() = Some(transport);
    }

    fn data_received(&self, _: &[u8]) {
        if let Some(transport) = &*self.0.borrow() {
            let _ = transport.write("!");
        }
    }

    fn connection_lost(&self, _: Option<Error>) {
        self.0.take();
        self.1.add();
    }
}

pub(super) fn twenty_thousand_connections_leave_nothing(cx: &Context) -> Outcome {
    const ROUNDS: usize = 400;
    const EACH: usize = 50;
    let lp = cx.new_loop()?;
    let (called, answered) = (Counter::new(), Counter::new());
    let ended = answered.clone();
    let serving =
        lp.serve(move || Answerer(RefCell::default(), ended.clone()), Bind::to("127.0.0.1", 0));
    let server = lp.run_until_complete(serving)??;
    let address = server.local_addr().map(|address| address.port()).unwrap_or_default();
    let mut before = (None, 0);
    for round in 0..ROUNDS {
        let inner = lp.clone();
        let counter = called.clone();
        lp.run_until_complete(async move {
            let mut lost = Vec::new();
            for _ in 0..EACH {
                let (done, counter) = (inner.create_future::<()>(), counter.clone());
                lost.push(done.clone());
                let caller = move || Caller(RefCell::default(), counter.clone(), done);
                inner.connect(caller, Connect::to("127.0.0.1", address)).await?;
            }
            for done in lost {
                done.await?;
            }
            Ok::<_, Error>(())
        })??;
        if round == 20 {
            before = (open_descriptors(), resident_memory()?);
        }
    }
    let answered_all = answered.clone();
    let patience = Instant::now() + ms(10_000);
    while answered_all.get() < ROUNDS * EACH && Instant::now() < patience {
        run_once(&lp)?;
    }
    ensure_eq!(called.get(), ROUNDS * EACH, "clients that were closed");
    ensure_eq!(answered.get(), ROUNDS * EACH, "connections of the server that were closed");
    server.close();
    let closing = server.clone();
    lp.run_until_complete(async move { closing.wait_closed().await })??;
    let now = open_descriptors();
    ensure!(now <= before.0, "{:?} descriptors early on, {now:?} at the end", before.0);
    let grown = resident_memory()?.saturating_sub(before.1);
    ensure!(grown < 4 << 20, "19,000 connections later, {grown} bytes more in memory");
    Ok(())
}
