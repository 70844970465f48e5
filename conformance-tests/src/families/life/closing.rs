//! How a loop ends, and what is left of it.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc;

use anyloop_api::{Bind, DatagramEndpoint, Executor, Job, RemoteHandle};

use crate::families::prelude::*;
use crate::leaks::{open_descriptors, thread_count};
use crate::tools::{
    Dispositions, OnDrop, Post, SIGUSR1, SIGUSR2, Script, drain, pipe, socket_pair,
};

pub(super) fn close_is_refused_while_running(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let result = Rc::new(RefCell::new(None));
    let (inner, theirs) = (lp.clone(), result.clone());
    lp.call_soon(move || *theirs.borrow_mut() = Some(inner.close()))?;
    lp.call_soon(trace.pusher("after"))?;
    run_once(&lp)?;
    ensure_is!(result.take(), Some(Err(Error::Usage(_))));
    ensure!(!lp.is_closed(), "the loop is closed");
    lp.call_soon(trace.pusher("later"))?;
    run_once(&lp)?;
    trace.expect(["after", "later"])
}

pub(super) fn close_is_idempotent(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    for _ in 0..3 {
        lp.close()?;
        ensure!(lp.is_closed(), "not closed after close()");
    }
    let never_ran = cx.new_loop()?;
    run_once(&never_ran)?;
    never_ran.close()?;
    Ok(never_ran.close()?)
}

pub(super) fn what_is_queued_is_dropped_not_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let freed = Counter::new();
    let callback = || {
        let (token, call) = (freed.token(), trace.pusher("called"));
        move || {
            token.keep();
            call();
        }
    };
    let kept = lp.call_soon(callback())?;
    let timer = lp.call_later(ms(1), callback())?;
    lp.call_soon(callback())?;
    lp.call_later(FAR, callback())?;
    lp.remote().call_soon_threadsafe(callback())?;
    block_for(ms(2));
    lp.close()?;
    // While the handles are still there.
    ensure_eq!(freed.get(), 5, "closures freed by close()");
    drop((kept, timer));
    trace.expect([])
}

/// Whatever is dropped with a panic, everything else goes as well.
pub(super) fn what_posts_itself_when_it_is_dropped(cx: &Context) -> Outcome {
    const OFTEN: usize = 50;
    #[derive(Clone)]
    struct Again {
        remote: RemoteHandle,
        attempts: Counter,
        taken: Counter,
    }
    impl Drop for Again {
        fn drop(&mut self) {
            if self.attempts.get() < OFTEN {
                self.attempts.add();
                let again = self.clone();
                if self.remote.call_soon_threadsafe(move || drop(again)).is_ok() {
                    self.taken.add();
                }
            }
        }
    }
    let lp = cx.new_loop()?;
    let (attempts, taken) = (Counter::new(), Counter::new());
    let again = Again { remote: lp.remote(), attempts: attempts.clone(), taken: taken.clone() };
    lp.call_soon(move || drop(again))?;
    lp.close()?;
    ensure_eq!((attempts.get(), taken.get()), (OFTEN, 0), "attempts, and calls that were taken");
    Ok(())
}

pub(super) fn whatever_the_destructors_do(cx: &Context) -> Outcome {
    #[derive(Debug)]
    struct Panics;

    impl Executor for Panics {
        fn execute(&self, _: Job) -> anyloop_api::Result<()> {
            Ok(())
        }

        fn shutdown(&self) {
            panic!("at the shutdown");
        }
    }

    let round = || -> Outcome {
        let lp = cx.new_loop()?;
        let reports = Reports::of(&lp);
        let freed = Counter::new();
        let bomb = || OnDrop(|| panic!("in a destructor"));
        lp.set_default_executor(std::sync::Arc::new(Panics));
        let mut kept = Vec::new();
        for _ in 0..2 {
            let (timer, token) = (bomb(), freed.token());
            kept.push(lp.call_later(FAR, move || timer.keep())?.handle().clone());
            kept.push(lp.call_later(FAR, move || token.keep())?.handle().clone());
            let (finaliser, token) = (bomb(), freed.token());
            lp.state().add_finaliser(move || {
                finaliser.keep();
                Box::pin(std::future::pending())
            });
            lp.state().add_finaliser(move || {
                token.keep();
                Box::pin(std::future::pending())
            });
            // Kept by the loop for its job, which never comes back.
            let (callback, token) = (bomb(), freed.token());
            lp.run_in_executor(None, || ())?.add_done_callback(move |_| callback.keep());
            lp.run_in_executor(None, || ())?.add_done_callback(move |_| token.keep());
        }
        lp.close()?;
        ensure_eq!(freed.get(), 6, "what else was dropped");
        ensure_eq!(reports.count(), 7, "reports");
        Ok(())
    };
    // What is opened once and for all.
    round()?;
    let before = open_descriptors();
    round()?;
    ensure_eq!(open_descriptors(), before, "open descriptors after another round");
    Ok(())
}

