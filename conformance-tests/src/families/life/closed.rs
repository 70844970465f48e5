//! A loop that is closed.

use crate::families::prelude::*;
use crate::tools::{SIGUSR1, socket_pair};

pub(super) fn scheduling_fails_afterwards(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let remote = lp.remote();
    let (called, freed) = (Counter::new(), Counter::new());
    lp.close()?;
    let callback = || {
        let (called, token) = (called.clone(), freed.token());
        move || {
            token.keep();
            called.add();
        }
    };
    ensure_is!(lp.call_soon(callback()), Err(Error::Closed(_)));
    ensure_is!(lp.call_soon_in(Vars::new(), callback()), Err(Error::Closed(_)));
    ensure_is!(lp.call_later(ms(1), callback()), Err(Error::Closed(_)));
    ensure_is!(lp.call_at(lp.time(), callback()), Err(Error::Closed(_)));
    ensure_is!(remote.call_soon_threadsafe(callback()), Err(Error::Closed(_)));
    ensure_is!(lp.run_in_executor(None, callback()), Err(Error::Closed(_)));
    let coroutine = callback();
    ensure_is!(lp.create_task(async move { coroutine() }), Err(Error::Closed(_)));
    let coroutine = callback();
    ensure_is!(lp.task().eager(true).spawn(async move { coroutine() }), Err(Error::Closed(_)));
    let coroutine = callback();
    ensure_is!(remote.spawn(async move { coroutine() }), Err(Error::Closed(_)));
    ensure_eq!((called.get(), freed.get()), (0, 9), "callbacks called and freed");
    Ok(())
}

pub(super) fn running_fails_afterwards(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (polled, freed) = (Counter::new(), Counter::new());
    let future = lp.create_future::<()>();
    lp.close()?;
    ensure_is!(lp.run_forever(), Err(Error::Closed(_)));
    let (token, count) = (freed.token(), polled.clone());
    let coroutine = async move {
        token.keep();
        count.add();
    };
    ensure_is!(lp.run_until_complete(coroutine), Err(Error::Closed(_)));
    ensure_is!(lp.run_until_done(&future), Err(Error::Closed(_)));
    ensure_eq!((polled.get(), freed.get()), (0, 1), "coroutines polled and freed");
    ensure!(!lp.is_running(), "a closed loop is running");
    Ok(())
}

pub(super) fn watching_fails_afterwards(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = socket_pair()?;
    lp.close()?;
    ensure_is!(lp.add_reader(&near, || ()), Err(Error::Closed(_)));
    ensure_is!(lp.add_writer(&near, || ()), Err(Error::Closed(_)));
    ensure_is!(lp.add_signal_handler(SIGUSR1, || ()), Err(Error::Closed(_)));
    Ok(())
}

pub(super) fn getters_work_afterwards(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(|config| config.debug(true))?;
    let handle = lp.call_soon(|| ())?;
    let timer = lp.call_later(FAR, || ())?;
    let when = timer.when();
    let done = lp.create_future();
    done.set_result(1)?;
    let before = lp.time();
    lp.close()?;
    lp.stop();
    ensure!(lp.is_closed() && !lp.is_running(), "is_closed() or is_running() is wrong");
    ensure!(lp.time() >= before, "time() went back");
    ensure!(lp.get_debug(), "get_debug() forgot that debug mode is on");
    ensure!(!handle.is_pending() && !timer.is_pending(), "something is pending on a closed loop");
    ensure_eq!(timer.when(), when, "the deadline of a timer");
    handle.cancel();
    timer.cancel();
    ensure_eq!(done.result()?, 1, "the value of a future");
    let fresh = lp.create_future();
    fresh.add_done_callback(|_| ());
    fresh.set_result(2)?;
    ensure_eq!(fresh.result()?, 2, "the value of a future made afterwards");
    ensure_eq!(lp.all_tasks().len(), 0, "tasks");
    Ok(())
}

pub(super) fn nothing_is_left_to_remove(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, _far) = socket_pair()?;
    lp.add_reader(&near, || ())?;
    lp.add_writer(&near, || ())?;
    lp.close()?;
    ensure_eq!(lp.remove_reader(&near)?, false, "remove_reader on a closed loop");
    ensure_eq!(lp.remove_writer(&near)?, false, "remove_writer on a closed loop");
    Ok(())
}
