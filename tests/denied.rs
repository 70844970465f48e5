//! System calls that the kernel refuses, for want of something or by a sandbox. A filter holds for the thread
//! that installs it, so each test has one of its own.
#![cfg(all(target_os = "linux", feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;

use std::net::TcpListener;
use std::thread;

use anyloop::{Command, Result, create_subprocess_exec, fs, open_connection};
use anyloop_core::testing::{Call, with_denied};

use support::run;

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
                    Ok::<_, anyloop::Error>(())
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
                    Ok::<_, anyloop::Error>(())
                })?
            })?;
        }
        Ok(())
    }
}
