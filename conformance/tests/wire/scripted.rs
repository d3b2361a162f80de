//! Frames that the case says, to the other side's product and to the suite's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use grpcrouter::{
    Clock, Gateway, GatewayConfig, Instance, InstanceConfig, Listener, TcpDialer, TcpListener,
};
use grpcrouter_conformance::client::{Call, Client};
use grpcrouter_conformance::framing::framed;
use grpcrouter_conformance::tunnel::gateway::{
    NaiveGateway, Registered, Settings, TunnelPort, ack,
};
use grpcrouter_conformance::tunnel::instance::{Tunnel, serve};
use grpcrouter_conformance::tunnel::stream::StreamEnd;
use grpcrouter_conformance::tunnel::tap::{Seen, Way};
use grpcrouter_conformance::tunnel::{call, flags, info, part, request};
use grpcrouter_conformance::wait::{LIMIT, within};
use grpcrouter_proto::v1::{
    ErrorResponse, RegisterRequest, RegisterResponse, RegistrationAck, RpcCall, RpcResponse,
    UnregisterRequest, register_request, register_response,
};

use super::echo::Echo;

async fn product_gateway() -> Result<[SocketAddr; 2]> {
    let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (client, tunnel) = (TcpListener::bind(any).await?, TcpListener::bind(any).await?);
    let addrs = [client.local_addr()?, tunnel.local_addr()?];
    tokio::spawn(async move {
        tokio::join!(gateway.serve_clients(client), gateway.serve_tunnels(tunnel))
    });
    Ok(addrs)
}

fn error(frame: RegisterResponse) -> Option<ErrorResponse> {
    match frame.frame {
        Some(register_response::Frame::Error(error)) => Some(error),
        _ => None,
    }
}

fn opened(frame: RegisterResponse) -> Option<RpcCall> {
    match frame.frame {
        Some(register_response::Frame::RpcCall(call)) if call.flags & flags::OPEN != 0 => {
            Some(call)
        }
        _ => None,
    }
}

fn parts(frame: RegisterRequest) -> Option<RpcResponse> {
    match frame.frame {
        Some(register_request::Frame::RpcResponse(part)) => Some(part),
        _ => None,
    }
}

