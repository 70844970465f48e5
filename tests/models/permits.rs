//! Locks and semaphores: a counter, and a line of those who wait.

use std::cell::Cell;
use std::rc::Rc;

use anyloop::{BoundedSemaphore, Lock, Result, Semaphore, yield_now};
use fastrand::Rng;

use super::{Verdict, Waiter, settle};

#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A task begins to acquire.
    Acquire,
    /// Whoever plays the script takes one without waiting, if that is possible.
    Try,
    Release,
    /// Of some task that ever acquired.
    Cancel(u8),
    /// Its time is over.
    Expire(u8),
    /// So many iterations pass.
    Pause(u8),
    /// Everything settles, and is compared with the model.
    Compare,
}

pub(crate) fn action(rng: &mut Rng) -> Action {
    match rng.u8(..16) {
        0..=3 => Action::Acquire,
        4 => Action::Try,
        5..=8 => Action::Release,
        9..=10 => Action::Cancel(rng.u8(..32)),
        11 => Action::Expire(rng.u8(..32)),
        12..=14 => Action::Pause(rng.u8(..3)),
        _ => Action::Compare,
    }
}

#[derive(Clone)]
pub(crate) struct Primitive {
    kind: Kind,
    permits: usize,
}

#[derive(Clone)]
enum Kind {
    Lock(Lock),
    Semaphore(Semaphore),
    Bounded(BoundedSemaphore),
}

impl Primitive {
    pub(crate) fn lock() -> Self {
        Self { kind: Kind::Lock(Lock::new()), permits: 1 }
    }

    pub(crate) fn semaphore(permits: usize) -> Self {
        Self { kind: Kind::Semaphore(Semaphore::new(permits)), permits }
    }

    pub(crate) fn bounded(permits: usize) -> Self {
        Self { kind: Kind::Bounded(BoundedSemaphore::new(permits)), permits }
    }

    async fn acquire(&self) -> Result<()> {
        match &self.kind {
            Kind::Lock(lock) => lock.acquire().await,
            Kind::Semaphore(semaphore) => semaphore.acquire().await,
            Kind::Bounded(semaphore) => semaphore.acquire().await,
        }
    }

    fn try_acquire(&self) -> bool {
        match &self.kind {
            Kind::Lock(lock) => lock.try_lock().map(std::mem::forget).is_some(),
            Kind::Semaphore(semaphore) => semaphore.try_permit().map(std::mem::forget).is_some(),
            Kind::Bounded(semaphore) => semaphore.try_permit().map(std::mem::forget).is_some(),
        }
    }

    fn release(&self) -> bool {
        match &self.kind {
            Kind::Lock(lock) => lock.release().is_ok(),
            Kind::Semaphore(semaphore) => semaphore.release().is_ok(),
            Kind::Bounded(semaphore) => semaphore.release().is_ok(),
        }
    }

    fn waiters(&self) -> usize {
        match &self.kind {
            Kind::Lock(lock) => lock.waiters(),
            Kind::Semaphore(semaphore) => semaphore.waiters(),
            Kind::Bounded(semaphore) => semaphore.waiters(),
        }
    }

    fn locked(&self) -> bool {
        match &self.kind {
            Kind::Lock(lock) => lock.locked(),
            Kind::Semaphore(semaphore) => semaphore.locked(),
            Kind::Bounded(semaphore) => semaphore.locked(),
        }
    }
}

/// The plain counter.
#[derive(Default)]
struct Model {
    free: Cell<usize>,
    /// Permits that somebody has.
    held: Cell<usize>,
    /// The last task that got one.
    last: Cell<Option<usize>>,
    verdict: Verdict,
}

impl Model {
    fn take(&self, who: &str) {
        let free = self.free.get();
        self.verdict.expect(free > 0, || format!("{who} got a permit that does not exist"));
        self.free.set(free.saturating_sub(1));
        self.held.set(self.held.get() + 1);
    }

    /// Tasks get theirs in the order in which they came.
    fn take_by_task(&self, number: usize) {
        self.take(&format!("task {number}"));
        let last = self.last.replace(Some(number));
        self.verdict.expect(last < Some(number), || format!("task {number} got it after {last:?}"));
    }

    fn give(&self) {
        self.free.set(self.free.get() + 1);
        self.held.set(self.held.get().saturating_sub(1));
    }
}

pub(crate) async fn play(
    primitive: Primitive,
    script: Vec<Action>,
) -> std::result::Result<(), String> {
    // A script is played more than once: each time with a fresh one.
    let primitive = match primitive.kind {
        Kind::Lock(_) => Primitive::lock(),
        Kind::Semaphore(_) => Primitive::semaphore(primitive.permits),
        Kind::Bounded(_) => Primitive::bounded(primitive.permits),
    };
    let model = Rc::new(Model::default());
    model.free.set(primitive.permits);
    let mut waiters = Vec::new();
    for action in script.into_iter().chain([Action::Compare]) {
        act(&primitive, &model, &mut waiters, action).await.map_err(|error| error.to_string())?;
        model.verdict.check()?;
    }
    Ok(())
}

async fn act(
    primitive: &Primitive,
    model: &Rc<Model>,
    waiters: &mut Vec<Waiter>,
    action: Action,
) -> Result<()> {
    match action {
        Action::Acquire => {
            let (theirs, model, number) = (primitive.clone(), model.clone(), waiters.len());
            waiters.push(Waiter::start(async move {
                if theirs.acquire().await.is_ok() {
                    model.take_by_task(number);
                }
            })?);
        }
        Action::Try => {
            if primitive.try_acquire() {
                model.take("the player");
            } else {
                let reason = model.free.get() == 0 || primitive.waiters() > 0;
                model.verdict.expect(reason, || "refused though one is free".into());
            }
        }
        Action::Release => {
            let may = model.held.get() > 0 || matches!(primitive.kind, Kind::Semaphore(_));
            let released = primitive.release();
            model.verdict.expect(released == may, || format!("released: {released}, not {may}"));
            if released {
                model.give();
            }
        }
        Action::Cancel(which) => {
            let count = waiters.len().max(1);
            if let Some(waiter) = waiters.get_mut(usize::from(which) % count) {
                waiter.cancel();
            }
        }
        Action::Expire(which) => {
            if let Some(waiter) = waiters.get(usize::from(which) % waiters.len().max(1)) {
                waiter.expire()?;
            }
        }
        Action::Pause(iterations) => {
            for _ in 0..iterations {
                yield_now().await;
            }
        }
        Action::Compare => {
            settle(waiters).await;
            compare(primitive, model, waiters);
        }
    }
    Ok(())
}

fn compare(primitive: &Primitive, model: &Model, waiters: &[Waiter]) {
    let verdict = &model.verdict;
    let waiting = waiters.iter().filter(|waiter| waiter.waits()).count();
    let free = model.free.get();
    verdict.expect(free == 0 || waiting == 0, || format!("{waiting} wait for {free} free ones"));
    let listed = primitive.waiters();
    verdict.expect(listed == waiting, || format!("{listed} in its list, {waiting} wait"));
    verdict.expect(primitive.locked() == (free == 0), || format!("locked with {free} free"));
    let faithful = waiters.iter().all(Waiter::kept_its_word);
    verdict.expect(faithful, || "a cancelled task was not cancelled".into());
}
