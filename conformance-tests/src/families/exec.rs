//! Executors: blocking functions off the loop's thread.

mod foreign;
mod shutting_down;

use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use anyloop_api::{Executor, Job, LoopConfig};

use self::foreign::*;
use self::shutting_down::*;
use super::prelude::*;

cases! {
    EXEC_01 => a_job_starts_while_the_loop_does_not_run, its_outcome_arrives_on_the_loops_thread,
        an_error_is_an_outcome_too, a_job_wakes_a_sleeping_loop;
    EXEC_02 => the_loop_turns_while_all_workers_are_busy, jobs_queue_in_order,
        as_many_run_as_there_are_workers, a_worker_counts_once;
    EXEC_03 => a_panic_is_the_awaitables_error, the_worker_survives_it;
    EXEC_04 => cancelled_before_the_start_it_never_runs, cancelled_afterwards_it_runs_to_its_end,
        cancelling_the_awaiting_task_cancels_the_job,
        dropped_by_its_executor_it_is_cancelled;
    EXEC_05 => the_default_pool_refuses_after_shutdown, explicit_executors_still_work,
        a_replaced_default_is_used, a_replaced_default_may_come_back;
    EXEC_06 => shutdown_waits_while_the_loop_turns, shutdown_gives_up_in_time_with_a_warning,
        shutdown_runs_what_is_queued, shut_down_though_nobody_waits, no_limit_is_too_long,
        an_executor_that_panics_is_not_waited_for;
    EXEC_07 => workers_share_a_prefix;
    EXEC_08 => no_thread_before_the_first_job;
}

/// As long as a case waits for a thread.
const PATIENCE: Duration = Duration::from_secs(10);

/// A job that waits to be let go, and what tells that it has started.
struct Gate {
    started: Receiver<()>,
    _open: Sender<()>,
}

impl Gate {
    fn new() -> (Self, impl FnOnce() + Send + 'static) {
        let ((tell, started), (open, wait)) = (mpsc::channel(), mpsc::channel::<()>());
        let job = move || {
            let _ = tell.send(());
            // A case that fails lets go of it as well.
            let _ = wait.recv();
        };
        (Self { started, _open: open }, job)
    }

    fn has_started(&self) -> Result<(), RecvTimeoutError> {
        self.started.recv_timeout(PATIENCE)
    }
}

/// Runs each job on a thread of its own.
#[derive(Debug, Default)]
struct Threads {
    executed: Counter,
    shut_down: Counter,
}

impl Executor for Threads {
    fn execute(&self, job: Job) -> anyloop_api::Result<()> {
        self.executed.add();
        thread::Builder::new().spawn(job).map(drop).map_err(|error| Error::os("a thread", error))
    }

    fn shutdown(&self) {
        self.shut_down.add();
    }
}

fn with_workers(count: usize) -> impl FnOnce(LoopConfig) -> LoopConfig {
    move |config| config.executor_threads(count)
}

fn a_job_starts_while_the_loop_does_not_run(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let (tell, told) = mpsc::channel();
    let job = lp.run_in_executor(None, move || tell.send(5))?;
    ensure_eq!(told.recv_timeout(PATIENCE), Ok(5), "what the job says");
    ensure!(!job.done(), "the outcome arrived without the loop");
    lp.run_until_done(&job)??;
    Ok(())
}

fn its_outcome_arrives_on_the_loops_thread(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let trace = cx.trace();
    let home = thread::current().id();
    let job = lp.run_in_executor(None, move || thread::current().id() != home)?;
    let log = trace.clone();
    job.add_done_callback(move |job| {
        let elsewhere = matches!(job.result(), Ok(true));
        let here = thread::current().id() == home;
        log.push(format!("ran elsewhere: {elsewhere}, called back here: {here}"));
    });
    ensure!(lp.run_until_done(&job)?, "the job ran on the loop's thread");
    run_once(&lp)?;
    trace.expect(["ran elsewhere: true, called back here: true"])
}