pub(super) fn tasks_are_dropped_not_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let _reports = Reports::of(&lp);
    let freed = Counter::new();
    let (token, log) = (freed.token(), trace.clone());
    let fresh = lp.create_future::<()>();
    let waiting = fresh.clone();
    let suspended = lp.create_task(async move {
        token.keep();
        let _ = waiting.await;
        log.push("resumed");
    })?;
    run_once(&lp)?;
    let (token, log) = (freed.token(), trace.clone());
    let new = lp.create_task(async move {
        token.keep();
        log.push("started");
    })?;
    fresh.set_result(())?;
    lp.close()?;
    ensure_eq!(freed.get(), 2, "task bodies freed by close()");
    drop((suspended, new));
    trace.expect([])
}

pub(super) fn no_descriptor_is_left(cx: &Context) -> Outcome {
    let round = || -> Outcome {
        let lp = cx.new_loop()?;
        let (near, far) = socket_pair()?;
        let drop_far = Cell::new(Some(far));
        lp.add_reader(&near, move || drop(drop_far.take()))?;
        lp.call_later(ms(1), || ())?;
        lp.remote().call_soon_threadsafe(|| ())?;
        lp.run_until_complete(yield_now())?;
        Ok(lp.close()?)
    };
    round()?;
    let before = open_descriptors();
    let Some(before) = before else {
        return Err(Failure::skip("the system does not list descriptors"));
    };
    (0..100).try_for_each(|_| round())?;
    ensure_eq!(open_descriptors(), Some(before), "open descriptors after 100 loops");
    // A closed loop keeps none even while somebody holds it.
    let loops = (0..20).map(|_| cx.new_loop()).collect::<Result<Vec<_>, _>>()?;
    loops.iter().try_for_each(|lp| lp.close())?;
    ensure_eq!(open_descriptors(), Some(before), "open descriptors beside 20 closed loops");
    Ok(())
}

pub(super) fn a_remote_handle_keeps_none(cx: &Context) -> Outcome {
    let Some(before) = open_descriptors() else {
        return Err(Failure::skip("the system does not list descriptors"));
    };
    let factory = cx.factory();
    // On a thread of its own, so that nothing else of the case is counted.
    let (remote, open) = join(thread::spawn(move || {
        let lp = factory.new_loop()?;
        let remote = lp.remote();
        remote.call_soon_threadsafe(|| ())?;
        run_once(&lp)?;
        lp.close()?;
        Ok::<_, Error>((remote, open_descriptors()))
    }))??;
    ensure_eq!(open, Some(before), "open descriptors beside a closed loop's remote handle");
    ensure_is!(remote.call_soon_threadsafe(|| ()), Err(Error::Closed(_)));
    Ok(())
}

pub(super) fn signal_handlers_are_removed(cx: &Context) -> Outcome {
    let before = Dispositions::now()?;
    let lp = cx.new_loop()?;
    let dropped = Counter::new();
    let token = dropped.token();
    lp.add_signal_handler(SIGUSR1, move || token.keep())?;
    lp.add_signal_handler(SIGUSR2, || ())?;
    lp.remove_signal_handler(SIGUSR2)?;
    ensure!(Dispositions::now()?.catches(SIGUSR1), "SIGUSR1 is not handled while the loop is open");
    lp.close()?;
    ensure_eq!(Dispositions::now()?, before, "dispositions after close()");
    ensure_eq!(dropped.get(), 1, "handlers freed by close()");
    Ok(())
}

pub(super) fn also_when_their_destructors_misbehave(cx: &Context) -> Outcome {
    struct Grumpy(LoopRef);
    impl Grumpy {
        fn keep(&self) {}
    }
    impl Drop for Grumpy {
        fn drop(&mut self) {
            let _ = self.0.remove_signal_handler(SIGUSR2);
            panic!("not without a fight");
        }
    }
    let before = Dispositions::now()?;
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let grumpy = Grumpy(lp.clone());
    lp.add_signal_handler(SIGUSR1, move || grumpy.keep())?;
    lp.add_signal_handler(SIGUSR2, || ())?;
    lp.close()?;
    ensure_eq!(Dispositions::now()?, before, "dispositions after close()");
    let seen = reports.one()?;
    ensure!(seen.is_panic("not without a fight"), "the panic is not in {seen:?}");
    Ok(())
}

