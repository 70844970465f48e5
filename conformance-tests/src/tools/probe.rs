//! Counting calls, polls and drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number that clones share, across threads too.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    /// Starts at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one and gives the new value.
    pub fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// A callback that adds one.
    pub fn adder(&self) -> impl FnOnce() + Send + 'static {
        let counter = self.clone();
        move || {
            counter.add();
        }
    }

    /// A callback that adds one each time it is called.
    pub fn each(&self) -> impl FnMut() + Send + 'static {
        let counter = self.clone();
        move || {
            counter.add();
        }
    }

    /// Something that adds one when it is dropped: captured in a closure it tells when the closure
    /// was freed.
    #[must_use]
    pub fn token(&self) -> Token {
        Token(self.clone())
    }
}

/// Adds one to its [`Counter`] when dropped.
#[derive(Debug)]
pub struct Token(Counter);

impl Token {
    /// Does nothing; names the token inside a closure, so that the closure captures it.
    pub fn keep(&self) {}
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Calls a closure when it is dropped.
#[derive(Debug)]
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> OnDrop<F> {
    /// Does nothing; names the guard inside a closure, so that the closure captures it.
    pub fn keep(&self) {}
}

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_when_its_closure_is_freed() {
        let dropped = Counter::new();
        let token = dropped.token();
        let closure = move || token.keep();
        closure();
        assert_eq!(dropped.get(), 0);
        drop(closure);
        assert_eq!(dropped.get(), 1);
    }
}
