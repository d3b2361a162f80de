//! Handlers: each does what its call's plan says.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpcrouter_core::frame::Open;
use grpcrouter_core::tunnel::ResponseHead;
use grpcrouter_core::{Key, Received, Time};
use http::{HeaderMap, HeaderValue};

use crate::oracle::{Direction, Stream};
use crate::plan::{CallPlan, Kind};

use super::instance::InstanceTunnel;
use super::link::ConnId;
use super::world::{Due, PIECE, World};

/// The header that says which of the plan's calls this is.
pub(super) const CALL: &str = "x-call";

/// A handler that runs.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) call: u32,
    plan: Arc<CallPlan>,
    /// What it has read, and what it has still to write.
    request: Stream,
    response: Stream,
    /// Nothing is done before this.
    pub(super) until: Time,
    read_ended: bool,
    head_sent: bool,
    finished: bool,
}

impl World<'_> {
    pub(super) fn start_run(
        &mut self,
        conn: ConnId,
        end: &mut InstanceTunnel,
        key: Key,
        open: &Open,
    ) {
        let number = |value: &HeaderValue| value.to_str().ok()?.parse::<u32>().ok();
        let Some(call) = open.metadata.get(CALL).and_then(number) else {
            // A frame that a hostile peer made up.
            return end.tunnel.release(key);
        };
        let slack = self.path_slack(call);
        let id = self.instances[end.host].id;
        self.ledger.handler_started(self.now, call, id, slack);
        let plan = self.ledger.plan(call).clone();
        let until = self.now + plan.handler.stall;
        end.runs.insert(
            key,
            Run {
                call,
                request: Stream::new(call, Direction::Request, plan.request.clone()),
                response: Stream::new(call, Direction::Response, plan.response.clone()),
                plan,
                until,
                read_ended: false,
                head_sent: false,
                finished: false,
            },
        );
        self.at(until, Due::HandlerWake { conn, key });
    }

    pub(super) fn handler_wake(&mut self, conn: ConnId, key: Key) {
        if let Some(mut end) = self.instance_ends[conn].take() {
            self.progress_run(conn, &mut end, key);
            self.instance_ends[conn] = Some(end);
            self.instance_settle(conn);
        }
    }

    /// Lets a handler do what it can do now.
    pub(super) fn progress_run(&mut self, conn: ConnId, end: &mut InstanceTunnel, key: Key) {
        let Some(mut run) = end.runs.remove(&key) else {
            return;
        };
        if end.tunnel.fault(key).is_some() {
            self.forget_run(&run);
            return end.tunnel.release(key);
        }
        if self.now >= run.until && !run.finished {
            self.read(conn, end, key, &mut run);
            self.write(end, key, &mut run);
        }
        if run.finished && end.tunnel.is_flushed(key) {
            return end.tunnel.release(key);
        }
        end.runs.insert(key, run);
    }

    /// The handler stops where it stands.
    pub(super) fn forget_run(&mut self, run: &Run) {
        if !run.finished {
            let slack = self.path_slack(run.call);
            self.ledger.handler_cancelled(self.now, run.call, slack);
        }
    }

    fn read(&mut self, conn: ConnId, end: &mut InstanceTunnel, key: Key, run: &mut Run) {
        let handler = run.plan.handler;
        while !handler.early && !run.read_ended {
            match end.tunnel.recv(key, handler.take) {
                Received::Data(data) => {
                    let slack = self.path_slack(run.call);
                    self.ledger
                        .delivered(self.now, run.call, Direction::Request, &data, slack);
                    run.request.skip(data.len() as u64);
                    if handler.pause > Duration::ZERO {
                        run.until = self.now + handler.pause;
                        return self.at(run.until, Due::HandlerWake { conn, key });
                    }
                }
                Received::End(()) => {
                    run.read_ended = true;
                    self.ledger.request_ended(self.now, run.call);
                }
                Received::Start(_) | Received::Failed(_) | Received::Pending => return,
            }
        }
    }

    fn write(&mut self, end: &mut InstanceTunnel, key: Key, run: &mut Run) {
        loop {
            // A piece at a time: the next one when the last has left.
            if run.finished || end.tunnel.queued(key) > 0 {
                return;
            }
            let due = run.due();
            let ends = run.may_end() && due == run.response.until(usize::MAX);
            let n = due.min(PIECE as u64) as usize;
            let last = ends && n as u64 == due;
            if n == 0 && !last {
                return;
            }
            let mut piece = vec![0; n];
            run.response.fill(&mut piece);
            self.ledger
                .handed(self.now, run.call, Direction::Response, n);
            let none = HeaderMap::new();
            let head = (!run.head_sent).then_some(ResponseHead {
                content_type: None,
                headers: &none,
            });
            run.head_sent = true;
            let trailers = last.then(|| status(run.plan.handler.status));
            if last {
                run.finished = true;
                let (slack, status) = (self.path_slack(run.call), run.plan.handler.status);
                self.ledger
                    .handler_finished(self.now, run.call, status, slack);
            }
            let sent = end
                .tunnel
                .respond(key, head, Bytes::from(piece), trailers.as_ref());
            debug_assert!(sent.is_ok(), "an empty head fits");
        }
    }
}

impl Run {
    /// Bytes of the response that it may write now.
    fn due(&self) -> u64 {
        let handler = &self.plan.handler;
        let all = self.response.until(usize::MAX);
        if handler.early || self.read_ended {
            all
        } else if handler.echoes {
            let answered = self
                .request
                .messages()
                .saturating_sub(self.response.messages());
            match answered {
                0 => 0,
                messages => self.response.until(messages),
            }
        } else if self.plan.kind == Kind::Bidi && self.begins() {
            all
        } else {
            0
        }
    }

    /// Whether a handler of a bidi call writes from the beginning on.
    fn begins(&self) -> bool {
        self.call.is_multiple_of(2)
    }

    fn may_end(&self) -> bool {
        self.plan.handler.early || self.read_ended
    }
}

fn status(code: u32) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(code));
    trailers
}
