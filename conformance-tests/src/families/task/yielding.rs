//! Giving way.

use anyloop_api::sleep;

use crate::families::prelude::*;

pub(super) fn a_bare_yield_goes_to_the_end(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    for kind in ["yield_now", "sleep(0)"] {
        let (log, inner) = (trace.clone(), lp.clone());
        lp.create_task(async move {
            log.push("before");
            let _ = inner.call_soon(log.pusher("queued by the step"));
            if kind == "yield_now" {
                yield_now().await;
            } else {
                sleep(Duration::ZERO).await;
            }
            log.push("after");
        })?;
        lp.call_soon(trace.pusher("queued before"))?;
        run_once(&lp)?;
        trace.expect(["before", "queued before"])?;
        run_once(&lp)?;
        trace.expect(["queued by the step", "after"])?;
    }
    Ok(())
}

pub(super) fn yielding_tasks_stay_together(cx: &Context) -> Outcome {
    const TASKS: usize = 10;
    const ROUNDS: usize = 200;
    let lp = cx.new_loop()?;
    let rounds = Rc::new(RefCell::new([0; TASKS]));
    let furthest = Rc::new(Cell::new(0));
    for number in 0..TASKS {
        let (rounds, furthest) = (rounds.clone(), furthest.clone());
        lp.create_task(async move {
            for _ in 0..ROUNDS {
                rounds.borrow_mut()[number] += 1;
                let now = *rounds.borrow();
                let apart = now.iter().max().unwrap_or(&0) - now.iter().min().unwrap_or(&0);
                furthest.set(furthest.get().max(apart));
                if number % 2 == 0 {
                    yield_now().await;
                } else {
                    sleep(Duration::ZERO).await;
                }
            }
        })?;
    }
    run_times(&lp, ROUNDS + 1)?;
    ensure_eq!(*rounds.borrow(), [ROUNDS; TASKS], "rounds of each task");
    ensure_eq!(furthest.get(), 1, "rounds between the first and the last");
    Ok(())
}
