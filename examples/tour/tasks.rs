//! Tasks: fair turns, results, and cancellation with a clean-up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyloop::{all_tasks, catch_cancel, create_task, on_cancel, shield, sleep, yield_now};

use crate::Found;

const TASKS: usize = 1000;
const ROUNDS: usize = 10;

pub(crate) async fn run() -> Found {
    let before = all_tasks()?.len();

    // Fairness: nobody is a round ahead of anybody.
    let rounds = Rc::new(RefCell::new(vec![0_usize; TASKS]));
    let unfair = Rc::new(Cell::new(false));
    let mut tasks = Vec::new();
    for number in 0..TASKS {
        let (rounds, unfair) = (rounds.clone(), unfair.clone());
        tasks.push(create_task(async move {
            for _ in 0..ROUNDS {
                let mine = {
                    let mut rounds = rounds.borrow_mut();
                    rounds[number] += 1;
                    rounds[number]
                };
                let other = rounds.borrow()[(number + 1) % TASKS];
                unfair.set(unfair.get() || mine.abs_diff(other) > 1);
                yield_now().await;
            }
            number
        })?);
    }
    let mut sum = 0;
    for task in tasks {
        sum += task.await?;
    }
    if sum != TASKS * (TASKS - 1) / 2 {
        return Err(format!("the results add up to {sum}").into());
    }
    if unfair.get() {
        return Err("a task was a round ahead of another one".into());
    }

    // Cancellation: the clean-up is awaited, then the task ends cancelled.
    let cleaned = Rc::new(Cell::new(false));
    let flag = cleaned.clone();
    let worker = create_task(on_cancel(sleep(Duration::from_secs(3600)), || async move {
        sleep(Duration::from_millis(1)).await;
        flag.set(true);
    }))?;
    yield_now().await;
    worker.cancel();
    if !worker.clone().await.is_err_and(|error| error.is_cancelled()) || !cleaned.get() {
        return Err("a cancelled task did not end as it should".into());
    }

    // A caught cancellation is a value; a shielded task goes on.
    let inner = create_task(async {
        sleep(Duration::from_millis(2)).await;
        "done"
    })?;
    let shielded = inner.clone();
    let outer = create_task(async move { catch_cancel(shield(shielded)).await.is_err() })?;
    yield_now().await;
    outer.cancel();
    if !outer.await? || inner.await? != "done" {
        return Err("a shielded task was cancelled".into());
    }

    match all_tasks()?.len() {
        after if after == before => Ok(format!("{TASKS} tasks took {ROUNDS} fair turns each")),
        after => Err(format!("{} tasks are left over", after - before).into()),
    }
}
