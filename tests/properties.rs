//! Locks, semaphores and queues against plain models, under random scripts.
//!
//! A script comes from a seed and does not depend on time, so that it can be played again:
//! `ANYLOOP_SEED=17 cargo test --test properties`. What a failure shows is the shortest script found
//! that still fails.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, reason = "a test")]

#[macro_use]
mod support;
mod models;

use std::fmt::Debug;
use std::future::Future;

use anyloop::Result;
use fastrand::Rng;
use models::items::{self, Kind};
use models::permits::{self, Primitive};

/// Plays the scripts of many seeds; `play` says what is wrong, if anything.
fn check<A, F>(
    backend: &'static str,
    make: fn(&mut Rng) -> A,
    play: impl Fn(Vec<A>) -> F,
) -> Result<()>
where
    A: Clone + Debug,
    F: Future<Output = std::result::Result<(), String>> + 'static,
{
    const SCRIPTS: u64 = 60;
    const LENGTH: usize = 80;
    let outcome = |script: &[A]| {
        let played = support::run(backend, play(script.to_vec()));
        played.unwrap_or_else(|error| Err(error.to_string()))
    };
    let only = std::env::var("ANYLOOP_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = only.map_or(0..SCRIPTS, |seed| seed..seed + 1);
    for seed in seeds {
        let mut rng = Rng::with_seed(seed);
        let script: Vec<A> = (0..LENGTH).map(|_| make(&mut rng)).collect();
        if let Err(problem) = outcome(&script) {
            let short = shortest(script, |script| outcome(script).is_err());
            let problem = outcome(&short).err().unwrap_or(problem);
            panic!("seed {seed}: {problem}\n{short:#?}");
        }
    }
    Ok(())
}

/// Leaves actions out for as long as the rest still fails.
fn shortest<A: Clone>(mut script: Vec<A>, fails: impl Fn(&[A]) -> bool) -> Vec<A> {
    let mut piece = script.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < script.len() {
            let mut without = script.clone();
            without.drain(at..(at + piece).min(script.len()));
            if fails(&without) {
                script = without;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    script
}

on_every_backend! {
    fn a_lock_is_a_lock(backend) {
        check(backend, permits::action, |script| permits::play(Primitive::lock(), script))
    }

    fn a_semaphore_counts(backend) {
        check(backend, permits::action, |script| permits::play(Primitive::semaphore(3), script))
    }

    fn a_bounded_semaphore_counts(backend) {
        check(backend, permits::action, |script| permits::play(Primitive::bounded(2), script))
    }

    fn a_queue_is_a_queue(backend) {
        check(backend, items::action, |script| items::play(Kind::Fifo, 0, script))?;
        check(backend, items::action, |script| items::play(Kind::Fifo, 2, script))
    }

    fn a_priority_queue_is_a_heap(backend) {
        check(backend, items::action, |script| items::play(Kind::Priority, 3, script))
    }

    fn a_lifo_queue_is_a_stack(backend) {
        check(backend, items::action, |script| items::play(Kind::Lifo, 1, script))
    }
}

/// The shortening itself works: of a long script that fails because of two actions, two are left.
#[test]
fn failing_scripts_are_shortened() {
    let script: Vec<u32> = (0..100).collect();
    let short = shortest(script, |script| script.contains(&17) && script.contains(&71));
    assert_eq!(short, [17, 71]);
}
