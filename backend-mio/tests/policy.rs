//! The backend as a value.

use anyloop_api::{EventLoopExt, EventLoopPolicy as _, LoopConfig, LoopRef};
use anyloop_mio::{Config, DESCRIPTOR, EventLoopPolicy};

fn check(lp: &LoopRef) {
    assert_eq!(lp.state().backend(), "mio");
    assert_eq!(lp.run_until_complete(async { 6 * 7 }).expect("a run"), 42);
    lp.close().expect("close");
}

#[test]
fn the_descriptor_opens_what_it_names() {
    assert_eq!(DESCRIPTOR.name, "mio");
    (DESCRIPTOR.probe)().expect("a machine with a poller");
    check(&(DESCRIPTOR.open)(&LoopConfig::default()).expect("a loop"));
}

#[test]
fn the_policy_makes_loops_with_its_settings() {
    check(&EventLoopPolicy::default().new_event_loop().expect("a loop"));

    let driver = Config::new().portable_wait(true).events(7);
    let policy = EventLoopPolicy::new(LoopConfig::default().debug(true), driver);
    let lp = policy.new_event_loop().expect("a loop");
    assert!(lp.get_debug());
    assert!(lp.describe().contains("at most 7 events"), "{}", lp.describe());
    check(&lp);
    assert_eq!(policy.backend().expect("it is known").map(|backend| backend.name), Some("mio"));
}
