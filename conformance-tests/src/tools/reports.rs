//! What a loop reported to its exception handler.

use std::cell::RefCell;
use std::rc::Rc;

use anyloop_api::{Error, LoopRef, Report};

use crate::case::Failure;

/// Collects the reports of a loop, instead of the default handler.
#[derive(Clone, Debug, Default)]
pub struct Reports(Rc<RefCell<Vec<Seen>>>);

/// What a report said. The objects it named are not kept: they would stay alive.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What happened.
    pub message: String,
    /// The error or panic.
    pub exception: Option<Error>,
    /// Which of its optional fields were set.
    pub fields: Vec<&'static str>,
    /// The name of the task it named.
    pub task: Option<Rc<str>>,
    /// Where it says that the object concerned was created: the line.
    pub line: Option<u32>,
}

impl Reports {
    /// Becomes the exception handler of `lp`.
    #[must_use]
    pub fn of(lp: &LoopRef) -> Self {
        let reports = Self::default();
        let theirs = reports.clone();
        lp.set_exception_handler(Some(Rc::new(move |_, report| {
            theirs.0.borrow_mut().push(Seen::new(report));
        })));
        reports
    }

    /// Takes all reports out.
    #[must_use]
    pub fn take(&self) -> Vec<Seen> {
        self.0.take()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }

    /// Succeeds if nothing was reported.
    ///
    /// # Errors
    /// The reports.
    #[track_caller]
    pub fn none(&self) -> Result<(), Failure> {
        match &*self.take() {
            [] => Ok(()),
            reports => Err(Failure::new(format!("expected no report, found {reports:?}"))),
        }
    }

    /// The report, if there is exactly one; forgets it.
    ///
    /// # Errors
    /// What was found instead.
    #[track_caller]
    pub fn one(&self) -> Result<Seen, Failure> {
        match <[Seen; 1]>::try_from(self.take()) {
            Ok([seen]) => Ok(seen),
            Err(reports) => Err(Failure::new(format!("expected one report, found {reports:?}"))),
        }
    }
}

impl Seen {
    fn new(report: &Report) -> Self {
        let fields = [
            ("exception", report.exception.is_some()),
            ("future", report.future.is_some()),
            ("handle", report.handle.is_some()),
            ("protocol", report.protocol.is_some()),
            ("socket", report.socket.is_some()),
            ("source", report.source.is_some()),
            ("task", report.task.is_some()),
            ("transport", report.transport.is_some()),
        ];
        Self {
            message: report.message.to_string(),
            exception: report.exception.clone(),
            fields: fields.into_iter().filter_map(|(name, set)| set.then_some(name)).collect(),
            task: report.task.as_ref().map(|task| task.get_name()),
            line: report.source.map(|source| source.line()),
        }
    }

    /// Whether the optional field of this name was set.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.fields.contains(&field)
    }

    /// Whether it reports a panic with this message.
    #[must_use]
    pub fn is_panic(&self, message: &str) -> bool {
        matches!(&self.exception, Some(Error::Panicked(panic)) if panic.message() == message)
    }
}
