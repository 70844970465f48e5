//! Random scripts, the same ones in every run.

use std::fmt::Debug;

use anyloop_api::{EventLoopExt, LoopRef};
use fastrand::Rng;

use super::running::run_once;
use crate::case::{Failure, Outcome};

/// How many scripts are played; `ANYLOOP_CONFORMANCE_SCRIPTS=5000` plays more.
const SCRIPTS: u64 = 30;
/// How many steps each of them has.
const LENGTH: usize = 50;

/// A step of a script in which things are done, in callbacks and between iterations.
#[derive(Clone, Copy, Debug)]
pub enum Step<D> {
    /// At once.
    Now(D),
    /// In a callback of the next run.
    Inside(D),
    /// One iteration.
    Run,
    /// The loop runs until everything has come that is on its way.
    Drain,
}

impl<D: Copy + 'static> Step<D> {
    /// One of them.
    pub fn random(rng: &mut Rng, deed: impl FnOnce(&mut Rng) -> D) -> Self {
        match rng.u8(..10) {
            0..3 => Self::Now(deed(rng)),
            3..7 => Self::Inside(deed(rng)),
            7..9 => Self::Run,
            _ => Self::Drain,
        }
    }

    /// Takes all steps of a script.
    ///
    /// # Errors
    /// That of the first step that fails; what fails in a callback is to be missed at the end.
    pub fn take_all(
        script: &[Self],
        lp: &LoopRef,
        act: impl Fn(D) -> Outcome + Clone + 'static,
        drain: impl Fn() -> Outcome,
    ) -> Outcome {
        for step in script {
            match *step {
                Self::Now(deed) => act(deed)?,
                Self::Inside(deed) => {
                    let act = act.clone();
                    lp.call_soon(move || drop(act(deed)))?;
                }
                Self::Run => run_once(lp)?,
                Self::Drain => drain()?,
            }
        }
        Ok(())
    }
}

/// Plays scripts of random steps, each with its number. A failure shows the script.
///
/// # Errors
/// That of the first script that fails.
pub fn random_scripts<S: Debug>(
    step: impl Fn(&mut Rng) -> S,
    play: impl Fn(u64, &[S]) -> Outcome,
) -> Outcome {
    let asked = std::env::var("ANYLOOP_CONFORMANCE_SCRIPTS").ok();
    let scripts = asked.and_then(|count| count.parse().ok()).unwrap_or(SCRIPTS);
    for number in 0..scripts {
        let mut rng = Rng::with_seed(number);
        let script: Vec<S> = (0..LENGTH).map(|_| step(&mut rng)).collect();
        play(number, &script)
            .map_err(|failure| Failure::new(format!("{failure}; script {number}: {script:?}")))?;
    }
    Ok(())
}

/// One of these.
pub fn one_of<T: Copy>(rng: &mut Rng, these: &[T]) -> T {
    these[rng.usize(..these.len())]
}
