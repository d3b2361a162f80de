//! The answer, from the tunnel to the client.

use std::future::poll_fn;

use bytes::Bytes;
use grpcrouter_proto::v1::RpcResponse;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};

use super::careless;
use super::peer::{Part, ResponseEnd, ResponseFlow};
use super::relay::{Ending, Status};
use crate::tunnel::metadata::{List, content_type_header, encode_bin, message};
use crate::tunnel::reset;

/// A client's end of an answer.
pub(super) struct Download {
    respond: SendResponse<Bytes>,
    careless: bool,
    /// Once the head was sent.
    send: Option<SendStream<Bytes>>,
}

impl Download {
    pub(super) fn new(respond: SendResponse<Bytes>, careless: bool) -> Self {
        Self {
            respond,
            careless,
            send: None,
        }
    }

    /// Waits until the client has reset the stream, or its connection is gone.
    pub(super) async fn gone(&mut self) {
        let (respond, send) = (&mut self.respond, &mut self.send);
        // Either way nobody waits for the answer.
        let _ = poll_fn(|cx| match send {
            Some(send) => send.poll_reset(cx),
            None => respond.poll_reset(cx),
        })
        .await;
    }

    /// Sends the answer as it comes, to its end.
    pub(super) async fn receive(&mut self, flow: &ResponseFlow) -> Ending {
        loop {
            let next = tokio::select! {
                biased;
                () = self.gone() => return Ending::ClientGone,
                next = poll_fn(|cx| flow.poll_next(cx)) => next,
            };
            let step = match next {
                Ok(Part::Head(head)) => self.head(head),
                Ok(Part::Data(data)) => self.data(data, flow).await,
                Err(end) => return self.end(end),
            };
            if let Err(ending) = step {
                return ending;
            }
        }
    }

    /// A status of the gateway's own.
    pub(super) fn status(&mut self, status: Status) {
        self.status_saying(status, status.reason);
    }

    /// The same in more words.
    pub(super) fn status_saying(&mut self, mut status: Status, words: &str) {
        if self.careless {
            status = careless::nobody(status);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(status.code));
        if let Ok(words) = HeaderValue::from_str(words) {
            trailers.insert("grpc-message", words);
        }
        trailers.insert("grpcrouter-reason", HeaderValue::from_static(status.reason));
        self.trailers(trailers, HeaderValue::from_static("application/grpc"));
    }

    /// An answer that is none of gRPC's.
    pub(super) fn http(&mut self, status: u16) {
        let mut response = Response::new(());
        *response.status_mut() = status.try_into().unwrap_or_default();
        // The client may have gone.
        let _ = self.respond.send_response(response, true);
    }

    fn head(&mut self, head: RpcResponse) -> Result<(), Ending> {
        if self.send.is_some() {
            return Err(Ending::Breach);
        }
        let mut response = Response::new(());
        let headers = response.headers_mut();
        let content_type = content_type_header(head.content_type).ok_or(Ending::Breach)?;
        headers.insert("content-type", content_type);
        if self.careless {
            careless::forged(&head.metadata, headers);
        }
        List::Answer
            .to_headers(head.metadata, headers)
            .ok_or(Ending::Breach)?;
        let send = self.respond.send_response(response, false);
        self.send = Some(send.map_err(|_| Ending::ClientGone)?);
        Ok(())
    }

    async fn data(&mut self, mut data: Bytes, flow: &ResponseFlow) -> Result<(), Ending> {
        if self.send.is_none() {
            self.head(RpcResponse::default())?;
        }
        let send = self.send.as_mut().ok_or(Ending::ClientGone)?;
        while !data.is_empty() {
            send.reserve_capacity(data.len());
            while send.capacity() == 0 {
                let room = tokio::select! {
                    biased;
                    // What ends the call ends this wait: the loop around sees it.
                    _ = flow.when_cut() => return Ok(()),
                    room = poll_fn(|cx| send.poll_capacity(cx)) => room,
                };
                if !matches!(room, Some(Ok(_))) {
                    return Err(Ending::ClientGone);
                }
            }
            let some = send.capacity().min(data.len());
            let sent = send.send_data(data.split_to(some), false);
            sent.map_err(|_| Ending::ClientGone)?;
            flow.took(some);
        }
        Ok(())
    }

    fn end(&mut self, end: ResponseEnd) -> Ending {
        match end {
            ResponseEnd::Complete(end) => match self.complete(*end) {
                Some(()) => Ending::Answered,
                None => Ending::Breach,
            },
            ResponseEnd::Reset(code) => Ending::Reset(code),
            ResponseEnd::Refused if self.send.is_some() => Ending::Reset(reset::REFUSED_STREAM),
            ResponseEnd::Refused => Ending::Refused,
            ResponseEnd::Lost => Ending::Lost,
        }
    }

    fn complete(&mut self, end: RpcResponse) -> Option<()> {
        let mut trailers = HeaderMap::new();
        List::Answer.to_headers(end.trailers, &mut trailers)?;
        let status = if end.status > 16 { 2 } else { end.status };
        trailers.insert("grpc-status", HeaderValue::from(status));
        if !end.message.is_empty() {
            trailers.insert("grpc-message", message(&end.message)?);
        }
        if !end.details.is_empty() {
            trailers.insert("grpc-status-details-bin", encode_bin(&end.details)?);
        }
        let content_type = content_type_header(end.content_type)?;
        self.trailers(trailers, content_type);
        Some(())
    }

    /// Ends the answer; alone where nothing came before.
    fn trailers(&mut self, mut trailers: HeaderMap, content_type: HeaderValue) {
        // The client may have gone meanwhile: then nobody waits.
        if let Some(send) = &mut self.send {
            let _ = send.send_trailers(trailers);
            return;
        }
        trailers.insert("content-type", content_type);
        let mut response = Response::new(());
        *response.headers_mut() = trailers;
        let _ = self.respond.send_response(response, true);
    }
}
