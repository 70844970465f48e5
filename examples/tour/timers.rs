//! Timers: in order, never early, never after a cancellation.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyloop::{EventLoopExt, LoopInstant, sleep, sleep_until};

use crate::Found;

const TIMERS: u64 = 1000;
const LAST: Duration = Duration::from_millis(50);

pub(crate) async fn run() -> Found {
    let lp = anyloop::get_running_loop()?;
    let start = lp.time();
    // When each fired, and when it should have.
    let fired: Rc<RefCell<Vec<(LoopInstant, LoopInstant)>>> = Rc::default();
    let mut cancelled = 0;
    for n in 0..TIMERS {
        // Deadlines come in no order at all.
        let delay = LAST.mul_f64((n * 7919 % TIMERS) as f64 / TIMERS as f64);
        let (log, l2) = (fired.clone(), lp.clone());
        let when = start + delay;
        let timer = lp.call_at(when, move || log.borrow_mut().push((l2.time(), when)))?;
        if n % 10 == 0 {
            timer.cancel();
            cancelled += 1;
        }
    }
    sleep_until(start + LAST + Duration::from_millis(10)).await;

    let fired = fired.take();
    if fired.len() as u64 != TIMERS - cancelled {
        return Err(format!("{} timers fired", fired.len()).into());
    }
    if fired.iter().any(|(at, when)| at < when) {
        return Err("a timer fired early".into());
    }
    if !fired.is_sorted_by_key(|(_, when)| *when) {
        return Err("timers fired out of order".into());
    }
    let late = fired.iter().map(|(at, when)| *at - *when).max().unwrap_or_default();

    let before = lp.time();
    sleep(Duration::from_millis(5)).await;
    if lp.time() - before < Duration::from_millis(5) {
        return Err("sleep returned early".into());
    }
    Ok(format!("{} timers fired, the latest {late:?} late; {cancelled} cancelled", fired.len()))
}
