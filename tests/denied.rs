//! System calls that the kernel refuses, for want of something or by a sandbox. A filter holds for the thread
//! that installs it, so each test has one of its own.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use anyloop::{
    AnyProtocol, Command, Error, EventLoopExt, LoopRef, Protocol, Result, UnixBind,
    create_subprocess_exec, fs, open_connection, start_server, start_unix_server, to_thread,
    yield_now,
};
use anyloop_core::testing::{Call, deny, with_denied};

use support::run;

/// Runs a test that denies itself something.
fn alone<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(test).join().expect("the test")
}

/// Tells what a connection was lost with.
struct Lost(mpsc::Sender<Option<String>>);

impl Protocol for Lost {
    fn connection_lost(&self, error: Option<Error>) {
        self.0.send(error.map(|error| error.to_string())).expect("it is asked for below");
    }
}

on_every_backend! {
    /// What stands for a connect under way, and for one that cannot begin.
    fn a_connect_that_never_began_fails(backend) {
        with_denied(Call::any(libc::SYS_connect), libc::EAGAIN, move || {
            run(backend, async {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
                let address = listener.local_addr().expect("it is bound");
                let error = open_connection(address).await.expect_err("it was refused").to_string();
                let expected = format!("create_connection: connecting to {address}: ");
                assert!(error.starts_with(&expected), "{error}");
                Ok(())
            })?
        })
    }

    /// A sandbox that does not know the call.
    fn files_are_read_without_preadv2(backend) {
        for errno in [libc::EPERM, libc::ENOSYS] {
            with_denied(Call::any(libc::SYS_preadv2), errno, move || {
                run(backend, async {
                    let file = fs::File::open("Cargo.toml").await?;
                    let expected = std::fs::read("Cargo.toml").expect("it is there");
                    assert_eq!(file.read(expected.len()).await?, expected);
                    Ok::<_, Error>(())
                })?
            })?;
        }
        Ok(())
    }

    /// Likewise.
    fn a_child_is_killed_without_pidfd_send_signal(backend) {
        for errno in [libc::EPERM, libc::ENOSYS] {
            with_denied(Call::any(libc::SYS_pidfd_send_signal), errno, move || {
                run(backend, async {
                    let child = create_subprocess_exec(Command::new("sleep").arg("1000")).await?;
                    child.kill()?;
                    assert_eq!(child.wait().await?, -9);
                    Ok::<_, Error>(())
                })?
            })?;
        }
        Ok(())
    }

    /// With as many threads as the system allows.
    fn the_pool_is_waited_for_without_another_thread(backend) {
        alone(move || {
            let reports = Rc::new(RefCell::new(Vec::new()));
            let r2 = reports.clone();
            run(backend, async move {
                let lp = LoopRef::current()?;
                let handler = move |_: &LoopRef, report: &anyloop::Report| {
                    r2.borrow_mut().push(report.to_string());
                };
                lp.set_exception_handler(Some(Rc::new(handler)));
                to_thread(|| ()).await?;
                let (release, released) = mpsc::channel::<()>();
                let ended = Arc::new(AtomicBool::new(false));
                let e2 = ended.clone();
                let _job = lp.run_in_executor(None, move || {
                    released.recv().expect("it is sent below");
                    e2.store(true, Ordering::SeqCst);
                })?;
                for call in [libc::SYS_clone3, libc::SYS_clone] {
                    deny(Call::any(call), libc::EAGAIN);
                }
                lp.call_soon(move || release.send(()).expect("the job waits"))?;
                lp.shutdown_default_executor(None).await;
                assert!(ended.load(Ordering::SeqCst), "the job was not waited for");
                lp.set_exception_handler(None);
                Ok::<_, Error>(())
            })??;
            let reports = reports.borrow();
            assert_eq!(reports.len(), 1, "{reports:?}");
            assert!(reports[0].contains("shutdown_default_executor: starting a thread"), "{reports:?}");
            Ok(())
        })
    }

    /// Only the other direction fails, and what was watched is watched on.
    fn a_watcher_survives_what_cannot_be_added_to_it(backend) {
        alone(move || {
            run(backend, async move {
                let lp = LoopRef::current()?;
                let (near, mut far) = UnixStream::pair().expect("a pair");
                near.set_nonblocking(true).expect("a socket");
                let read = Rc::new(Cell::new(0));
                let (r2, mut reader) = (read.clone(), near.try_clone().expect("a duplicate"));
                lp.add_reader(&near, move || {
                    r2.set(r2.get() + reader.read(&mut [0; 1]).unwrap_or(0));
                })?;
                let change = Call::with(libc::SYS_epoll_ctl, 1, libc::EPOLL_CTL_MOD as u32);
                deny(change, libc::ENOMEM);
                let added = lp.add_writer(&near, || ());
                assert_eq!(added.is_ok(), backend == "uring", "{added:?}");
                for count in 1..10 {
                    far.write_all(b"x").expect("there is room");
                    while read.get() < count {
                        yield_now().await;
                    }
                }
                lp.remove_writer(&near)?;
                assert!(lp.remove_reader(&near)?);
                Ok::<_, Error>(())
            })?
        })
    }

    /// Which of many servers it is.
    fn a_server_that_cannot_begin_is_named(backend) {
        with_denied(Call::any(libc::SYS_listen), libc::EADDRINUSE, move || {
            run(backend, async move {
                let serving = |_, _| async { Ok(()) };
                let path = std::env::temp_dir().join(format!("denied-{backend}"));
                let at = UnixBind::path(&path).start_serving(false);
                let server = start_unix_server(at, serving).await?;
                assert!(format!("{server:?}").contains(&format!("{path:?}")), "{server:?}");
                let error = server.start_serving().await.expect_err("it was refused").to_string();
                let expected = format!("start_serving: listening at {path:?}: ");
                assert!(error.starts_with(&expected), "{error}");
                server.close();
                let error = start_server("127.0.0.1:0", serving).await.expect_err("refused").to_string();
                assert!(error.starts_with("start_serving: listening at 127.0.0.1:"), "{error}");
                Ok(())
            })?
        })
    }

    /// Not what a terminal says whose other side is closed.
    fn a_pipe_that_fails_does_not_end_quietly(backend) {
        alone(move || {
            run(backend, async move {
                let lp = LoopRef::current()?;
                let (reader, mut writer) = std::io::pipe().expect("a pipe");
                writer.write_all(b"never seen").expect("there is room");
                let (tell, told) = mpsc::channel();
                let tell = RefCell::new(Some(tell));
                let number = reader.as_raw_fd() as u32;
                let factory = move || AnyProtocol::plain(Lost(tell.take().expect("it is made once")));
                deny(Call::with(libc::SYS_read, 0, number), libc::EIO);
                let (transport, _) = lp.connect_read_pipe(Rc::new(factory), reader.into()).await?;
                while !transport.is_closing() {
                    yield_now().await;
                }
                yield_now().await;
                let error = told.try_recv().expect("it is lost").expect("and not quietly");
                assert!(error.contains("reading from a pipe"), "{error}");
                Ok(())
            })?
        })
    }
}
