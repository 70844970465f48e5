//! Asynchronous generators: streams written as async blocks that emit.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread::panicking;

use anyloop_api::{
    Error, EventLoopExt, LocalBoxFuture, LoopRef, Panic, Result, WeakLoop, catch_panic,
    uncancellable,
};
use futures_core::Stream;

/// Makes a stream of what `body` emits. Python's `async def` with `yield`.
///
/// The body runs inside the consumer's task, only as far as the next value that is asked for. A generator
/// that is dropped half-way drops its body at once. Clean-up that has to await is registered with
/// [`Emitter::finally`]: it runs when the body ends, in [`Generator::aclose`], soon after a drop, or at the
/// latest in [`shutdown_asyncgens`](EventLoopExt::shutdown_asyncgens), which also ends generators that are
/// not finished, and is part of [`run`](crate::run()).
///
/// Do not emit inside a cancellation scope (a timeout, a task group, [`catch_cancel`](crate::catch_cancel)):
/// between two values the consumer runs, and the scope would catch what is meant for it.
///
/// # Cancel safety
/// Dropping a `next` loses no value. A cancellation or timeout of the `next` cancels the future, task or
/// operation that the body awaits, as anywhere else; the body sees that when it goes on. A sleep goes on.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use anyloop::{Result, generator, sleep};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let mut ticks = generator(|out| async move {
///         for tick in 1.. {
///             sleep(Duration::from_millis(1)).await;
///             out.emit(tick).await;
///         }
///     });
///     assert_eq!(ticks.next().await, Some(1));
///     assert_eq!(ticks.next().await, Some(2));
/// })
/// # }
/// ```
pub fn generator<T, B, F>(body: B) -> Generator<T>
where
    T: 'static,
    B: FnOnce(Emitter<T>) -> F,
    F: Future<Output = ()> + 'static,
{
    let shared = Rc::new(Shared {
        slot: Cell::new(None),
        emitting: RefCell::default(),
        tail: Rc::default(),
    });
    let body = body(Emitter { shared: shared.clone() });
    let tail = shared.tail.clone();
    let whole = async move {
        body.await;
        tail.run_reporting().await;
    };
    let state =
        State { body: RefCell::new(Some(Box::pin(whole))), stopped: Cell::new(false), shared };
    Generator { state: Rc::new(state) }
}

/// [`generator`] for a body that may fail: it emits values, and an `Err` that it returns is the last item.
///
/// # Cancel safety
/// As [`generator`].
///
/// # Examples
/// ```
/// use anyloop::{Error, Result, try_generator};
/// # fn main() -> Result<()> {
/// anyloop::run(async {
///     let numbers = try_generator(|out| async move {
///         for text in ["1", "2", "three"] {
///             out.emit(Ok(text.parse::<u8>().map_err(Error::from_user)?)).await;
///         }
///         Ok(())
///     });
///     let numbers: Vec<Result<u8>> = numbers.collect().await;
///     assert!(matches!(&numbers[..], [Ok(1), Ok(2), Err(_)]));
/// })
/// # }
/// ```
pub fn try_generator<T, B, F>(body: B) -> Generator<Result<T>>
where
    T: 'static,
    B: FnOnce(Emitter<Result<T>>) -> F,
    F: Future<Output = Result<()>> + 'static,
{
    generator(|out| {
        let last = Emitter { shared: out.shared.clone() };
        let body = body(out);
        async move {
            if let Err(error) = body.await {
                last.emit(Err(error)).await;
            }
        }
    })
}

/// The stream of [`generator`].
#[must_use = "streams do nothing unless polled"]
pub struct Generator<T: 'static> {
    state: Rc<State<T>>,
}

struct State<T> {
    /// Gone when it has ended; taken while it is polled.
    body: RefCell<Option<LocalBoxFuture<()>>>,
    /// It was closed, perhaps while it was being polled.
    stopped: Cell<bool>,
    shared: Rc<Shared<T>>,
}

