//! Choosing a backend: by value, by policy, by environment, automatically.
#![cfg(all(feature = "mio", feature = "uring", feature = "polling"))]
#![allow(missing_docs, clippy::print_stdout, reason = "a test")]

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyloop::{
    BackendDescriptor, Config, DefaultPolicy, Error, EventLoopPolicy, LoopRef, Reason, Result,
    Runner, get_event_loop, new_event_loop, new_event_loop_with, register, reset_event_loop_policy,
    select, selection, set_event_loop, set_event_loop_policy,
};

/// The policy belongs to the process: one test at a time may set it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `selection()` says in a process with this `ANYLOOP_BACKEND`.
fn with_environment(value: &str) -> String {
    with_variables(&[("ANYLOOP_BACKEND", value)])
}

/// What `selection()` says in a process with these variables.
fn with_variables(variables: &[(&str, &str)]) -> String {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "in_another_process", "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .expect("the test can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, said) = text.split_once("<<").expect("an answer");
    said.split_once(">>").expect("an answer").0.to_owned()
}

#[test]
#[ignore = "run by the other tests, with an environment"]
fn in_another_process() {
    let chosen = match selection() {
        Ok(selection) => selection,
        Err(error) => {
            assert_eq!(new_event_loop().unwrap_err().to_string(), error.to_string());
            return println!("<<{error}>>");
        }
    };
    let lp = new_event_loop().expect("what was chosen can be opened");
    assert_eq!(lp.state().backend(), chosen.backend.name);
    lp.close().expect("it is not running");
    println!("<<{chosen}>>");
}

#[test]
fn the_table_is_complete() {
    let names: Vec<_> = anyloop::backends().iter().map(|backend| backend.name).collect();
    assert_eq!(&names[..3], ["uring", "mio", "polling"]);
}

#[test]
fn by_value() -> Result<()> {
    let lp = new_event_loop_with("mio")?;
    assert_eq!(lp.state().backend(), "mio");
    lp.close()?;
    let polling = select("polling")?;
    assert_eq!(polling.reason, Reason::Explicit);
    let lp = new_event_loop_with(polling.backend)?;
    assert_eq!(lp.state().backend(), "polling");
    lp.close()
}

#[test]
fn by_environment() {
    assert_eq!(with_environment("mio"), "mio: asked for by ANYLOOP_BACKEND=mio");
    let polling = with_environment(" polling,-uring ");
    assert_eq!(polling, "polling: asked for by ANYLOOP_BACKEND=polling,-uring");
}

#[test]
fn excluded_without_a_probe() {
    assert_eq!(
        with_environment("-uring"),
        "mio: the first one that works here; not uring: excluded, not probed"
    );
    assert_eq!(
        with_environment("-uring,-mio"),
        "polling: the first one that works here; not uring: excluded, not probed; \
         not mio: excluded, not probed"
    );
    let none = with_environment("-mio,-uring,-polling");
    assert_eq!(
        none,
        "no event loop backend can be used here:\n  uring: excluded, not probed\n  \
         mio: excluded, not probed\n  polling: excluded, not probed"
    );
}

#[test]
fn unknown_names() {
    for text in ["epoll", "-epoll", "MIO"] {
        let error = with_environment(text);
        assert!(error.contains(&format!("ANYLOOP_BACKEND={text}")), "{error}");
        for name in ["uring", "mio", "polling"] {
            assert!(error.contains(&format!("\n  {name}: ")), "{error}");
        }
    }
    let error = new_event_loop_with("kqueue").unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("\"kqueue\" (asked for by the program)"), "{error}");
}

#[test]
fn contradictions() {
    let error = with_environment("mio,polling");
    assert_eq!(error, "ANYLOOP_BACKEND=mio,polling: asks for mio and for polling; want one");
    let error = with_environment("mio,-mio");
    assert_eq!(error, "ANYLOOP_BACKEND=mio,-mio: asks for mio and excludes it");
}

#[test]
fn automatic() {
    let chosen = with_environment("");
    let expected = if select("uring").is_ok() { "uring: " } else { "mio: " };
    assert!(chosen.starts_with(expected), "{chosen}");
    assert!(chosen.contains("the first one that works here"), "{chosen}");
}

/// Another backend in its place would hide the mistake.
#[test]
fn a_backend_that_is_told_nonsense_is_not_passed_over() {
    let said = with_variables(&[("ANYLOOP_BACKEND", "-uring"), ("ANYLOOP_MIO", "evnts=2")]);
    assert!(said.starts_with("ANYLOOP_MIO: `evnts=2` is not known"), "{said}");
}

