//! Random scripts, the same ones in every run.

use std::fmt::Debug;

use fastrand::Rng;

use crate::case::{Failure, Outcome};

/// How many scripts are played; `ANYLOOP_CONFORMANCE_SCRIPTS=5000` plays more.
const SCRIPTS: u64 = 30;
/// How many steps each of them has.
const LENGTH: usize = 50;

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
