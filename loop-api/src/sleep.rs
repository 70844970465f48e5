//! `sleep`: a task waits for a timer, at the cost of one allocation.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as PollContext, Poll, Waker};
use std::time::Duration;

use crate::cancellable::{self, Cancellable};
use crate::delivery;
use crate::error::Cancelled;
use crate::handle::{Handle, HandleCell, Slot, State};
use crate::instant::LoopInstant;
use crate::loop_ref::LoopRef;
use crate::timer_handle::TimerKey;

/// Suspends the task for `delay`, counted from the first poll; zero yields once and makes no timer
/// (COMB-30, COMB-31).
///
/// # Panics
/// When polled outside a running loop, to begin or because its loop was closed.
///
/// # Cancel safety
/// Dropping it, or cancelling the task, cancels the timer at once. Who keeps it after a cancellation (of a
/// timeout around it) and polls it again waits for the rest of the time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// async fn tick() {
///     loop {
///         println!("tick");
///         anyloop_api::sleep(Duration::from_secs(1)).await;
///     }
/// }
/// ```
#[track_caller]
pub fn sleep(delay: Duration) -> Sleep {
    Sleep { stage: Stage::For(delay), created: Location::caller() }
}

/// Suspends the task until the loop's clock has reached `when`; the past yields once.
///
/// # Panics
/// When polled outside a running loop.
///
/// # Cancel safety
/// Dropping it, or cancelling the task, cancels the timer at once.
#[track_caller]
pub fn sleep_until(when: LoopInstant) -> Sleep {
    Sleep { stage: Stage::Until(when), created: Location::caller() }
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    stage: Stage,
    /// For dumps of timers.
    created: &'static Location<'static>,
}

enum Stage {
    For(Duration),
    Until(LoopInstant),
    Yielded,
    Waiting(Rc<HandleCell<Alarm>>),
    Over,
}

impl Sleep {
    fn start(&mut self, cx: &PollContext<'_>, lp: &LoopRef, when: Option<LoopInstant>) {
        let Some(when) = when else {
            cx.waker().wake_by_ref();
            self.stage = Stage::Yielded;
            return;
        };
        let waker = cx.waker().clone();
        let cell = HandleCell::new(self.created, || Alarm {
            waker: Cell::new(Some(waker)),
            timer: TimerKey::default(),
            when: Cell::new(when),
        });
        // A closed loop is about to drop this task.
        lp.start_timer(when, Handle::from_cell(cell.clone()), &cell.slot.timer);
        cancellable::set_waiter(|| cell.clone());
        self.stage = Stage::Waiting(cell);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut PollContext<'_>) -> Poll<()> {
        let created = self.created;
        let current = || current(created);
        match &self.stage {
            &Stage::For(delay) => {
                let lp = current();
                let when = (!delay.is_zero()).then(|| lp.time() + delay);
                self.start(cx, &lp, when);
                Poll::Pending
            }
            &Stage::Until(when) => {
                let lp = current();
                let when = (when > lp.time()).then_some(when);
                self.start(cx, &lp, when);
                Poll::Pending
            }
            Stage::Waiting(cell) => match cell.head.state.get() {
                State::Pending => {
                    cell.slot.refresh(cx.waker());
                    cancellable::set_waiter(|| cell.clone());
                    Poll::Pending
                }
                State::Cancelled => {
                    if !delivery::deliver_if_own(&Cancelled::new(), Rc::as_ptr(cell).cast()) {
                        // The request was served while somebody kept this, or was taken back.
                        let (lp, when) = (current(), cell.slot.when.get());
                        let when = (when > lp.time()).then_some(when);
                        self.start(cx, &lp, when);
                    }
                    Poll::Pending
                }
                State::Done => {
                    self.stage = Stage::Over;
                    Poll::Ready(())
                }
            },
            Stage::Yielded => {
                self.stage = Stage::Over;
                Poll::Ready(())
            }
            Stage::Over => Poll::Ready(()),
        }
    }
}

fn current(created: &'static Location<'static>) -> LoopRef {
    LoopRef::current().unwrap_or_else(|error| panic!("a sleep created at {created}: {error}"))
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Stage::Waiting(cell) = &self.stage {
            cell.disarm();
            cancellable::clear_waiter(cell);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.stage {
            Stage::For(_) | Stage::Until(_) => "<Sleep not started>",
            Stage::Yielded => "<Sleep yielded>",
            Stage::Waiting(_) => "<Sleep waiting>",
            Stage::Over => "<Sleep over>",
        })
    }
}

/// The callback of a sleep's timer: wakes the task. It lives in the allocation of the handle, which
/// is also what the task registers as its waiter.
struct Alarm {
    waker: Cell<Option<Waker>>,
    timer: TimerKey,
    /// The deadline.
    when: Cell<LoopInstant>,
}

impl Alarm {
    fn refresh(&self, waker: &Waker) {
        let mine = self.waker.take();
        self.waker.set(Some(match mine {
            Some(mine) if mine.will_wake(waker) => mine,
            _ => waker.clone(),
        }));
    }
}

impl Slot for Alarm {
    fn call(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The loop closes: who waits elsewhere is to see that.
    fn clear(&self) {
        self.call();
    }
}

impl HandleCell<Alarm> {
    /// Cancels the timer, if it is pending. Says whether it was.
    fn disarm(&self) -> bool {
        if self.head.state.get() != State::Pending {
            return false;
        }
        self.head.state.set(State::Cancelled);
        drop(self.slot.waker.take());
        self.slot.timer.cancel();
        true
    }
}

impl Cancellable for HandleCell<Alarm> {
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        let waker = self.slot.waker.take();
        let pending = self.disarm();
        if let Some(waker) = waker {
            waker.wake();
        }
        pending
    }

    fn cancelled(&self) -> bool {
        self.head.state.get() == State::Cancelled
    }

    fn describe(&self) -> String {
        "sleep".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a sleep created at ")]
    fn outside_a_loop_it_says_which_one() {
        let mut sleeping = std::pin::pin!(sleep(Duration::ZERO));
        let _ = sleeping.as_mut().poll(&mut PollContext::from_waker(Waker::noop()));
    }
}
