//! Queues: a list of items, and two lines of those who wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyloop::queue::Order;
use anyloop::{Error, LifoQueue, PriorityQueue, Queue, Result, create_task, yield_now};
use fastrand::Rng;

use super::{Verdict, Waiter, settle};

#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// A task begins to put its item, of such a priority.
    Put(u8),
    /// A task begins to get.
    Get,
    PutNowait(u8),
    GetNowait,
    TaskDone,
    /// Of some task that ever put or got.
    Cancel(u8),
    /// Its time is over.
    Expire(u8),
    Shutdown {
        immediate: bool,
    },
    /// So many iterations pass.
    Pause(u8),
    /// Everything settles, and is compared with the model.
    Compare,
}

pub(crate) fn action(rng: &mut Rng) -> Action {
    match rng.u8(..64) {
        0..=11 => Action::Put(rng.u8(..5)),
        12..=23 => Action::Get,
        24..=27 => Action::PutNowait(rng.u8(..5)),
        28..=31 => Action::GetNowait,
        32..=37 => Action::TaskDone,
        38..=44 => Action::Cancel(rng.u8(..32)),
        45..=49 => Action::Expire(rng.u8(..32)),
        50 => match rng.u8(..16) {
            0 => Action::Shutdown { immediate: false },
            1 => Action::Shutdown { immediate: true },
            _ => Action::Compare,
        },
        51..=59 => Action::Pause(rng.u8(..3)),
        _ => Action::Compare,
    }
}

/// Smaller priorities first; the numbers tell equal ones apart.
type Item = (u8, usize);

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Fifo,
    Priority,
    Lifo,
}

/// The plain list, and what ever happened to it in order.
struct Model {
    kind: Kind,
    limit: usize,
    items: RefCell<Vec<Item>>,
    unfinished: Cell<usize>,
    shut_down: Cell<bool>,
    verdict: Verdict,
}

impl Model {
    fn full(&self) -> bool {
        self.limit > 0 && self.items.borrow().len() >= self.limit
    }

    /// An item went in.
    fn put(&self, item: Item) {
        self.verdict.expect(!self.shut_down.get(), || format!("{item:?} went in after the end"));
        self.verdict.expect(!self.full(), || format!("{item:?} went in over the limit"));
        self.items.borrow_mut().push(item);
        self.unfinished.set(self.unfinished.get() + 1);
    }

    /// This item came out.
    fn got(&self, item: Item) {
        let mut items = self.items.borrow_mut();
        let at = match self.kind {
            Kind::Fifo => 0,
            Kind::Lifo => items.len().saturating_sub(1),
            Kind::Priority => (0..items.len()).min_by_key(|at| items[*at]).unwrap_or(0),
        };
        let expected = items.get(at).copied();
        self.verdict.expect(expected == Some(item), || format!("got {item:?}, not {expected:?}"));
        if expected.is_some() {
            items.remove(at);
        }
    }

    fn task_done(&self) -> bool {
        let unfinished = self.unfinished.get();
        self.unfinished.set(unfinished.saturating_sub(1));
        unfinished > 0
    }

    fn shut_down(&self, immediate: bool) {
        self.shut_down.set(true);
        if immediate {
            let discarded = self.items.take().len();
            self.unfinished.set(self.unfinished.get().saturating_sub(discarded));
        }
    }
}

pub(crate) async fn play(
    kind: Kind,
    limit: usize,
    script: Vec<Action>,
) -> std::result::Result<(), String> {
    match kind {
        Kind::Fifo => play_with(&Queue::new(limit), kind, script).await,
        Kind::Priority => play_with(&PriorityQueue::new(limit), kind, script).await,
        Kind::Lifo => play_with(&LifoQueue::new(limit), kind, script).await,
    }
}

async fn play_with<O: Order<Item> + 'static>(
    queue: &Queue<Item, O>,
    kind: Kind,
    script: Vec<Action>,
) -> std::result::Result<(), String> {
    let model = Model {
        kind,
        limit: queue.maxsize(),
        items: RefCell::default(),
        unfinished: Cell::new(0),
        shut_down: Cell::new(false),
        verdict: Verdict::default(),
    };
    let mut game = Game {
        queue: queue.clone(),
        model: Rc::new(model),
        waiters: Vec::new(),
        getters: Vec::new(),
        numbers: 0,
    };
    for action in script.into_iter().chain([Action::Compare]) {
        game.act(action).await.map_err(|error| error.to_string())?;
        game.model.verdict.check()?;
    }
    Ok(())
}

