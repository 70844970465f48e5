//! The backend as a value.

use anyloop_api::{EventLoopExt, EventLoopPolicy as _, LoopConfig, LoopRef};
use anyloop_uring::{Config, DESCRIPTOR, EventLoopPolicy};

fn check(lp: &LoopRef) {
    assert_eq!(lp.state().backend(), "uring");
    assert_eq!(lp.run_until_complete(async { 6 * 7 }).expect("a run"), 42);
    lp.close().expect("close");
}

fn the_descriptor_opens_what_it_names() {
    assert_eq!(DESCRIPTOR.name, "uring");
    let features = (DESCRIPTOR.probe)().expect("a machine with io_uring");
    assert!(features.contains("single issuer"), "{features}");
    check(&(DESCRIPTOR.open)(&LoopConfig::default()).expect("a loop"));
}

fn the_policy_makes_loops_with_its_settings() {
    check(&EventLoopPolicy::default().new_event_loop().expect("a loop"));

    let driver = Config::new().sq_entries(2).cq_entries(4);
    let policy = EventLoopPolicy::new(LoopConfig::default().debug(true), driver);
    let lp = policy.new_event_loop().expect("a loop");
    assert!(lp.get_debug());
    assert!(lp.describe().contains("sq 2, cq 4"), "{}", lp.describe());
    check(&lp);
    assert_eq!(policy.backend().expect("it is known").map(|backend| backend.name), Some("uring"));
}

trials! {
    the_descriptor_opens_what_it_names,
    the_policy_makes_loops_with_its_settings,
}