/// What the body and its consumer share.
struct Shared<T> {
    slot: Cell<Option<T>>,
    /// The wakers of those that wait for the next value to be asked for.
    emitting: RefCell<Vec<Waker>>,
    tail: Rc<Tail>,
}

impl<T> Shared<T> {
    /// The next value is asked for. Branches inside the body may have wakers of their own, and are polled
    /// only when these are called.
    fn ask(&self, cx: &Context<'_>) {
        let mut emitting = self.emitting.take();
        emitting.drain(..).filter(|waker| !waker.will_wake(cx.waker())).for_each(Waker::wake);
        // Its memory is for those to come.
        emitting.append(&mut self.emitting.borrow_mut());
        self.emitting.replace(emitting);
    }
}

type CleanUp = Box<dyn FnOnce() -> LocalBoxFuture<Result<()>>>;

/// What has to be awaited after the body.
#[derive(Default)]
struct Tail {
    clean_ups: RefCell<Vec<CleanUp>>,
    /// The loop that iterates the generator, and the finaliser it keeps for it.
    registered: RefCell<Option<(WeakLoop, usize)>>,
}

impl<T: 'static> Generator<T> {
    /// The next value; `None` when the body has ended.
    ///
    /// # Cancel safety
    /// Dropping it loses no value: the body goes on from where it was.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// All values from now on.
    ///
    /// # Cancel safety
    /// Dropping it drops the generator, and the values collected so far.
    pub async fn collect<C: Default + Extend<T>>(mut self) -> C {
        let mut all = C::default();
        while let Some(value) = self.next().await {
            all.extend([value]);
        }
        all
    }

    /// Ends the body where it is, and awaits its clean-up.
    ///
    /// # Errors
    /// The first one of the clean-up; others are reported.
    ///
    /// # Cancel safety
    /// A clean-up that has begun runs to its end; a cancellation arrives after it.
    pub async fn aclose(self) -> Result<()> {
        self.state.stop();
        self.state.shared.tail.run().await
    }
}

impl<T: 'static> Stream for Generator<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let state = &self.state;
        let taken = state.body.borrow_mut().take();
        let Some(mut body) = taken else { return Poll::Ready(None) };
        state.register();
        state.shared.ask(cx);
        let ended = body.as_mut().poll(cx).is_ready();
        if ended || state.stopped.get() {
            drop(body);
        } else {
            *state.body.borrow_mut() = Some(body);
        }
        let value = state.shared.slot.take();
        if ended {
            state.shared.tail.unregister();
        }
        match value {
            Some(value) => Poll::Ready(Some(value)),
            None if ended || state.stopped.get() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl<T: 'static> State<T> {
    /// The first iteration decides to which loop it belongs.
    fn register(self: &Rc<Self>) {
        let mut registered = self.shared.tail.registered.borrow_mut();
        if registered.is_some() {
            return;
        }
        let Ok(lp) = LoopRef::current() else { return };
        let (weak, tail) = (Rc::downgrade(self), self.shared.tail.clone());
        let key = lp.state().add_finaliser(move || {
            let stop = || weak.upgrade().into_iter().for_each(|state| state.stop());
            let stopped = Panic::catch(stop);
            // The loop has forgotten it by now.
            tail.registered.take();
            Box::pin(async move {
                if let Err(panic) = stopped {
                    report(panic.into());
                }
                tail.run().await
            })
        });
        *registered = Some((lp.downgrade(), key));
    }

    /// Drops the body; its destructors run.
    fn stop(&self) {
        self.stopped.set(true);
        let body = self.body.borrow_mut().take();
        drop(body);
    }
}

impl Tail {
    /// Awaits every clean-up, the newest first.
    async fn run(&self) -> Result<()> {
        let mut outcome = Ok(());
        loop {
            let next = self.clean_ups.borrow_mut().pop();
            let Some(clean_up) = next else { break };
            let result = uncancellable(caught(clean_up)).await;
            match (result, &outcome) {
                (Err(error), Ok(())) => outcome = Err(error),
                (Err(error), Err(_)) => report(error),
                (Ok(()), _) => {}
            }
        }
        self.unregister();
        outcome
    }