struct Game<O> {
    queue: Queue<Item, O>,
    model: Rc<Model>,
    waiters: Vec<Waiter>,
    /// Which of the waiters get.
    getters: Vec<bool>,
    numbers: usize,
}

impl<O: Order<Item> + 'static> Game<O> {
    fn item(&mut self, priority: u8) -> Item {
        self.numbers += 1;
        (priority, self.numbers)
    }

    async fn act(&mut self, action: Action) -> Result<()> {
        let verdict = self.model.verdict.clone();
        let which = |number: u8, count: usize| usize::from(number) % count.max(1);
        match action {
            Action::Put(priority) => {
                let (item, put) = (self.item(priority), self.model.clone());
                let queue = self.queue.clone();
                let work = async move {
                    match queue.put(item).await {
                        Ok(()) => put.put(item),
                        Err(back) => {
                            let right = put.shut_down.get() && back.item == item;
                            put.verdict.expect(right, || format!("{item:?} was refused"));
                        }
                    }
                };
                self.waiters.push(Waiter::start(work)?);
                self.getters.push(false);
            }
            Action::Get => {
                let (queue, model) = (self.queue.clone(), self.model.clone());
                let work = async move {
                    match queue.get().await {
                        Ok(item) => model.got(item),
                        Err(_) => {
                            let right = model.shut_down.get() && model.items.borrow().is_empty();
                            model.verdict.expect(right, || "a get was refused".into());
                        }
                    }
                };
                self.waiters.push(Waiter::start(work)?);
                self.getters.push(true);
            }
            Action::PutNowait(priority) => {
                let item = self.item(priority);
                match self.queue.put_nowait(item) {
                    Ok(()) => self.model.put(item),
                    Err(back) => {
                        let right = match back.error {
                            Error::QueueFull => self.model.full(),
                            Error::QueueShutDown => self.model.shut_down.get(),
                            _ => false,
                        };
                        verdict.expect(right && back.item == item, || format!("{back}"));
                    }
                }
            }
            Action::GetNowait => match self.queue.get_nowait() {
                Ok(item) => self.model.got(item),
                Err(error) => {
                    let empty = self.model.items.borrow().is_empty();
                    verdict.expect(empty, || format!("{error} with items in it"));
                }
            },
            Action::TaskDone => {
                let (done, may) = (self.queue.task_done().is_ok(), self.model.task_done());
                verdict.expect(done == may, || format!("task_done: {done}, not {may}"));
            }
            Action::Cancel(number) => {
                let at = which(number, self.waiters.len());
                if let Some(waiter) = self.waiters.get_mut(at) {
                    waiter.cancel();
                }
            }
            Action::Expire(number) => {
                if let Some(waiter) = self.waiters.get(which(number, self.waiters.len())) {
                    waiter.expire()?;
                }
            }
            Action::Shutdown { immediate } => {
                self.queue.shutdown(immediate);
                self.model.shut_down(immediate);
            }
            Action::Pause(iterations) => {
                for _ in 0..iterations {
                    yield_now().await;
                }
            }
            Action::Compare => self.compare().await?,
        }
        Ok(())
    }

    async fn compare(&mut self) -> Result<()> {
        settle(&self.waiters).await;
        let (model, verdict) = (&self.model, &self.model.verdict);
        let waiting = |gets: bool| {
            let both = self.waiters.iter().zip(&self.getters);
            both.filter(|(waiter, get)| **get == gets && waiter.waits()).count()
        };
        let (getters, putters) = (waiting(true), waiting(false));
        let items = model.items.borrow().len();
        verdict.expect(items == 0 || getters == 0, || format!("{getters} wait for {items} items"));
        verdict.expect(model.full() || putters == 0, || format!("{putters} wait, it has room"));
        let over = model.shut_down.get();
        verdict.expect(!over || getters + putters == 0, || "somebody waits after the end".into());
        let found = (self.queue.qsize(), self.queue.unfinished(), self.queue.waiters());
        let expected = (items, model.unfinished.get(), (getters, putters));
        verdict.expect(found == expected, || format!("{found:?}, not {expected:?}"));
        let faithful = self.waiters.iter().all(Waiter::kept_its_word);
        verdict.expect(faithful, || "a cancelled task was not cancelled".into());
        // Joining waits exactly while something is to do.
        let (queue, unfinished) = (self.queue.clone(), model.unfinished.get());
        let join = create_task(async move { queue.join().await })?;
        yield_now().await;
        verdict.expect(join.done() == (unfinished == 0), || format!("join, {unfinished} to do"));
        join.cancel();
        yield_now().await;
        Ok(())
    }
}