fn an_error_is_an_outcome_too(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let inner = lp.clone();
    let outcome = lp.run_until_complete(async move {
        inner.run_in_executor(None, || fs::read("/nonexistent/file"))?.await
    })??;
    ensure_is!(outcome, Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    Ok(())
}

fn a_job_wakes_a_sleeping_loop(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let busy = cpu_time();
    let job = lp.run_in_executor(None, || thread::sleep(ms(200)))?;
    lp.run_until_done(&job)?;
    let busy = cpu_time() - busy;
    ensure!(busy < ms(50), "waiting 200 ms for a job took {busy:?} of processor time");
    Ok(())
}

fn the_loop_turns_while_all_workers_are_busy(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(2))?;
    let mut gates = Vec::new();
    let mut jobs = Vec::new();
    // More than there are workers: some have to queue.
    for _ in 0..8 {
        let (gate, job) = Gate::new();
        jobs.push(lp.run_in_executor(None, job)?);
        gates.push(gate);
    }
    gates[0].has_started()?;
    gates[1].has_started()?;
    let begin = Instant::now();
    let timer = Rc::new(Cell::new(None));
    let (theirs, inner) = (timer.clone(), lp.clone());
    lp.call_later(ms(20), move || {
        theirs.set(Some(begin.elapsed()));
        inner.stop();
    })?;
    lp.run_forever()?;
    ensure_is!(timer.get(), Some(took) if took >= ms(20));
    stop_after(&lp, 1000)?;
    lp.run_forever()?;
    ensure!(jobs.iter().all(|job| !job.done()), "a job that has not been let go is done");
    drop(gates);
    jobs.iter().try_for_each(|job| lp.run_until_done(job))?;
    Ok(())
}

fn jobs_queue_in_order(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(1))?;
    let order = Arc::new(Mutex::new(Vec::new()));
    let (gate, first) = Gate::new();
    let first = lp.run_in_executor(None, first)?;
    let mut last = None;
    for number in 0..100 {
        let order = order.clone();
        let job = move || order.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        last = Some(lp.run_in_executor(None, job)?);
    }
    gate.has_started()?;
    drop(gate);
    lp.run_until_done(&first)?;
    last.map_or(Ok(()), |last| lp.run_until_done(&last))?;
    let order = order.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure_eq!(order, (0..100).collect::<Vec<_>>(), "the order in which queued jobs ran");
    Ok(())
}

fn as_many_run_as_there_are_workers(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(3))?;
    let gates: Vec<_> = (0..4).map(|_| Gate::new()).collect();
    let mut jobs = Vec::new();
    let mut held = Vec::new();
    for (gate, job) in gates {
        jobs.push(lp.run_in_executor(None, job)?);
        held.push(gate);
    }
    for gate in &held[..3] {
        gate.has_started()?;
    }
    // No worker is left for it, so it cannot have started, however long we wait.
    ensure_is!(held[3].started.recv_timeout(ms(20)), Err(RecvTimeoutError::Timeout));
    drop(held.remove(0));
    held[2].has_started()?;
    drop(held);
    jobs.iter().try_for_each(|job| lp.run_until_done(job))?;
    Ok(())
}

/// One worker has nothing to do, asleep or not yet: two jobs find more than that one.
fn a_worker_counts_once(cx: &Context) -> Outcome {
    for round in 0..40 {
        let lp = cx.new_loop_with(with_workers(2))?;
        let (tell, told) = mpsc::channel();
        let first = lp.run_in_executor(None, move || tell.send(()).is_ok())?;
        told.recv_timeout(PATIENCE)?;
        if round % 2 == 1 {
            lp.run_until_done(&first)?;
            run_for(&lp, ms(2))?;
        }
        let (one, job) = Gate::new();
        let one_runs = lp.run_in_executor(None, job)?;
        let (two, job) = Gate::new();
        let two_runs = lp.run_in_executor(None, job)?;
        one.has_started()?;
        two.has_started()?;
        drop((one, two));
        lp.run_until_done(&one_runs)?;
        lp.run_until_done(&two_runs)?;
    }
    Ok(())
}

fn a_panic_is_the_awaitables_error(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let job = lp.run_in_executor(None, || panic!("in the job"))?;
    let outcome: Result<(), _> = lp.run_until_done(&job);
    ensure_is!(outcome, Err(Error::Panicked(panic)) if panic.message() == "in the job");
    drop(job);
    run_times(&lp, 2)?;
    reports.none()
}

fn the_worker_survives_it(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(1))?;
    let reports = Reports::of(&lp);
    let panics: Vec<LoopFuture<()>> = (0..5)
        .map(|_| lp.run_in_executor(None, || panic!("in the job")))
        .collect::<Result<_, _>>()?;
    let next = lp.run_in_executor(None, || 7)?;
    ensure_eq!(lp.run_until_done(&next)?, 7, "the job after those that panicked");
    for job in panics {
        // Done by now, if one worker has run them in their order; that is another clause.
        ensure_is!(lp.run_until_done(&job), Err(Error::Panicked(_)));
    }
    reports.none()
}

