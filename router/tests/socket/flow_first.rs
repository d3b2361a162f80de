//! The first call of a connection: its client sends before it knows the gateway's window.

use grpcrouter::{CLIENT_WINDOW_MIN, GatewayConfig};
use http::HeaderMap;
use tokio::sync::watch;

use super::support::handler::Handler;
use super::support::raw::{self, Frame, Raw};
use super::support::world::World;
use super::support::{framed, within};

/// Sent before anything of the gateway's is read: more of the window than h2 asks back at once.
const AHEAD: usize = 20_000;

#[tokio::test]
async fn a_call_that_began_before_its_client_knew_the_window_goes_on() {
    let config = GatewayConfig {
        client_window: CLIENT_WINDOW_MIN,
        ..GatewayConfig::default()
    };
    let world = World::with(config).await;
    let (read, mut so_far) = watch::channel(0);
    let handler = Handler::new(move |mut call| {
        let read = read.clone();
        async move {
            while let Some(data) = call.data().await {
                let len = data.expect("the call goes on").len();
                read.send_modify(|n| *n += len);
            }
            call.trailers_only(HeaderMap::new(), 0, "");
        }
    });
    let _instance = world.instance("a", handler).await;
    let request = framed(&[1; 200_000]);

    let mut raw = Raw::connect(world.clients).await;
    raw.call(1, "Upload", &[]).await;
    for piece in request[..AHEAD].chunks(10_000) {
        raw.write(raw::DATA, 0, 1, piece).await;
    }
    // Read and gone, while the gateway's settings are not acknowledged.
    let gone = so_far.wait_for(|read| *read == AHEAD);
    within("the first bytes", gone).await.expect("a handler");

    let mut sent = AHEAD;
    let mut windows = Windows {
        initial: 65_535,
        granted: 0,
    };
    while sent < request.len() {
        let room = windows.room(sent).min(raw.window);
        if room <= 0 {
            let frame = within("window", raw.read()).await;
            windows
                .hear(&mut raw, &frame.expect("the connection lives"))
                .await;
            continue;
        }
        let len = (room as usize).min(16_384).min(request.len() - sent);
        raw.write(raw::DATA, 0, 1, &request[sent..sent + len]).await;
        sent += len;
    }
    raw.write(raw::DATA, raw::END_STREAM, 1, &[]).await;
    let frames = raw.read_to_end(1).await;
    assert!(frames.last().is_some_and(Frame::ends), "{frames:?}");
    assert_eq!(*so_far.borrow(), request.len());
    world.quiet().await;
}

/// What the gateway said of the windows of stream 1.
struct Windows {
    initial: i64,
    granted: i64,
}

impl Windows {
    fn room(&self, sent: usize) -> i64 {
        self.initial + self.granted - sent as i64
    }

    async fn hear(&mut self, raw: &mut Raw, frame: &Frame) {
        const INITIAL_WINDOW_SIZE: u16 = 4;
        match (frame.kind, frame.stream) {
            (raw::WINDOW_UPDATE, 0) => raw.window += frame.number(),
            (raw::WINDOW_UPDATE, 1) => self.granted += frame.number(),
            (raw::SETTINGS, _) if frame.flags & raw::ACK == 0 => {
                for setting in frame.payload.chunks_exact(6) {
                    let (id, value) = setting.split_at(2);
                    if id == INITIAL_WINDOW_SIZE.to_be_bytes() {
                        let value = value.try_into().expect("four bytes");
                        self.initial = u32::from_be_bytes(value).into();
                    }
                }
                raw.write(raw::SETTINGS, raw::ACK, 0, &[]).await;
            }
            _ => {}
        }
    }
}
