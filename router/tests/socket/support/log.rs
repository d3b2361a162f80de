//! The access log as a test sees it.
//!
//! Of this thread's runtime alone, and of no other target: a subscriber for the whole process would make
//! every other test pay for HTTP/2's own traces.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A line's fields, as text.
pub(crate) type Line = BTreeMap<&'static str, String>;

/// Collects what is logged on this thread while its guard lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccessLog(Arc<Mutex<Vec<Line>>>);

impl AccessLog {
    pub(crate) fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(log.clone());
        (log, guard)
    }

    /// The one line about a path.
    pub(crate) fn line(&self, path: &str) -> Line {
        let lines = self.0.lock().unwrap();
        let about: Vec<_> = lines.iter().filter(|line| line["path"] == path).collect();
        assert_eq!(about.len(), 1, "one line about {path}: {lines:?}");
        about[0].clone()
    }

    /// The paths of all lines, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().map(|line| line["path"].clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Subscriber for AccessLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "grpcrouter::access"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(Line::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
