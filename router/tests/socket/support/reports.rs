//! What handlers do, as events that a test can wait for.

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;

use super::handler::{Call, Handler};
use super::within;

/// More events than any test leaves unread.
const EVENTS_MAX: usize = 1 << 16;

/// An event at a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Started,
    Message(Bytes),
    HalfClosed,
    /// The handler's future is gone, done or not.
    Dropped,
}

/// The handlers' side.
#[derive(Debug, Clone)]
pub(crate) struct Reporter(mpsc::Sender<Seen>);

/// The test's side.
#[derive(Debug)]
pub(crate) struct Reports(mpsc::Receiver<Seen>);

/// Reports the end of the handler that holds it.
#[derive(Debug)]
pub(crate) struct Guard(Reporter);

pub(crate) fn reports() -> (Reporter, Reports) {
    let (send, recv) = mpsc::channel(EVENTS_MAX);
    (Reporter(send), Reports(recv))
}

impl Reporter {
    pub(crate) fn say(&self, seen: Seen) {
        // Where the test is over nobody listens.
        let _ = self.0.try_send(seen);
    }

    /// Says that a handler started, and when it is dropped that it was.
    pub(crate) fn start(&self) -> Guard {
        self.say(Seen::Started);
        Guard(self.clone())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.say(Seen::Dropped);
    }
}

impl Reports {
    pub(crate) async fn next(&mut self) -> Seen {
        let seen = within("an event at the handler", self.0.recv()).await;
        seen.expect("a handler that reports")
    }

    pub(crate) async fn expect(&mut self, expected: Seen) {
        assert_eq!(self.next().await, expected);
    }

    /// Waits for the same event `count` times, and for no other in between.
    pub(crate) async fn expect_all(&mut self, expected: Seen, count: usize) {
        for _ in 0..count {
            self.expect(expected.clone()).await;
        }
    }

    pub(crate) fn nothing(&mut self) {
        assert_eq!(self.0.try_recv().ok(), None, "nothing more was seen");
    }
}

/// A handler that reads and never answers.
pub(crate) fn silent() -> (Handler, Reports) {
    let (reporter, reports) = reports();
    let handler = Handler::new(move |call| listen(call, reporter.clone()));
    (handler, reports)
}

/// A handler that answers with a head, reads, and never ends.
pub(crate) fn endless() -> (Handler, Reports) {
    let (reporter, reports) = reports();
    let handler = Handler::new(move |mut call| {
        let reporter = reporter.clone();
        async move {
            call.head(HeaderMap::new());
            listen(call, reporter).await;
        }
    });
    (handler, reports)
}

async fn listen(mut call: Call, reporter: Reporter) {
    let _guard = reporter.start();
    while let Some(message) = call.message().await {
        reporter.say(Seen::Message(message));
    }
    reporter.say(Seen::HalfClosed);
    std::future::pending::<()>().await;
}