    async fn run_reporting(&self) {
        if let Err(error) = self.run().await {
            report(error);
        }
    }

    fn unregister(&self) {
        if let Some((lp, key)) = self.registered.take()
            && let Some(lp) = lp.upgrade()
        {
            lp.state().remove_finaliser(key);
        }
    }

    /// The generator was dropped: its loop awaits the rest. Should the task be cancelled before it has
    /// begun, `shutdown_asyncgens` does it.
    fn schedule(self: &Rc<Self>) {
        if self.clean_ups.borrow().is_empty() {
            self.unregister();
            return;
        }
        let home = self.registered.borrow().as_ref().and_then(|(lp, _)| lp.upgrade());
        let Some(lp) = home else { return };
        let tail = self.clone();
        // A closed loop awaits nothing any more.
        let _ = lp.create_task(async move { tail.run_reporting().await });
    }
}

/// Runs a clean-up; a panic is its error, and costs nobody else the turn.
async fn caught(clean_up: CleanUp) -> Result<()> {
    let ended = catch_panic(async move { clean_up().await }).await;
    ended.unwrap_or_else(|payload| Err(Panic::new(payload).into()))
}

fn report(error: Error) {
    if let Ok(lp) = LoopRef::current() {
        lp.report_failure("finalising an asynchronous generator failed", error);
    }
}

impl<T: 'static> Drop for Generator<T> {
    fn drop(&mut self) {
        // A destructor in the body may panic, which is the dropper's; the clean-up has its turn all the same.
        let stopped = catch_unwind(AssertUnwindSafe(|| self.state.stop()));
        self.state.shared.tail.schedule();
        match stopped {
            Ok(()) => {}
            // A second one would end the process.
            Err(payload) if panicking() => report(Panic::new(payload).into()),
            Err(payload) => resume_unwind(payload),
        }
    }
}

impl<T: 'static> fmt::Debug for Generator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = self.state.body.try_borrow().is_ok_and(|body| body.is_none());
        f.write_str(if ended { "<Generator ended>" } else { "<Generator>" })
    }
}

/// What the body of a [`generator`] emits with.
pub struct Emitter<T: 'static> {
    shared: Rc<Shared<T>>,
}

impl<T: 'static> Emitter<T> {
    /// Gives a value to the consumer, and goes on when the next one is asked for. Python's `yield`.
    ///
    /// # Cancel safety
    /// A value that was not taken over is dropped with the future.
    pub fn emit(&self, value: T) -> Emit<'_, T> {
        Emit { shared: &self.shared, value: Some(value) }
    }

    /// Registers something to be awaited when the generator ends, in whatever way; the newest first.
    /// Python's `finally` with awaits. Errors are reported, or returned by [`Generator::aclose`].
    pub fn finally<F>(&self, clean_up: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.shared.tail.clean_ups.borrow_mut().push(Box::new(|| Box::pin(clean_up())));
    }
}

impl<T: 'static> fmt::Debug for Emitter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Emitter>")
    }
}

/// The future of [`Emitter::emit`].
#[must_use = "nothing is emitted unless this is awaited"]
pub struct Emit<'a, T: 'static> {
    shared: &'a Shared<T>,
    value: Option<T>,
}

// The value is only moved, never pinned.
impl<T: 'static> Unpin for Emit<'_, T> {}

impl<T: 'static> Future for Emit<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(value) = self.value.take() else {
            // Polled again because the next value is asked for.
            return Poll::Ready(());
        };
        // Two branches of the body emit at once: one after the other.
        match self.shared.slot.take() {
            None => self.shared.slot.set(Some(value)),
            first => {
                self.shared.slot.set(first);
                self.value = Some(value);
            }
        }
        self.shared.emitting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }
}

impl<T: 'static> fmt::Debug for Emit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.value.is_some() { "<Emit>" } else { "<Emit handed over>" })
    }
}
