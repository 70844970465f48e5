//! Calls from other threads: each exactly once, in order, promptly.

use std::thread;
use std::time::{Duration, Instant};

use anyloop::{EventLoopExt, create_task, sleep};

use crate::Found;

const THREADS: usize = 4;
const CALLS: usize = 5000;

thread_local! {
    /// What the loop's thread got, per thread: the next number that is to come.
    static NEXT: std::cell::RefCell<[usize; THREADS]> = const { std::cell::RefCell::new([0; THREADS]) };
    static WRONG: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn arrived(thread: usize, call: usize) {
    NEXT.with_borrow_mut(|next| {
        if next[thread] != call {
            WRONG.set(WRONG.get() + 1);
        }
        next[thread] = call + 1;
    });
}

pub(crate) async fn run() -> Found {
    NEXT.set([0; THREADS]);
    WRONG.set(0);
    let lp = anyloop::get_running_loop()?;
    let callers: Vec<_> = (0..THREADS)
        .map(|number| {
            let remote = lp.remote();
            thread::spawn(move || -> anyloop::Result<()> {
                for call in 0..CALLS {
                    remote.call_soon_threadsafe(move || arrived(number, call))?;
                }
                Ok(())
            })
        })
        .collect();

    // A task asked for by another thread; that thread waits for the answer.
    let remote = lp.remote();
    let asker = thread::spawn(move || {
        let started = Instant::now();
        let answer = remote.spawn_with(|| async {
            sleep(Duration::from_millis(1)).await;
            6 * 7
        });
        (answer.and_then(|task| task.wait()), started.elapsed())
    });

    // Blocking work goes to the loop's pool of threads; meanwhile the loop turns.
    let ticker = create_task(async {
        loop {
            sleep(Duration::from_millis(1)).await;
        }
    })?;
    let joined = lp.run_in_executor(None, move || {
        callers.into_iter().map(|caller| caller.join()).all(|outcome| matches!(outcome, Ok(Ok(()))))
    })?;
    if !joined.await? {
        return Err("a call from another thread was refused".into());
    }
    let (answer, took) = lp
        .run_in_executor(None, move || asker.join())?
        .await?
        .map_err(|_| "the asking thread panicked")?;
    ticker.cancel();

    if answer? != 42 {
        return Err("the answer is wrong".into());
    }
    let counts = NEXT.with_borrow(|next| *next);
    if WRONG.get() > 0 || counts != [CALLS; THREADS] {
        return Err(format!("{counts:?} calls arrived, {} out of order", WRONG.get()).into());
    }
    Ok(format!("{} calls in order, an answer after {took:?}", THREADS * CALLS))
}