static BROKEN: BackendDescriptor = BackendDescriptor::new(
    "broken",
    "for a test",
    || Err("the machine has no such kernel interface".into()),
    |_| Err(Error::usage("never opened")),
);

static STRANGE: BackendDescriptor = BackendDescriptor::new(
    "strange",
    "for a test: mio under another name",
    || Ok("everything".into()),
    |config| select("mio")?.open(config),
);

#[test]
fn registered() -> Result<()> {
    register(&STRANGE)?;
    register(&STRANGE)?;
    register(&BROKEN)?;
    new_event_loop_with("strange")?.close()?;
    // Asked for by name, it is never replaced, and every other one is listed.
    let error = new_event_loop_with("broken").unwrap_err().to_string();
    assert!(error.contains("\n  broken: the machine has no such kernel interface"), "{error}");
    assert!(error.contains("\n  mio: available"), "{error}");
    assert!(error.contains("\n  strange: available (everything)"), "{error}");

    const fn refused(name: &'static str) -> BackendDescriptor {
        BackendDescriptor::new(name, "for a test", BROKEN.probe, BROKEN.open)
    }
    static TAKEN: BackendDescriptor = refused("strange");
    static OURS: BackendDescriptor = refused("mio");
    static NAMELESS: BackendDescriptor = refused("");
    static EXCLUDING: BackendDescriptor = refused("-x");
    static LIST: BackendDescriptor = refused("a,b");
    for refused in [&TAKEN, &OURS, &NAMELESS, &EXCLUDING, &LIST] {
        let error = register(refused).unwrap_err();
        assert!(matches!(error, Error::InvalidArg(_)), "{error}");
    }
    Ok(())
}

#[derive(Debug)]
struct Always(&'static str);

impl EventLoopPolicy for Always {
    fn new_event_loop(&self) -> Result<LoopRef> {
        new_event_loop_with(self.0)
    }
}

/// POL-03
#[test]
fn by_policy() -> Result<()> {
    let _alone = alone();
    set_event_loop_policy(Always("polling"));
    let lp = new_event_loop()?;
    assert_eq!(lp.state().backend(), "polling");
    lp.close()?;
    let backend = || async { anyloop::get_running_loop().map(|lp| lp.state().backend()) };
    assert_eq!(anyloop::run(backend())??, "polling");
    assert_eq!(Runner::new().run(backend())??, "polling");
    // A value beats the policy.
    assert_eq!(anyloop::run_with("mio", backend())??, "mio");
    let error = selection().unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");

    set_event_loop_policy(anyloop_mio::EventLoopPolicy::default());
    let chosen = selection()?;
    assert_eq!(chosen.backend.name, "mio");
    assert!(matches!(chosen.reason, Reason::Policy(_)), "{chosen}");
    assert_eq!(anyloop::run(backend())??, "mio");

    let mut config = Config::from_lookup(|_| None)?;
    config.backend = Some("polling".into());
    config.loops.debug = Some(true);
    set_event_loop_policy(DefaultPolicy::with_config(config));
    let lp = new_event_loop()?;
    assert_eq!((lp.state().backend(), lp.get_debug()), ("polling", true));
    lp.close()?;

    // Why nothing can be chosen is told as without a policy.
    let mut config = Config::from_lookup(|_| None)?;
    config.backend = Some("epoll".into());
    set_event_loop_policy(DefaultPolicy::with_config(config));
    let error = new_event_loop().unwrap_err().to_string();
    assert!(error.contains("ANYLOOP_BACKEND=epoll"), "{error}");
    assert_eq!(selection().unwrap_err().to_string(), error);

    reset_event_loop_policy();
    assert!(!matches!(selection()?.reason, Reason::Policy(_)));
    Ok(())
}

/// POL-01, POL-02
#[test]
fn the_loop_of_the_thread() -> Result<()> {
    let _alone = alone();
    let error = get_event_loop().unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
    let lp = new_event_loop_with("mio")?;
    set_event_loop(lp.clone());
    assert!(get_event_loop()?.same(&lp));
    let elsewhere = std::thread::spawn(|| get_event_loop().map(drop)).join().expect("no panic");
    assert!(matches!(elsewhere, Err(Error::Usage(_))), "{elsewhere:?}");
    // Inside a run it is the running one, whatever was set.
    let inside =
        anyloop::run_with("polling", async { get_event_loop().map(|lp| lp.state().backend()) })??;
    assert_eq!(inside, "polling");
    assert!(get_event_loop()?.same(&lp));
    set_event_loop(None);
    assert!(get_event_loop().is_err());
    assert!(anyloop::get_running_loop().is_err());
    lp.close()
}
