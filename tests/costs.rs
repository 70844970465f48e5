//! What the parts above the loop allocate: nothing where nobody has to wait, and per child at most the
//! task.
#![cfg(feature = "mio")]
#![allow(missing_docs, reason = "a test")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyloop::{
    BoundedSemaphore, Event, EventLoopExt, LifoQueue, Lock, LoopRef, PriorityQueue, Queue, Result,
    Semaphore, TimeoutHandle, gather_vec, new_event_loop_with, run_with, task_group, timeout,
    yield_now,
};
use anyloop_core::testing::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// The output of something that does not have to wait.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it has to wait"),
    }
}

/// How often `work` allocates when it is done for the second time: tables have their size by then.
fn allocations(mut work: impl FnMut()) -> u64 {
    work();
    let before = CountingAllocator::count();
    work();
    CountingAllocator::count() - before
}

#[test]
fn a_free_lock_allocates_nothing() {
    let lock = Lock::new();
    let count = allocations(|| {
        now(lock.acquire()).expect("it is free");
        lock.release().expect("it is held");
        drop(now(lock.lock()).expect("it is free"));
        drop(lock.try_lock());
    });
    assert_eq!(count, 0);
}

#[test]
fn a_free_semaphore_allocates_nothing() {
    let (plain, bounded) = (Semaphore::new(2), BoundedSemaphore::new(2));
    let count = allocations(|| {
        for semaphore in [&plain, &*bounded] {
            now(semaphore.acquire()).expect("it is free");
            semaphore.release().expect("it is held");
            drop(now(semaphore.permit()).expect("it is free"));
            drop(semaphore.try_permit());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn an_event_that_is_set_allocates_nothing() {
    let event = Event::new();
    let count = allocations(|| {
        event.set();
        now(event.wait()).expect("it is set");
        event.clear();
    });
    assert_eq!(count, 0);
}

#[test]
fn a_queue_with_room_allocates_nothing() {
    let (fifo, priority, lifo) = (Queue::new(4), PriorityQueue::new(4), LifoQueue::new(4));
    let count = allocations(|| {
        macro_rules! both_ways {
            ($queue:expr) => {
                now($queue.put(1)).expect("it has room");
                $queue.put_nowait(2).expect("it has room");
                now($queue.get()).expect("it has items");
                $queue.get_nowait().expect("it has items");
                $queue.task_done().expect("two are to do");
                $queue.task_done().expect("one is to do");
                now($queue.join()).expect("nothing is to do");
            };
        }
        both_ways!(fifo);
        both_ways!(priority);
        both_ways!(lifo);
    });
    assert_eq!(count, 0);
}

/// Waiters have a place in a table and no allocation each: of many rounds with a waiter each, none
/// allocates more than the same rounds without the lock.
#[test]
fn waiting_for_a_lock_allocates_nothing_either() -> Result<()> {
    let lp = new_event_loop_with("mio")?;
    let lock = Lock::new();
    let round = |locked: bool| {
        let (a, b) = (lock.clone(), lock.clone());
        let holder = lp.create_task(async move {
            let guard = if locked { a.try_lock() } else { None };
            yield_now().await;
            yield_now().await;
            drop(guard);
        });
        let waiter = lp.create_task(async move {
            yield_now().await;
            if locked { b.lock().await.map(drop) } else { Ok(()) }
        });
        holder.and_then(|task| lp.run_until_done(&task)).expect("it ends");
        waiter.and_then(|task| lp.run_until_done(&task)).expect("it ends").expect("it was had");
    };
    let (without, with) = (allocations(|| round(false)), allocations(|| round(true)));
    assert_eq!(with, without);
    lp.close()
}

/// Allocations of `work` on `lp` for one more child, from the difference of two sizes.
fn per_child(lp: &LoopRef, work: fn(usize) -> std::pin::Pin<Box<dyn Future<Output = ()>>>) -> f64 {
    const MORE: u32 = 256;
    let run = |children: usize| {
        allocations(|| {
            lp.run_until_complete(work(children)).expect("it ends");
        })
    };
    let (few, many) = (run(16), run(16 + MORE as usize));
    (many - few) as f64 / f64::from(MORE)
}

async fn child() -> u32 {
    yield_now().await;
    1
}

#[test]
fn gather_and_groups_allocate_the_task_per_child() -> Result<()> {
    let lp = new_event_loop_with("mio")?;
    let tasks = per_child(&lp, |children| {
        Box::pin(async move {
            let lp = LoopRef::current().expect("it runs");
            let tasks: Vec<_> = (0..children).map(|_| lp.create_task(child())).collect();
            for task in tasks {
                task.expect("it was made").await.expect("it ends");
            }
        })
    });
    let gathered = per_child(&lp, |children| {
        Box::pin(async move {
            gather_vec((0..children).map(|_| child())).await.expect("all end");
        })
    });
    let grouped = per_child(&lp, |children| {
        Box::pin(async move {
            let all = task_group(|group| async move {
                for _ in 0..children {
                    group.create_task(child())?;
                }
                Ok(())
            });
            all.await.expect("all end");
        })
    });
    // Vectors that grow are the fraction.
    assert!(tasks >= 1.0, "a task allocates {tasks}");
    assert!(gathered < tasks + 0.2, "gather allocates {gathered} per child, a task {tasks}");
    assert!(grouped < tasks + 0.2, "a group allocates {grouped} per child, a task {tasks}");
    lp.close()
}

#[test]
fn a_timeout_around_what_completes_at_once_allocates_nothing() -> Result<()> {
    run_with("mio", async {
        let hour = Duration::from_secs(3600);
        let count = allocations(|| {
            now(timeout(hour, async { 7 })).expect("it completes");
        });
        assert_eq!(count, 0);
        // As an object it is one allocation.
        let count = allocations(|| {
            now(TimeoutHandle::after(hour).run(async { 7 })).expect("it completes");
        });
        assert!(count <= 1, "{count} allocations");
    })
}
