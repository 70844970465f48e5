//! A waker that polls its future at once, inside of whatever wakes it.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

thread_local! {
    static POLLED: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>> = const { RefCell::new(None) };
}

struct Inside;

impl Wake for Inside {
    fn wake(self: Arc<Self>) {
        let Some(mut future) = POLLED.take() else { return };
        let waker = Waker::from(Arc::new(Self));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            POLLED.set(Some(future));
        }
    }
}

/// Polls `future` now, and whenever it is woken, inside of the wake-up. One at a time on a thread; another
/// takes its place.
pub fn poll_inside(future: impl Future<Output = ()> + 'static) {
    POLLED.set(Some(Box::pin(future)));
    Arc::new(Inside).wake();
}
