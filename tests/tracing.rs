//! With the feature `tracing`, reports and the choice of a backend are events.
#![allow(missing_docs, reason = "a test")]

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyloop::{EventLoopExt, Result};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<(Level, String)>>>);

impl Events {
    fn take(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Events {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "anyloop"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push((*event.metadata().level(), text.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?};"));
    }
}

#[test]
fn reports_and_the_choice_are_events() -> Result<()> {
    let events = Events::default();
    let opened = tracing::subscriber::with_default(events.clone(), || {
        let lp = anyloop::new_event_loop_with("mio")?;
        lp.call_soon(|| panic!("in a callback"))?;
        lp.task().name("sleepy").spawn(async { std::thread::sleep(Duration::from_millis(2)) })?;
        lp.set_debug(true);
        lp.state().set_slow_callback_duration(Duration::from_millis(1));
        lp.stop();
        lp.run_forever()?;
        lp.close()
    });
    opened?;
    let seen = events.take();
    let has = |level, parts: &[&str]| {
        let found = seen
            .iter()
            .find(|(mine, text)| *mine == level && parts.iter().all(|part| text.contains(part)));
        assert!(found.is_some(), "no {level} with {parts:?} in {seen:#?}");
    };
    has(Level::DEBUG, &["mio: asked for by the program"]);
    has(
        Level::ERROR,
        &["a callback panicked", "panicked: in a callback", "tracing.rs:", "backend=\"mio\""],
    );
    has(Level::WARN, &["sleepy", "took", "tracing.rs:"]);
    Ok(())
}