/// A whole answer in one frame, before the request has ended; and one of trailers only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_by_hand_answers_calls_of_either_gateway() -> Result<()> {
    let naive = NaiveGateway::start(Settings::default()).await?;
    for [clients, tunnels] in [
        product_gateway().await?,
        [naive.client_addr, naive.tunnel_addr],
    ] {
        let mut tunnel = Tunnel::dial(tunnels).await?;
        tunnel.register(info("a", &["test.Echo"])).await?;
        let client = Client::connect(clients).await?;
        let mut early = client
            .open(Call::new("/test.Echo/Any").build()?, false)
            .await?;
        let open = tunnel.find("OPEN", opened).await?;
        assert_eq!(
            (open.method.as_str(), open.authority.as_str()),
            ("/test.Echo/Any", "conformance.test")
        );
        let whole = RpcResponse {
            request_id: open.request_id,
            flags: flags::HEAD | flags::COMPLETE,
            message: "a%20b".into(),
            details: vec![0, 255].into(),
            data: framed(b"early"),
            ..RpcResponse::default()
        };
        tunnel.send(&part(whole)).await?;
        let answer = early.answer().await?;
        assert_eq!((answer.status()?, answer.message()), (0, "a%20b"));
        assert_eq!(answer.details()?.context("details")?, [0, 255][..]);
        assert_eq!(answer.messages[0].bytes, b"early"[..]);

        let mut only = client
            .open(Call::new("/test.Echo/Any").build()?, true)
            .await?;
        let open = tunnel.find("OPEN", opened).await?;
        let trailers = RpcResponse {
            request_id: open.request_id,
            flags: flags::COMPLETE,
            status: 9,
            ..RpcResponse::default()
        };
        tunnel.send(&part(trailers)).await?;
        let answer = only.answer().await?;
        assert_eq!(answer.status()?, 9);
        assert!(answer.head.is_none(), "trailers only");

        let unregister = UnregisterRequest::default();
        tunnel
            .send(&request(register_request::Frame::Unregister(unregister)))
            .await?;
        let drain = |frame: RegisterResponse| match frame.frame {
            Some(register_response::Frame::Drain(drain)) => Some(drain),
            _ => None,
        };
        assert!(tunnel.find("Drain", drain).await?.answer);
        tunnel.half_close();
        let (_, end) = tunnel.end().await?;
        assert_eq!(end.status(), Some(0), "{end:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn epochs_are_told_apart_by_either_gateway() -> Result<()> {
    let naive = NaiveGateway::start(Settings::default()).await?;
    for tunnels in [product_gateway().await?[1], naive.tunnel_addr] {
        let first = info("a", &["test.Echo"]);
        let mut second = first.clone();
        second.epoch.as_mut().context("an epoch")?.attempt += 1;
        let mut old = Tunnel::dial(tunnels).await?;
        old.register(first.clone()).await?;
        let mut same = Tunnel::dial(tunnels).await?;
        same.send(&request(register_request::Frame::InstanceInfo(first)))
            .await?;
        let refused = same.find("error", error).await?;
        assert_eq!((refused.code, refused.reason.as_str()), (6, "stale-epoch"));
        assert_eq!(same.end().await?.1.status(), Some(6));
        let mut higher = Tunnel::dial(tunnels).await?;
        higher.register(second).await?;
        let replaced = old.find("error", error).await?;
        assert_eq!(
            (replaced.code, replaced.reason.as_str()),
            (10, "superseded")
        );
        assert_eq!(old.end().await?.1.status(), Some(10));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_ends_a_tunnel_at_either_end() -> Result<()> {
    let quick = Settings {
        heartbeat_ms: 500,
        ..Settings::default()
    };
    let gateway = NaiveGateway::start(quick).await?;
    let mut silent = Tunnel::dial(gateway.tunnel_addr).await?;
    silent.register(info("silent", &["test.Echo"])).await?;
    let alive = serve(
        gateway.tunnel_addr,
        info("alive", &["test.Echo"]),
        Echo::default(),
    )
    .await?;
    let lost = silent.find("error", error).await?;
    assert_eq!((lost.code, lost.reason.as_str()), (14, "heartbeat-lost"));
    gateway.instances(1).await?;
    // The one that speaks has answered and asked.
    let tap = gateway.tap("alive").context("it is registered")?;
    for (reply, what) in [(true, "an answer"), (false, "a question")] {
        let beat = |frame: &Seen| match frame {
            Seen::Request(frame, _) => match &frame.frame {
                Some(register_request::Frame::Heartbeat(beat)) => {
                    (if reply { beat.reply_to } else { beat.nonce }) != 0
                }
                _ => false,
            },
            Seen::Response(..) => false,
        };
        tap.wait(what, |entry| {
            entry.way == Way::Received && beat(&entry.frame)
        })
        .await?;
    }
    drop(alive);

    let mut port = TunnelPort::listen().await?;
    let told = RegistrationAck {
        heartbeat_interval_ms: 500,
        ..ack()
    };
    let served = serve(port.addr(), info("a", &["test.Echo"]), Echo::default());
    let (served, gateway) = tokio::join!(served, port.register(told));
    let (served, _gateway) = (served?, gateway?);
    let end = served.ended().await?;
    assert!(matches!(end, StreamEnd::Connection(_)), "{end:?}");
    Ok(())
}

/// The product's instance and the suite's obey a gateway by hand in the same way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_by_hand_runs_calls_at_either_instance() -> Result<()> {
    let mut port = TunnelPort::listen().await?;
    let mut config = InstanceConfig::new("product", ["test.Echo"]);
    config
        .gateways
        .push(format!("http://{}", port.addr()).parse()?);
    config.health_watch = None;
    let product = Echo::default();
    let dialer = Arc::new(TcpDialer);
    let (instance, handle) = Instance::new(config, product.clone(), dialer, Clock::start());
    tokio::spawn(instance.run());
    let mut gateway = port.register(ack()).await?;
    obeys(&mut gateway, &product, || handle.drain()).await?;

    let own = Echo::default();
    let served = serve(port.addr(), info("own", &["test.Echo"]), own.clone());
    let (served, gateway) = tokio::join!(served, port.register(ack()));
    let (served, mut gateway) = (served?, gateway?);
    served.drain_once_told(&mut gateway, &own).await
}

trait Drains {
    async fn drain_once_told(&self, gateway: &mut Registered, echo: &Echo) -> Result<()>;
}

impl Drains for grpcrouter_conformance::tunnel::instance::ServedInstance {
    async fn drain_once_told(&self, gateway: &mut Registered, echo: &Echo) -> Result<()> {
        let (told, tells) = tokio::sync::oneshot::channel();
        let drains = async {
            tells.await?;
            self.drain().await
        };
        let obeys = obeys(gateway, echo, || {
            let _ = told.send(());
        });
        let (drained, obeyed) = tokio::join!(drains, obeys);
        drained.and(obeyed)
    }
}

async fn obeys(gateway: &mut Registered, echo: &Echo, drain: impl FnOnce()) -> Result<()> {
    let data = framed(&vec![5; 1_000]);
    let open = |request_id, method: &str| RpcCall {
        request_id,
        flags: flags::OPEN | flags::HALF_CLOSE,
        method: format!("/test.Echo/{method}"),
        data: data.clone(),
        ..RpcCall::default()
    };
    // A call in one frame.
    gateway.stream.send(&call(open(1, "Echo"))).await?;
    let mut bytes = Vec::new();
    loop {
        let part = gateway.stream.find("a frame of the answer", parts).await?;
        assert_eq!(part.request_id, 1);
        bytes.extend_from_slice(&part.data);
        if part.flags & flags::COMPLETE != 0 {
            assert_eq!(part.status, 0);
            break;
        }
    }
    assert_eq!(bytes, data);

    // One that is cancelled; then none of its frames come.
    gateway.stream.send(&call(open(2, "Hold"))).await?;
    let reset = RpcCall {
        request_id: 2,
        flags: flags::RESET,
        reset_code: 8,
        ..RpcCall::default()
    };
    gateway.stream.send(&call(reset)).await?;
    gateway.stream.send(&call(open(3, "None"))).await?;
    loop {
        let part = gateway.stream.find("the next answer", parts).await?;
        assert_eq!(part.request_id, 3, "{part:?}");
        if part.flags & flags::COMPLETE != 0 {
            assert_eq!(part.status, 12);
            break;
        }
    }

    // After the drain's answer an OPEN is refused, and the stream ends once no call runs.
    gateway.stream.send(&call(open(4, "Hold"))).await?;
    drain();
    let asks = |frame: RegisterRequest| match frame.frame {
        Some(register_request::Frame::Unregister(_)) => Some(()),
        _ => None,
    };
    gateway.stream.find("UnregisterRequest", asks).await?;
    let answer = grpcrouter_proto::v1::Drain {
        answer: true,
        ..grpcrouter_proto::v1::Drain::default()
    };
    let answer = register_response::Frame::Drain(answer);
    gateway
        .stream
        .send(&RegisterResponse {
            frame: Some(answer),
        })
        .await?;
    gateway.stream.send(&call(open(5, "Echo"))).await?;
    let part = gateway.stream.find("a refusal", parts).await?;
    assert_eq!(
        (part.request_id, part.flags),
        (5, flags::RESET | flags::REFUSED)
    );
    echo.open_gate();
    let (frames, end) = within("end", LIMIT, gateway.stream.end()).await??;
    assert!(matches!(end, StreamEnd::HalfClosed), "{end:?}");
    let last = frames
        .into_iter()
        .filter_map(parts)
        .next_back()
        .context("the answer")?;
    assert_eq!(
        (last.request_id, last.flags & flags::COMPLETE),
        (4, flags::COMPLETE)
    );
    gateway.stream.finish(0);
    Ok(())
}
