//! [`HyperTimer`]: time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use anyloop_api::{EventLoopExt, LoopInstant, LoopRef, RemoteHandle, Result, TimerHandle};
use hyper::rt::{Sleep, Timer};

/// hyper's clock and timers: those of one loop.
#[derive(Clone)]
pub struct HyperTimer(Arc<Clock>);

/// The loop, and one moment on both clocks.
struct Clock {
    loop_id: u64,
    remote: RemoteHandle,
    instant: Instant,
    time: LoopInstant,
}

impl HyperTimer {
    /// With the timers of `lp`.
    #[must_use]
    pub fn new(lp: &LoopRef) -> Self {
        Self(Arc::new(Clock {
            loop_id: lp.state().id(),
            remote: lp.remote(),
            instant: Instant::now(),
            time: lp.time(),
        }))
    }

    /// With the timers of the running loop.
    ///
    /// # Errors
    /// `Usage` if no loop is running on this thread.
    pub fn current() -> Result<Self> {
        Ok(Self::new(&LoopRef::current()?))
    }
}

impl fmt::Debug for HyperTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HyperTimer").field(&self.0.remote).finish()
    }
}

impl Clock {
    /// The loop, if it is running on this thread.
    fn here(&self) -> Option<LoopRef> {
        LoopRef::current().ok().filter(|lp| lp.state().id() == self.loop_id)
    }

    fn time_of(&self, instant: Instant) -> LoopInstant {
        self.time + instant.saturating_duration_since(self.instant)
    }
}

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(HyperSleep::new(&self.0, self.0.time_of(self.now()) + duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(HyperSleep::new(&self.0, self.0.time_of(deadline)))
    }

    /// By the loop's clock, on its thread; so header time-outs are those of a simulated loop, too.
    fn now(&self) -> Instant {
        match self.0.here() {
            Some(lp) => self.0.instant + lp.time().saturating_duration_since(self.0.time),
            None => Instant::now(),
        }
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, new_deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<HyperSleep>() {
            Some(mine) => mine.0.reset(self.0.time_of(new_deadline)),
            None => *sleep = self.sleep_until(new_deadline),
        }
    }
}

/// A sleep that may be polled and dropped on any thread; its timer is the loop's, and stays there.
struct HyperSleep(Arc<Alarm>);

impl HyperSleep {
    fn new(clock: &Arc<Clock>, when: LoopInstant) -> Self {
        let state = State { when, waker: None, timer: Stage::None, gone: false };
        Self(Arc::new(Alarm { clock: clock.clone(), state: Mutex::new(state) }))
    }
}

struct Alarm {
    clock: Arc<Clock>,
    state: Mutex<State>,
}

struct State {
    when: LoopInstant,
    waker: Option<Waker>,
    timer: Stage,
    /// The sleep was dropped.
    gone: bool,
}

/// How far the timer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nobody has asked yet, or the loop is about to look again.
    #[default]
    None,
    /// Another thread has asked the loop for it.
    Asked,
    /// It is parked in the loop under this number, and comes then, or earlier than the sleep ends.
    Armed(usize, LoopInstant),
    /// The time has come.
    Over,
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On the loop's thread: sees to it that the timer comes no later than the sleep ends.
    fn arm(self: &Arc<Self>, lp: &LoopRef) {
        let when = {
            let state = self.lock();
            match state.timer {
                _ if state.gone => return,
                Stage::Over => return,
                Stage::Armed(_, then) if then <= state.when => return,
                _ => state.when,
            }
        };
        self.disarm(lp);
        let alarm = self.clone();
        // A closed loop drops whoever waits.
        let Ok(timer) = lp.call_at(when, move || alarm.ring()) else { return };
        let key = lp.state().park(Rc::new(timer));
        self.lock().timer = Stage::Armed(key, when);
    }

    fn disarm(&self, lp: &LoopRef) {
        let timer = std::mem::take(&mut self.lock().timer);
        if let Stage::Armed(key, _) = timer
            && let Some(parked) = lp.state().unpark(key)
            && let Ok(timer) = parked.downcast::<TimerHandle>()
        {
            timer.cancel();
        }
    }

    /// The timer came.
    fn ring(self: &Arc<Self>) {
        let Some(lp) = self.clock.here() else { return };
        self.disarm(&lp);
        let waker = {
            let mut state = self.lock();
            // It was put off since; a keep-alive connection does that with every request.
            if state.when > lp.time() {
                None
            } else {
                state.timer = Stage::Over;
                state.waker.take()
            }
        };
        match waker {
            Some(waker) => waker.wake(),
            None => self.arm(&lp),
        }
    }

    /// Does `act` on the loop's thread: at once, if this is it.
    fn on_loop(self: &Arc<Self>, act: impl FnOnce(&Arc<Self>, &LoopRef) + Send + 'static) {
        if let Some(lp) = self.clock.here() {
            act(self, &lp);
            return;
        }
        let alarm = self.clone();
        // Refused by a closed loop, which has no timers.
        let _ = self.clock.remote.call_soon_threadsafe(move || {
            if let Some(lp) = alarm.clock.here() {
                act(&alarm, &lp);
            }
        });
    }

    fn reset(self: &Arc<Self>, when: LoopInstant) {
        let late = {
            let mut state = self.lock();
            state.when = when;
            match state.timer {
                // Armed by the next poll.
                Stage::None => false,
                Stage::Over => {
                    state.timer = Stage::None;
                    false
                }
                // Armed for the time that holds then.
                Stage::Asked => false,
                Stage::Armed(_, then) => then > when,
            }
        };
        if late {
            self.on_loop(Self::arm);
        }
    }
}

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ask = {
            let mut state = self.0.lock();
            if state.timer == Stage::Over {
                return Poll::Ready(());
            }
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            let ask = state.timer == Stage::None;
            if ask {
                state.timer = Stage::Asked;
            }
            ask
        };
        if ask {
            self.0.on_loop(Alarm::arm);
        }
        Poll::Pending
    }
}

impl Drop for HyperSleep {
    fn drop(&mut self) {
        let armed = {
            let mut state = self.0.lock();
            state.gone = true;
            state.waker = None;
            matches!(state.timer, Stage::Armed(..))
        };
        if armed {
            self.0.on_loop(|alarm, lp| alarm.disarm(lp));
        }
    }
}

impl Sleep for HyperSleep {}
