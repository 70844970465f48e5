//! Numbers and the files behind them.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use crate::families::prelude::*;
use crate::tools::{pair_with_number, socket_pair};

pub(super) fn numbers_and_objects_are_the_same(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (near, mut far) = socket_pair()?;
    let trace = cx.trace();
    far.write_all(b"x")?;
    let (by_object, by_number) = (trace.clone(), trace.clone());
    lp.add_reader(&near, move || by_object.push("object"))?;
    lp.add_reader(&near.as_raw_fd(), move || by_number.push("number"))?;
    run_once(&lp)?;
    trace.expect(["number"])?;
    ensure!(lp.remove_reader(&near)?, "what was added by number is not found by object");
    ensure!(!lp.remove_reader(&near.as_raw_fd())?, "there are two registrations");
    Ok(())
}

pub(super) fn what_has_no_descriptor_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    ensure_is!(lp.add_reader(&-1, || ()), Err(Error::InvalidArg(_)));
    ensure_is!(lp.add_writer(&-7, || ()), Err(Error::InvalidArg(_)));
    // A number that nobody has.
    let (near, _far) = socket_pair()?;
    let gone = near.as_raw_fd();
    drop(near);
    ensure_is!(lp.add_reader(&gone, || ()), Err(Error::Os(_)));
    ensure!(!lp.remove_reader(&gone)?, "a refused reader is there");
    Ok(())
}

pub(super) fn removed_and_closed_at_once(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let calls = Counter::new();
    for round in 0..100 {
        let (near, mut far) = socket_pair()?;
        let counter = calls.clone();
        lp.add_reader(&near, move || {
            counter.add();
        })?;
        let counter = calls.clone();
        if round % 2 == 0 {
            lp.add_writer(&near, move || {
                counter.add();
            })?;
            ensure!(lp.remove_writer(&near)?, "there was no writer");
        }
        far.write_all(b"x")?;
        ensure!(lp.remove_reader(&near)?, "there was no reader");
        drop(near);
        // Nobody holds the file any more.
        ensure_is!(far.write(b"x"), Err(error) if error.kind() == ErrorKind::BrokenPipe);
        if round % 10 == 0 {
            run_once(&lp)?;
        }
    }
    run_times(&lp, 3)?;
    ensure_eq!(calls.get(), 0, "calls after the removal");
    Ok(())
}

pub(super) fn a_number_used_again_in_the_same_batch(cx: &Context) -> Outcome {
    type Ends = Rc<RefCell<Vec<Option<UnixStream>>>>;
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (near_0, far_0) = socket_pair()?;
    let (near_1, far_1) = socket_pair()?;
    let ends: Ends = Rc::new(RefCell::new(vec![Some(near_0), Some(near_1)]));
    let renewed: Rc<RefCell<Option<(UnixStream, UnixStream)>>> = Rc::default();
    for index in 0..2 {
        let (trace, ends, renewed) = (trace.clone(), ends.clone(), renewed.clone());
        let fd = ends.borrow()[index].as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let weak = lp.downgrade();
        let old = move || {
            trace.push("old");
            let (Some(lp), Some(victim)) = (weak.upgrade(), ends.borrow_mut()[1 - index].take())
            else {
                return;
            };
            let number = victim.as_raw_fd();
            let _ = lp.remove_reader(&victim);
            drop(victim);
            let Ok(pair) = pair_with_number(number, socket_pair) else {
                trace.push("the number is not used again");
                return;
            };
            let trace = trace.clone();
            let _ = lp.add_reader(&pair.0, move || trace.push("new"));
            *renewed.borrow_mut() = Some(pair);
        };
        lp.add_reader(&fd, old)?;
    }
    for mut far in [&far_0, &far_1] {
        far.write_all(b"x")?;
    }
    run_once(&lp)?;
    // One was called, and took the other one's number away before its turn.
    trace.expect(["old"])?;
    for fd in ends.borrow().iter().flatten() {
        ensure!(lp.remove_reader(fd)?, "the first reader is gone");
    }
    run_times(&lp, 3)?;
    trace.expect([])?;
    let renewed = renewed.take().ok_or_else(|| Failure::new("no new pair"))?;
    (&renewed.1).write_all(b"x")?;
    run_once(&lp)?;
    trace.expect(["new"])
}

pub(super) fn a_number_used_again_while_watched(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let (near, mut old_far) = socket_pair()?;
    let number = near.as_raw_fd();
    let old = trace.clone();
    lp.add_reader(&near, move || old.push("old reader"))?;
    run_once(&lp)?;
    // Against the rules: closed without being removed.
    drop(near);
    let (near, mut far) = pair_with_number(number, socket_pair)?;
    let new = trace.clone();
    lp.add_writer(&near, move || new.push("writer"))?;
    far.write_all(b"for the new file")?;
    let _ = old_far.write(b"for the old one");
    run_times(&lp, 2)?;
    // The old reader is not part of the new registration.
    trace.expect(["writer", "writer"])?;
    ensure!(!lp.remove_reader(&near)?, "the old reader is registered for the new file");
    ensure!(lp.remove_writer(&near)?, "there was no writer");
    Ok(())
}

pub(super) fn closing_a_watched_descriptor_is_survived(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let calls = Counter::new();
    let mut fars = Vec::new();
    let mut number = 0;
    for hang_up in [false, true, false, true] {
        let (near, far) = socket_pair()?;
        let counter = calls.clone();
        lp.add_reader(&near, move || {
            counter.add();
        })?;
        run_once(&lp)?;
        number = near.as_raw_fd();
        drop(near);
        // With and without a hang-up that the kernel could tell.
        if !hang_up {
            fars.push(far);
        }
    }
    let before = cpu_time();
    run_for(&lp, ms(200))?;
    let used = cpu_time() - before;
    ensure!(used < ms(100), "the loop spins: {used:?} of processor time in 200 ms");
    ensure!(calls.get() < 10, "{} calls for descriptors that are closed", calls.get());

    let (near, mut far) = pair_with_number(number, socket_pair)?;
    let trace = cx.trace();
    let new = trace.clone();
    lp.add_reader(&near, move || new.push("new"))?;
    far.write_all(b"x")?;
    run_once(&lp)?;
    trace.expect(["new"])
}

pub(super) fn a_regular_file_is_refused(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let file = File::open(std::env::current_exe()?)?;
    let eperm = |error: &Error| error.raw_os_error() == Some(1);
    ensure_is!(lp.add_reader(&file, || ()), Err(error) if eperm(&error));
    ensure_is!(lp.add_writer(&file, || ()), Err(error) if eperm(&error));
    ensure!(!lp.remove_reader(&file)?, "a refused reader is there");
    Ok(())
}
