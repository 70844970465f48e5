//! Items that use their queue while they are compared.

use std::cmp::Ordering;
use std::task::{Context as PollContext, Poll, Waker};

use anyloop::{PriorityQueue, create_task};

use super::drain;
use crate::families::prelude::*;
use crate::tools::settle_tasks;

type Deed = Box<dyn FnOnce()>;

/// An item whose order does something first, once.
struct Meddler {
    rank: u32,
    deed: Rc<RefCell<Option<Deed>>>,
}

impl Ord for Meddler {
    fn cmp(&self, other: &Self) -> Ordering {
        let deed = self.deed.take().or_else(|| other.deed.take());
        if let Some(deed) = deed {
            deed();
        }
        self.rank.cmp(&other.rank)
    }
}

impl PartialOrd for Meddler {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Meddler {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Meddler {}

impl Meddler {
    fn plain(rank: u32) -> Self {
        Self { rank, deed: Rc::default() }
    }

    fn new(rank: u32, deed: impl FnOnce() + 'static) -> Self {
        let deed: Deed = Box::new(deed);
        Self { rank, deed: Rc::new(RefCell::new(Some(deed))) }
    }
}

/// The ranks of everything that is in the queue.
fn ranks(queue: &PriorityQueue<Meddler>) -> Vec<u32> {
    drain(queue).into_iter().map(|item| item.rank).collect()
}

/// What it asks is answered, and what it may not do is refused: in the middle of a comparison nobody can
/// say where an item belongs.
pub(super) fn an_order_that_uses_the_queue(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = PriorityQueue::new(4);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let meddle = |rank| {
            let (queue, seen) = (queue.clone(), seen.clone());
            Meddler::new(rank, move || {
                let sizes = (queue.qsize(), queue.empty(), queue.full(), format!("{queue:?}"));
                let put =
                    queue.put_nowait(Meddler::plain(9)).map_err(|no| (no.item.rank, no.error));
                let got = queue.get_nowait().map(|item| item.rank);
                let mut cx = PollContext::from_waker(Waker::noop());
                let mut putting = std::pin::pin!(queue.put(Meddler::plain(8)));
                let waits = match putting.as_mut().poll(&mut cx) {
                    Poll::Ready(Err(no)) => Some((no.item.rank, no.error)),
                    _ => None,
                };
                let mut getting = std::pin::pin!(queue.get());
                let gets = match getting.as_mut().poll(&mut cx) {
                    Poll::Ready(Err(no)) => Some(no),
                    _ => None,
                };
                seen.borrow_mut().push((sizes, put, got, waits, gets));
            })
        };
        queue.put_nowait(Meddler::plain(5))?;
        queue.put_nowait(meddle(3))?;
        queue.put_nowait(meddle(4))?;
        ensure_eq!(queue.qsize(), 3, "the items");
        ensure_eq!(queue.unfinished(), 3, "the items that are not done with");
        ensure_eq!(seen.borrow().len(), 2, "the items that meddled");
        for (sizes, put, got, waits, gets) in seen.take() {
            ensure!(!sizes.1 && !sizes.2 && sizes.3.contains("Queue"), "it found {sizes:?}");
            ensure_is!(put, Err((9, Error::Usage(_))));
            ensure_is!(got, Err(Error::Usage(_)));
            ensure_is!(waits, Some((8, Error::Usage(_))));
            ensure_is!(gets, Some(Error::Usage(_)));
        }
        ensure_eq!(ranks(&queue), [3, 4, 5], "the order");
        // Also while an item is taken out.
        for rank in [1, 2, 3, 4] {
            queue.put_nowait(Meddler::plain(rank))?;
        }
        let first = queue.get_nowait()?;
        *first.deed.borrow_mut() = None;
        queue.put_nowait(meddle(0))?;
        drop(queue.get_nowait()?);
        ensure_eq!(seen.take().len(), 1, "the items that meddled");
        ensure_eq!(ranks(&queue), [2, 3, 4], "the order");
        Ok(())
    })
}

/// An immediate shutdown from inside a comparison discards what is there when that is over.
pub(super) fn an_order_that_ends_the_queue(cx: &Context) -> Outcome {
    main(cx, async {
        let queue = PriorityQueue::new(0);
        for rank in [5, 6] {
            queue.put_nowait(Meddler::plain(rank))?;
        }
        let theirs = queue.clone();
        let joining = create_task(queue.join())?;
        settle_tasks().await;
        queue.put_nowait(Meddler::new(3, move || theirs.shutdown(true)))?;
        ensure_eq!((queue.qsize(), queue.unfinished()), (0, 0), "what is left");
        settle_tasks().await;
        ensure!(joining.done(), "join still waits");
        ensure_is!(queue.get_nowait().map(|item| item.rank), Err(Error::QueueShutDown));
        // The item that is being taken is not discarded, and is still to be worked on.
        let queue = PriorityQueue::new(0);
        for rank in [1, 2, 3, 4] {
            queue.put_nowait(Meddler::plain(rank))?;
        }
        let theirs = queue.clone();
        let late = Meddler::new(9, move || theirs.shutdown(true));
        let deed = late.deed.take();
        let slot = late.deed.clone();
        queue.put_nowait(late)?;
        *slot.borrow_mut() = deed;
        ensure_eq!(queue.get_nowait()?.rank, 1, "the first item");
        ensure_eq!((queue.qsize(), queue.unfinished()), (0, 1), "what is left");
        queue.task_done()?;
        Ok(())
    })
}