pub(super) fn close_does_not_wait_for_jobs(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (reports, threads) = (Reports::of(&lp), thread_count());
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let future = lp.run_in_executor(None, move || {
        let _ = tell.send("started");
        let _ = released.recv();
        let _ = tell.send("ended");
    })?;
    ensure_eq!(told.recv_timeout(Duration::from_secs(10)), Ok("started"), "the job");
    // Waiting for the job would never end.
    lp.close()?;
    release.send(())?;
    ensure_eq!(told.recv_timeout(Duration::from_secs(10)), Ok("ended"), "the job");
    wait_until("the worker ends", || thread_count() <= threads)?;
    ensure!(!future.done(), "the result of the job was delivered");
    ensure_eq!(cx.panics(), 0, "panics");
    reports.none()
}

pub(super) fn dropping_an_open_loop_closes_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let freed = Counter::new();
    let token = freed.token();
    lp.call_later(FAR, move || token.keep())?;
    let (near, _far) = socket_pair()?;
    lp.add_reader(&near, || ())?;
    let remote = lp.remote();
    ensure!(!remote.is_closed(), "the remote handle of an open loop says closed");
    drop(lp);
    ensure!(remote.is_closed(), "the loop is not closed");
    ensure_eq!(freed.get(), 1, "closures freed");
    ensure_is!(remote.call_soon_threadsafe(|| ()), Err(Error::Closed(_)));
    let log = std::fs::read_to_string("/proc/self/fd/2")
        .map_err(|error| Failure::skip(format!("the log cannot be read: {error}")))?;
    ensure!(!log.is_empty(), "no warning was written");
    Ok(())
}

/// Nobody is told: there is no loop any more that could do it.
pub(super) fn its_transports_end_without_a_word(cx: &Context) -> Outcome {
    for dropped in [true, false] {
        let lp = cx.new_loop()?;
        let record = Script::new().record();
        let (near, mut stream) = socket_pair()?;
        let stream_transport = record.attach(&lp, near)?;
        let (read, write) = pipe()?;
        let reading = lp.connect_read_pipe(record.factory(), read);
        lp.run_until_complete(reading)?.map_err(Error::from)?;
        let (from, into) = pipe()?;
        let writing = lp.connect_write_pipe(record.factory(), into);
        lp.run_until_complete(writing)?.map_err(Error::from)?;
        let (near, datagrams) = UnixDatagram::pair()?;
        let post = Post::new();
        let endpoint = post.open(&lp, DatagramEndpoint::socket(OwnedFd::from(near)))?;
        let serving = lp.create_server(record.factory(), Bind::to("127.0.0.1", 0));
        let server = lp.run_until_complete(serving)??;
        let address =
            server.local_addr().ok_or_else(|| Failure::new("the server has no address"))?;
        let mut client = TcpStream::connect(address)?;
        record.until(&lp, |record| record.count("made") == 4)?;
        let remote = lp.remote();
        if dropped {
            drop(lp);
        } else {
            lp.close()?;
        }
        ensure!(remote.is_closed(), "somebody else keeps the loop");
        stream.set_nonblocking(false)?;
        ensure_eq!(stream.read(&mut [0])?, 0, "bytes from the connection");
        ensure_eq!(client.read(&mut [0])?, 0, "bytes from the server's connection");
        ensure_is!(TcpStream::connect(address), Err(_));
        ensure_is!(rustix::io::write(&write, b"x"), Err(rustix::io::Errno::PIPE));
        ensure_eq!(drain(&from)?, (Vec::new(), true), "what the write pipe's reader sees");
        ensure_is!(datagrams.send(b"x"), Err(_));
        record.expect(["made", "made", "made", "made"])?;
        post.expect(["made"])?;
        // What is left of them does no harm.
        stream_transport.write("x")?;
        stream_transport.close();
        endpoint.sendto(b"x", None)?;
        endpoint.abort();
        server.close();
        record.forget_transport();
        record.expect(["made", "made", "made", "made"])?;
        post.expect(["made"])?;
    }
    Ok(())
}
