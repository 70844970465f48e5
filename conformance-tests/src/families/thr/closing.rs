//! Calls from other threads while the loop closes, and afterwards.

use std::io::Read;

use crate::families::prelude::*;
use crate::tools::socket_pair;

pub(super) fn refused_after_close(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let (called, freed) = (Counter::new(), Counter::new());
    lp.close()?;
    ensure!(remote.is_closed(), "the remote handle does not say that the loop is closed");
    let thread = {
        let (called, freed) = (called.clone(), freed.clone());
        thread::spawn(move || {
            let token = freed.token();
            let call = remote.call_soon_threadsafe(move || {
                token.keep();
                called.add();
            });
            remote.stop();
            match call {
                // Dropping the call silently is allowed too.
                Ok(_) | Err(Error::Closed(_)) => Ok(()),
                Err(other) => Err(other),
            }
        })
    };
    join(thread)??;
    ensure_eq!(called.get(), 0, "calls that ran on a closed loop");
    ensure_eq!(freed.get(), 1, "closures freed by the closed loop");
    Ok(())
}

/// What a loop drops is posted to it again, as by a pool that wants its things back.
struct Posted {
    remote: RemoteHandle,
    dropped: Counter,
}

impl Posted {
    fn post(self) -> Result<(), Error> {
        let call = self.remote.clone();
        call.call_soon_threadsafe(move || drop(self)).map(drop)
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        // A loop that takes calls while it closes would never be done with them.
        if self.dropped.add() < 1000 && !self.remote.is_closed() {
            let again = Self { remote: self.remote.clone(), dropped: self.dropped.clone() };
            drop(again.post());
        }
    }
}

pub(super) fn refused_while_it_closes(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let dropped = Counter::new();
    for _ in 0..2 {
        Posted { remote: lp.remote(), dropped: dropped.clone() }.post()?;
    }
    lp.close()?;
    ensure_eq!(dropped.get(), 2, "calls that were dropped");
    Ok(())
}

pub(super) fn close_may_race_with_callers(cx: &Context) -> Outcome {
    for _ in 0..20 {
        let lp = cx.new_loop()?;
        let (made, freed) = (Counter::new(), Counter::new());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (remote, made, freed) = (lp.remote(), made.clone(), freed.clone());
                thread::spawn(move || {
                    while !remote.is_closed() {
                        made.add();
                        let token = freed.token();
                        match remote.call_soon_threadsafe(move || token.keep()) {
                            Ok(_) | Err(Error::Closed(_)) => thread::yield_now(),
                            Err(other) => return Err(other),
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        wait_until("the first calls", || made.get() > 10)?;
        run_once(&lp)?;
        lp.close()?;
        for thread in threads {
            join(thread)??;
        }
        ensure_eq!(freed.get(), made.get(), "closures freed, of those that were made");
    }
    Ok(())
}

pub(super) fn no_recycled_descriptor_is_written_to(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    run_once(&lp)?;
    lp.close()?;
    // These get the numbers that the loop has given back.
    let pairs = (0..16).map(|_| socket_pair()).collect::<Result<Vec<_>, _>>()?;
    let thread = thread::spawn(move || {
        for _ in 0..100 {
            let _ = remote.call_soon_threadsafe(|| ());
            remote.stop();
        }
    });
    join(thread)?;
    for (mut left, mut right) in pairs {
        for end in [&mut left, &mut right] {
            let mut byte = [0; 8];
            let read = end.read(&mut byte);
            ensure!(
                matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
                "a socket that has a number of the loop's got bytes: {read:?} {byte:?}"
            );
        }
    }
    Ok(())
}
