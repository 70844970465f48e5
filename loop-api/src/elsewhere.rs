//! Who waits for things of a loop, and is no task of it: code that another executor of the thread polls.
//! A loop that closes ends its tasks, so they never learn of it; these are to look again.

use std::cell::RefCell;
use std::rc::Weak;

/// What somebody elsewhere waits for.
pub(crate) trait Awaited {
    /// Has everybody who waits for it look again.
    fn wake_all(&self);
}

/// What is waited for elsewhere, each once.
#[derive(Default)]
pub(crate) struct Elsewhere(RefCell<Vec<Weak<dyn Awaited>>>);

impl Elsewhere {
    pub(crate) fn add(&self, awaited: Weak<dyn Awaited>) {
        let mut all = self.0.borrow_mut();
        if all.len() == all.capacity() {
            // As many are looked through as came since the last time.
            all.retain(|awaited| awaited.strong_count() > 0);
            let count = all.len();
            all.reserve(count.max(4));
        }
        all.push(awaited);
    }

    pub(crate) fn take(&self) -> Vec<Weak<dyn Awaited>> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    struct Anything;

    impl Awaited for Anything {
        fn wake_all(&self) {}
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let elsewhere = Elsewhere::default();
        let kept: Vec<Rc<dyn Awaited>> = (0..10).map(|_| Rc::new(Anything) as _).collect();
        for kept in &kept {
            elsewhere.add(Rc::downgrade(kept));
        }
        for _ in 0..1000 {
            let gone: Rc<dyn Awaited> = Rc::new(Anything);
            elsewhere.add(Rc::downgrade(&gone));
        }
        let all = elsewhere.take();
        assert!(all.len() <= 40, "{} are kept", all.len());
        assert_eq!(all.iter().filter_map(Weak::upgrade).count(), 10);
    }
}