fn cancelled_before_the_start_it_never_runs(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(1))?;
    let (gate, first) = Gate::new();
    let first = lp.run_in_executor(None, first)?;
    gate.has_started()?;
    let (ran, freed) = (Counter::new(), Counter::new());
    let (adder, token) = (ran.adder(), freed.token());
    let second = lp.run_in_executor(None, move || {
        token.keep();
        adder();
    })?;
    ensure!(second.cancel(), "a queued job cannot be cancelled");
    run_times(&lp, 2)?;
    ensure_eq!(freed.get(), 1, "cancelled jobs freed while the worker is busy");
    drop(gate);
    lp.run_until_done(&first)?;
    let third = lp.run_in_executor(None, || ())?;
    lp.run_until_done(&third)?;
    ensure_eq!(ran.get(), 0, "runs of the cancelled job");
    ensure_is!(second.take_result(), Err(Error::Cancelled(_)));
    Ok(())
}

fn cancelled_afterwards_it_runs_to_its_end(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    let (tell, told) = mpsc::channel();
    let (gate, wait) = Gate::new();
    let job = lp.run_in_executor(None, move || {
        wait();
        let _ = tell.send(());
        panic!("unobserved");
    })?;
    gate.has_started()?;
    ensure!(job.cancel(), "a running job cannot be cancelled");
    ensure_is!(lp.run_until_done::<LoopFuture<()>>(&job), Err(Error::Cancelled(_)));
    drop(gate);
    ensure_eq!(told.recv_timeout(PATIENCE), Ok(()), "the end of the job");
    // Its outcome may arrive now, and finds nobody.
    run_for(&lp, ms(20))?;
    ensure!(job.cancelled(), "the outcome of a cancelled job changed");
    reports.none()
}

fn cancelling_the_awaiting_task_cancels_the_job(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(1))?;
    let (gate, first) = Gate::new();
    let first = lp.run_in_executor(None, first)?;
    gate.has_started()?;
    let ran = Counter::new();
    let job = lp.run_in_executor(None, ran.adder())?;
    let awaited = job.clone();
    let task = lp.create_task(awaited)?;
    run_times(&lp, 2)?;
    task.cancel();
    ensure_is!(lp.run_until_done(&task), Err(Error::Cancelled(_)));
    ensure!(job.cancelled(), "the job is not cancelled");
    drop(gate);
    lp.run_until_done(&first)?;
    let last = lp.run_in_executor(None, || ())?;
    lp.run_until_done(&last)?;
    ensure_eq!(ran.get(), 0, "runs of the cancelled job");
    Ok(())
}

fn no_limit_is_too_long(cx: &Context) -> Outcome {
    let lp = cx.new_loop()?;
    let reports = Reports::of(&lp);
    lp.run_until_done(&lp.run_in_executor(None, || ())?)?;
    lp.run_until_complete(lp.shutdown_default_executor(Some(Duration::MAX)))?;
    reports.none()
}

fn workers_share_a_prefix(cx: &Context) -> Outcome {
    let lp = cx.new_loop_with(with_workers(2))?;
    let (tell, told) = mpsc::channel();
    let mut jobs = Vec::new();
    let mut gates = Vec::new();
    for _ in 0..2 {
        let (gate, wait) = Gate::new();
        let tell = tell.clone();
        jobs.push(lp.run_in_executor(None, move || {
            let _ = tell.send(thread::current().name().map(str::to_owned));
            wait();
        })?);
        gates.push(gate);
    }
    let names = [told.recv_timeout(PATIENCE)?, told.recv_timeout(PATIENCE)?];
    drop(gates);
    jobs.iter().try_for_each(|job| lp.run_until_done(job))?;
    let [Some(one), Some(two)] = names else {
        return Err(Failure::new(format!("a worker has no name: {names:?}")));
    };
    ensure!(one != two, "two workers are both called {one:?}");
    let common = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b).count();
    ensure!(common >= 4, "{one:?} and {two:?} have nothing in common");
    Ok(())
}

fn no_thread_before_the_first_job(cx: &Context) -> Outcome {
    let count = || {
        let entries = fs::read_dir("/proc/self/task")
            .map_err(|error| Failure::skip(format!("threads cannot be counted: {error}")))?;
        Ok::<_, Failure>(entries.count())
    };
    let before = count()?;
    let lp = cx.new_loop()?;
    lp.run_until_complete(yield_now())?;
    ensure_eq!(count()?, before, "threads of a loop without jobs");
    let (gate, wait) = Gate::new();
    let job = lp.run_in_executor(None, wait)?;
    gate.has_started()?;
    ensure!(count()? > before, "the job runs, but not in a thread of its own");
    drop(gate);
    lp.run_until_done(&job)?;
    lp.close()?;
    wait_until("the workers to end", || count().is_ok_and(|now| now == before))
}
