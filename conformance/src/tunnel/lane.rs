//! The way out of a well-behaved end: one writer, and two bounded queues in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Frame;
use super::stream::Outbound;
use super::tap::{Tap, Way};
use crate::framing::framed;

/// Frames of calls that wait for the transport. Few: what waits here is not in the hands of its call.
const BULK: usize = 16;

/// Heartbeats that wait. Of several only the last need be answered, so what does not fit is dropped.
const URGENT: usize = 16;

/// How long the end of a stream may wait for room in the queue: a peer that does not read gets none.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where frames are handed over. One call's frames keep their order.
#[derive(Debug)]
pub(super) struct Lane<F> {
    urgent: mpsc::Sender<F>,
    bulk: mpsc::Sender<Item<F>>,
}

/// The writer has gone: the tunnel is over.
#[derive(Debug)]
pub(super) struct Gone;

#[derive(Debug)]
enum Item<F> {
    Frame(F),
    /// Dropped where its call is over by then.
    OfCall(F, Arc<AtomicBool>),
    HalfClose,
    Trailers(HeaderMap),
    Reset(u32),
}

/// A lane, and the writer behind it.
pub(super) fn lane<F: Frame>(outbound: Outbound, tap: Tap) -> (Lane<F>, impl Future<Output = ()>) {
    let (urgent, urgents) = mpsc::channel(URGENT);
    let (bulk, items) = mpsc::channel(BULK);
    (Lane { urgent, bulk }, write(outbound, tap, urgents, items))
}

impl<F> Clone for Lane<F> {
    fn clone(&self) -> Self {
        Self {
            urgent: self.urgent.clone(),
            bulk: self.bulk.clone(),
        }
    }
}

impl<F: Frame> Lane<F> {
    /// A frame that goes before all others, where there is room for it.
    pub(super) fn urgent(&self, frame: F) {
        let _ = self.urgent.try_send(frame);
    }

    pub(super) async fn frame(&self, frame: F) -> Result<(), Gone> {
        self.item(Item::Frame(frame)).await
    }

    /// A frame of a call, for which nothing is sent once `over` is set.
    pub(super) async fn of_call(&self, frame: F, over: &Arc<AtomicBool>) -> Result<(), Gone> {
        self.item(Item::OfCall(frame, over.clone())).await
    }

    /// Ends the stream behind all that was handed over.
    pub(super) async fn half_close(&self) {
        let _ = timeout(LAST_WORDS, self.item(Item::HalfClose)).await;
    }

    /// Ends a gateway's stream behind all that was handed over.
    pub(super) async fn trailers(&self, trailers: HeaderMap) {
        let _ = timeout(LAST_WORDS, self.item(Item::Trailers(trailers))).await;
    }

    /// Cancels the stream.
    pub(super) async fn reset(&self, code: u32) {
        let _ = timeout(LAST_WORDS, self.item(Item::Reset(code))).await;
    }

    async fn item(&self, item: Item<F>) -> Result<(), Gone> {
        self.bulk.send(item).await.map_err(|_| Gone)
    }
}

async fn write<F: Frame>(
    mut outbound: Outbound,
    tap: Tap,
    mut urgents: mpsc::Receiver<F>,
    mut items: mpsc::Receiver<Item<F>>,
) {
    loop {
        let item = tokio::select! {
            biased;
            Some(frame) = urgents.recv() => Item::Frame(frame),
            item = items.recv() => match item {
                Some(item) => item,
                None => return,
            },
        };
        let frame = match item {
            Item::Frame(frame) => frame,
            Item::OfCall(_, over) if over.load(Ordering::Acquire) => continue,
            Item::OfCall(frame, _) => frame,
            Item::HalfClose => return outbound.half_close(),
            Item::Trailers(trailers) => return outbound.trailers(trailers),
            Item::Reset(code) => return outbound.reset(code),
        };
        let bytes = framed(&frame.encode_to_vec());
        if outbound.write(bytes).await.is_err() {
            return;
        }
        tap.saw(Way::Sent, &frame);
    }
}
