//! What the contract asks of the loop.

use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyloop_api::{
    Direction, Error, EventLoop, EventLoopExt, Handle, Job, LocalBoxFuture, LoopInstant, LoopState,
    RemoteHandle, Report, Result, Runnable, Scheduler, SharedExecutor, TimerHandle,
};

use super::{Entry, TokioLoop};

impl EventLoop for TokioLoop {
    fn state(&self) -> &LoopState {
        &self.state
    }

    fn run_forever(&self) -> Result<()> {
        let guard = self.state.enter_run("run_forever")?;
        if let Some(runtime) = &*self.runtime.borrow() {
            runtime.block_on(self.run());
        }
        self.stopping.set(false);
        // Stops from elsewhere were meant for this run, too (LIFE-06).
        self.inbox.take_stop();
        drop(guard);
        self.state.take_interruption()
    }

    fn stop(&self) {
        self.stopping.set(true);
    }

    fn close(&self) -> Result<()> {
        if self.state.is_running() {
            return Err(Error::usage("close: the event loop is running"));
        }
        if !self.state.is_closed() {
            self.close_now();
        }
        Ok(())
    }

    fn time(&self) -> LoopInstant {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        LoopInstant::from_nanos(0) + ORIGIN.get_or_init(Instant::now).elapsed()
    }

    fn call_soon_handle(&self, handle: Handle) -> Result<()> {
        self.state.check_open("call_soon")?;
        self.ready.borrow_mut().push_back(Entry::Handle(handle));
        Ok(())
    }

    fn call_at_handle(&self, when: LoopInstant, handle: Handle) -> Result<TimerHandle> {
        self.state.check_open("call_at")?;
        Ok(self.timers.insert(when, handle))
    }

    fn schedule(&self, runnable: Runnable) {
        if !self.state.is_closed() {
            self.ready.borrow_mut().push_back(Entry::Task(runnable));
        }
    }

    fn scheduler(&self) -> Arc<dyn Scheduler> {
        self.inbox.clone()
    }

    fn remote(&self) -> RemoteHandle {
        RemoteHandle::new(self.inbox.clone())
    }

    fn execute(&self, executor: Option<SharedExecutor>, job: Job) -> Result<()> {
        self.state.check_open("run_in_executor")?;
        match executor {
            Some(executor) => executor.execute(job),
            None => self.jobs.execute(job),
        }
    }

    fn set_default_executor(&self, executor: SharedExecutor) {
        self.jobs.replace(executor);
    }

    fn shutdown_default_executor(&self, timeout: Option<Duration>) -> LocalBoxFuture<()> {
        let joining = self.jobs.shutdown_and_join(timeout);
        let lp = self.handle();
        Box::pin(async move {
            let begin = lp.time();
            let in_time = |now: LoopInstant| timeout.is_none_or(|timeout| now - begin < timeout);
            while !joining.is_over() && in_time(lp.time()) {
                anyloop_api::sleep(Duration::from_millis(1)).await;
            }
            if !joining.is_over() || joining.has_failed() {
                lp.call_exception_handler(Report::warning(format!(
                    "shutdown_default_executor: workers did not end within {timeout:?}"
                )));
            }
        })
    }

    fn add_reader_fd(&self, fd: RawFd, callback: Box<dyn FnMut()>) -> Result<()> {
        self.watch(fd, Direction::Receive, callback)
    }

    fn remove_reader_fd(&self, fd: RawFd) -> Result<bool> {
        Ok(self.unwatch(fd, Direction::Receive))
    }

    fn add_writer_fd(&self, fd: RawFd, callback: Box<dyn FnMut()>) -> Result<()> {
        self.watch(fd, Direction::Send, callback)
    }

    fn remove_writer_fd(&self, fd: RawFd) -> Result<bool> {
        Ok(self.unwatch(fd, Direction::Send))
    }

    fn add_signal_handler_fn(&self, signal: i32, _: Box<dyn FnMut()>) -> Result<()> {
        self.state.check_open("add_signal_handler")?;
        Err(Error::usage(format!(
            "add_signal_handler: the loop over tokio handles no signals, not {signal} either"
        )))
    }

    fn remove_signal_handler(&self, _: i32) -> Result<bool> {
        Ok(false)
    }
}
