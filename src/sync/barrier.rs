//! `Barrier`: wait until enough tasks have arrived.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use anyloop_api::{Cancellable, Cancelled, Error, Result, clear_waiter, set_waiter};

use crate::sync::wait_list::{Home, Stage, WaitList, polled_too_often};

/// What a waiter is told instead of its index.
const BROKEN: usize = usize::MAX;

/// Lets tasks of one loop go on when so many of them have arrived, again and again. Clones name the same
/// barrier.
///
/// ```
/// use anyloop::{Barrier, Result};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let barrier = Barrier::new(2)?;
///     let theirs = barrier.clone();
///     let other = anyloop::create_task(async move { theirs.wait().await })?;
///     let mine = barrier.wait().await?;
///     assert_eq!(mine + other.await??, 1);
///     Ok(())
/// })?
/// # }
/// ```
#[derive(Clone)]
pub struct Barrier {
    state: Rc<State>,
}

struct State {
    parties: usize,
    /// Released ones who have not left yet; until they have, nobody counts for the next round.
    draining: Cell<usize>,
    /// It was reset or aborted while it drained: whoever has not left fails all the same.
    spoilt: Cell<bool>,
    broken: Cell<bool>,
    waiters: WaitList,
    home: Home,
}

impl Barrier {
    /// For rounds of so many tasks.
    ///
    /// # Errors
    /// `InvalidArg` for zero.
    pub fn new(parties: usize) -> Result<Self> {
        if parties == 0 {
            return Err(Error::invalid_arg("Barrier::new: at least one party is needed"));
        }
        let state = State {
            parties,
            draining: Cell::new(0),
            spoilt: Cell::new(false),
            broken: Cell::new(false),
            waiters: WaitList::default(),
            home: Home::default(),
        };
        Ok(Self { state: Rc::new(state) })
    }

    /// Waits for the others; gives each of a round another index below [`Barrier::parties`], to the last
    /// one to arrive the highest, without suspending it.
    ///
    /// # Errors
    /// `BrokenBarrier` if it is reset while waiting or was aborted; `Usage` if tasks of another loop have
    /// waited before.
    ///
    /// # Cancel safety
    /// Dropping it takes one arrival back; the round still needs its full number.
    pub fn wait(&self) -> BarrierWait {
        BarrierWait { state: self.state.clone(), stage: Stage::New }
    }

    /// Makes those fail who wait now, also if they have been released and have not left; makes a broken
    /// barrier usable. Who came while it drained is not concerned.
    pub fn reset(&self) {
        self.state.broken.set(false);
        if self.state.draining.get() == 0 {
            self.state.waiters.wake_all(BROKEN);
        } else {
            self.state.spoilt.set(true);
        }
    }

    /// Makes everybody fail who waits, now or later, until [`Barrier::reset`].
    pub fn abort(&self) {
        self.state.broken.set(true);
        self.state.spoilt.set(self.state.draining.get() > 0);
        self.state.waiters.wake_all(BROKEN);
    }

    /// How many tasks make a round.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.state.parties
    }

    /// How many have arrived for the round that is being filled; zero while the last one drains.
    #[must_use]
    pub fn n_waiting(&self) -> usize {
        if self.state.draining.get() > 0 { 0 } else { self.state.waiters.waiting() }
    }

    /// Whether it was aborted.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.state.broken.get()
    }
}

impl State {
    /// Lets the first `n` go, with the indices from zero up.
    fn release(&self, n: usize) {
        self.draining.set(n);
        for index in 0..n {
            if !self.waiters.wake_one(index) {
                // What was woken before has made this one leave.
                self.left();
            }
        }
    }

    /// A released one has left: after the last, those who came meanwhile make the next round.
    fn left(&self) {
        self.draining.set(self.draining.get() - 1);
        if self.draining.get() > 0 {
            return;
        }
        self.spoilt.set(false);
        if self.waiters.waiting() >= self.parties {
            self.release(self.parties);
        }
    }
}

impl Cancellable for State {
    /// Nothing ends here: the task drops its wait.
    fn cancel(self: Rc<Self>, _: &Cancelled) -> bool {
        false
    }

    fn describe(&self) -> String {
        "barrier".into()
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.broken(), self.state.draining.get()) {
            (true, _) => "broken",
            (false, 0) => "filling",
            (false, _) => "draining",
        };
        write!(f, "<Barrier {state}, {} of {} waiting>", self.n_waiting(), self.parties())
    }
}

/// The future of [`Barrier::wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct BarrierWait {
    state: Rc<State>,
    stage: Stage,
}

impl BarrierWait {
    fn arrive(&mut self, cx: &Context<'_>) -> Poll<Result<usize>> {
        let state = &self.state;
        if state.broken.get() {
            return Poll::Ready(Err(Error::BrokenBarrier));
        }
        let others = state.parties - 1;
        if state.draining.get() == 0 && state.waiters.waiting() == others {
            state.release(others);
            return Poll::Ready(Ok(others));
        }
        state.home.check("Barrier::wait")?;
        self.stage = Stage::Waiting(state.waiters.enqueue(cx));
        Poll::Pending
    }
}

impl Future for BarrierWait {
    type Output = Result<usize>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<usize>> {
        match self.stage {
            Stage::New => {
                self.stage = Stage::Over;
                if let Poll::Ready(done) = self.arrive(cx) {
                    return Poll::Ready(done);
                }
            }
            Stage::Waiting(key) => {
                if let Some(told) = self.state.waiters.woken_with(key) {
                    self.state.waiters.leave(key);
                    self.stage = Stage::Over;
                    let broken = told == BROKEN || self.state.spoilt.get();
                    if told != BROKEN {
                        self.state.left();
                    }
                    return Poll::Ready(if broken { Err(Error::BrokenBarrier) } else { Ok(told) });
                }
                self.state.waiters.refresh(key, cx);
            }
            Stage::Over => return Poll::Ready(Err(polled_too_often())),
        }
        set_waiter(|| self.state.clone());
        Poll::Pending
    }
}

impl Drop for BarrierWait {
    fn drop(&mut self) {
        if let Stage::Waiting(key) = self.stage {
            clear_waiter(&self.state);
            if self.state.waiters.leave(key).is_some_and(|told| told != BROKEN) {
                self.state.left();
            }
        }
    }
}

impl fmt::Debug for BarrierWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<BarrierWait>")
    }
}
