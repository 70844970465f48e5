//! Random scripts at both ends of a connection: whatever the order, every byte arrives.

use std::sync::atomic::Ordering;

use super::*;
use crate::tools::{Act, Author, Step, pattern, random_scripts};

/// So much is written at most, by each end.
const MOST: usize = 1_000_000;

/// By one of the ends.
type Deed = (usize, Act);

/// Nothing but the connection itself wakes the loop.
fn drain(lp: &LoopRef, ends: &[Author; 2]) -> Outcome {
    // What is to be done in a callback is done before.
    run_once(lp)?;
    let weak = lp.downgrade();
    let patience = lp.call_later(ms(10_000), move || {
        if let Some(lp) = weak.upgrade() {
            lp.stop();
        }
    })?;
    for end in ends {
        end.record().transport().resume_reading();
    }
    let all_came = |here: usize| ends[here].record().received() == ends[1 - here].written();
    while !(all_came(0) && all_came(1)) {
        for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            let written = other.counter();
            let all = move |record: &Record| record.received() == written.load(Ordering::Acquire);
            end.record().until(lp, all).map_err(|error| {
                let (came, written) = (end.record().received(), other.written());
                Failure::new(format!("stands still after {came} of {written} bytes: {error}"))
            })?;
        }
    }
    patience.cancel();
    Ok(())
}

fn play(cx: &Context, bytes: &Rc<Vec<u8>>, buffered: bool, script: &[Step<Deed>]) -> Outcome {
    let lp = cx.new_loop()?;
    let authority = Authority::new()?;
    let ends = Rc::new([Author::new(bytes), Author::new(bytes)]);
    let (near, far) = tcp_pair()?;
    let protocol =
        |end: &Author| if buffered { end.record().buffered() } else { end.record().plain() };
    let accepting = accept(&lp, protocol(&ends[1]), far, authority.server()?)?;
    made(&lp, &dial(&lp, protocol(&ends[0]), near, authority.client()?)?)?;
    made(&lp, &accepting)?;
    let authors = ends.clone();
    let act = move |(at, act): Deed| {
        authors[at].act(act);
        Ok(())
    };
    Step::take_all(script, &lp, act, || drain(&lp, &ends))?;
    drain(&lp, &ends)?;
    ends[0].record().transport().close();
    for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        end.record().until_lost(&lp)?;
        ensure_is!(end.record().error(), None);
        ensure_eq!(end.record().received(), other.written(), "bytes that came");
        ensure!(bytes.starts_with(&end.record().bytes()), "other bytes came");
    }
    lp.close()?;
    Ok(())
}

pub(super) fn any_order_at_both_ends(cx: &Context) -> Outcome {
    let bytes = Rc::new(pattern(MOST));
    let step = |rng: &mut _| Step::random(rng, |rng| (rng.usize(..2), Act::random(rng)));
    random_scripts(step, |number, script| play(cx, &bytes, number % 2 == 1, script))
}
