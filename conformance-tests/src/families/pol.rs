//! Policies: which loops are made, and which loop is this thread's.

use anyloop::{
    EventLoopPolicy, Runner, get_event_loop, new_event_loop, reset_event_loop_policy,
    set_event_loop, set_event_loop_policy,
};

use super::prelude::*;
use crate::context::LoopFactory;

cases! {
    POL_01 => what_is_set_is_the_threads, a_running_loop_goes_first;
    POL_02 => with_nothing_set_it_fails_and_makes_nothing;
    POL_03 => a_custom_policy_makes_the_loops, its_errors_are_passed_on, unsetting_it_restores;
    POL_04 => other_types_are_refused;
}

/// Makes loops of the backend under test, and counts them.
#[derive(Clone, Debug)]
struct Ours {
    factory: LoopFactory,
    made: Counter,
}

impl Ours {
    fn new(cx: &Context) -> Self {
        Self { factory: cx.factory(), made: Counter::new() }
    }
}

impl EventLoopPolicy for Ours {
    fn new_event_loop(&self) -> anyloop_api::Result<LoopRef> {
        self.made.add();
        self.factory.new_loop()
    }
}

/// Makes none.
#[derive(Debug)]
struct Never;

impl EventLoopPolicy for Never {
    fn new_event_loop(&self) -> anyloop_api::Result<LoopRef> {
        Err(Error::usage("on principle"))
    }
}

fn what_is_set_is_the_threads(cx: &Context) -> Outcome {
    let (one, other) = (cx.new_loop()?, cx.new_loop()?);
    set_event_loop(one.clone());
    ensure!(get_event_loop()?.same(&one), "it is not the loop that was set");
    let factory = cx.factory();
    let elsewhere = thread::spawn(move || -> Outcome {
        ensure_is!(get_event_loop(), Err(Error::Usage(_)));
        let mine = factory.new_loop()?;
        set_event_loop(mine.clone());
        ensure!(get_event_loop()?.same(&mine), "it is not the loop that this thread set");
        set_event_loop(None);
        Ok(mine.close()?)
    });
    join(elsewhere)??;
    ensure!(get_event_loop()?.same(&one), "another thread has changed it");
    set_event_loop(other.clone());
    ensure!(get_event_loop()?.same(&other), "setting another one changed nothing");
    set_event_loop(None);
    ensure_is!(get_event_loop(), Err(Error::Usage(_)));
    Ok(())
}

fn a_running_loop_goes_first(cx: &Context) -> Outcome {
    let (set, running) = (cx.new_loop()?, cx.new_loop()?);
    set_event_loop(set.clone());
    let inner = running.clone();
    let inside = async move { get_event_loop().is_ok_and(|found| found.same(&inner)) };
    ensure!(running.run_until_complete(inside)?, "inside a run it is not the running loop");
    ensure!(get_event_loop()?.same(&set), "the run has changed what was set");
    // Setting it inside a run counts from the end of the run on.
    let (inner, other) = (running.clone(), running.clone());
    set_event_loop(None);
    let inside = async move {
        set_event_loop(set);
        get_event_loop().is_ok_and(|found| found.same(&inner))
    };
    ensure!(other.run_until_complete(inside)?, "what was set inside a run beats the running loop");
    ensure!(!get_event_loop()?.same(&running), "what was set inside the run is lost");
    set_event_loop(None);
    Ok(())
}

fn with_nothing_set_it_fails_and_makes_nothing(cx: &Context) -> Outcome {
    let ours = Ours::new(cx);
    set_event_loop_policy(ours.clone());
    ensure_is!(get_event_loop(), Err(Error::Usage(_)));
    ensure_is!(get_event_loop(), Err(Error::Usage(_)));
    ensure_eq!(ours.made.get(), 0, "loops made");
    // Making one sets nothing.
    let lp = new_event_loop()?;
    ensure_is!(get_event_loop(), Err(Error::Usage(_)));
    lp.run_until_complete(async {})?;
    ensure_is!(get_event_loop(), Err(Error::Usage(_)));
    reset_event_loop_policy();
    Ok(lp.close()?)
}

fn a_custom_policy_makes_the_loops(cx: &Context) -> Outcome {
    let ours = Ours::new(cx);
    set_event_loop_policy(ours.clone());
    let backend = cx.new_loop()?.state().backend();
    let lp = new_event_loop()?;
    ensure_eq!((lp.state().backend(), ours.made.get()), (backend, 1), "by new_event_loop");
    lp.close()?;
    let asked = || async { anyloop::get_running_loop().map(|lp| lp.state().backend()) };
    ensure_eq!((anyloop::run(asked())??, ours.made.get()), (backend, 2), "by run");
    let mut runner = Runner::new();
    ensure_eq!((runner.run(asked())??, ours.made.get()), (backend, 3), "by a runner");
    runner.close()?;
    reset_event_loop_policy();
    Ok(())
}

fn its_errors_are_passed_on(_: &Context) -> Outcome {
    set_event_loop_policy(Never);
    let principle = |error: &Error| error.to_string() == "on principle";
    ensure_is!(new_event_loop(), Err(error) if principle(&error));
    ensure_is!(anyloop::run(async {}), Err(error) if principle(&error));
    ensure_is!(Runner::new().get_loop(), Err(error) if principle(&error));
    reset_event_loop_policy();
    Ok(())
}

fn unsetting_it_restores(cx: &Context) -> Outcome {
    let before = format!("{:?}", anyloop::get_event_loop_policy());
    let ours = Ours::new(cx);
    set_event_loop_policy(ours.clone());
    let custom = format!("{:?}", anyloop::get_event_loop_policy());
    ensure!(custom != before, "the policy in force is still {before}");
    reset_event_loop_policy();
    ensure_eq!(format!("{:?}", anyloop::get_event_loop_policy()), before, "the policy in force");
    // Whether the default finds a backend is the machine's business.
    if let Ok(lp) = new_event_loop() {
        lp.close()?;
    }
    ensure_eq!(ours.made.get(), 0, "loops made by a policy that was unset");
    Ok(())
}

fn other_types_are_refused(cx: &Context) -> Outcome {
    // The compiler's business.
    assert_not_impl!(LoopRef: EventLoopPolicy);
    assert_not_impl!(&'static str: EventLoopPolicy);
    assert_not_impl!(Ours: Into<Option<LoopRef>>);
    assert_impl!(LoopRef: Into<Option<LoopRef>>);
    assert_impl!(Ours: EventLoopPolicy);
    let lp = cx.new_loop()?;
    set_event_loop(lp.clone());
    ensure!(get_event_loop()?.same(&lp), "a loop is refused");
    set_event_loop(None);
    Ok(())
}
