//! How calls and tunnels end.

use std::time::Duration;

use anyhow::Result;
use grpcrouter_conformance::client::Call;
use grpcrouter_conformance::tunnel::gateway::{NaiveGateway, Settings, TunnelPort, ack};
use grpcrouter_conformance::tunnel::instance::{Tunnel, serve};
use grpcrouter_conformance::tunnel::{call, flags, info, part};
use grpcrouter_conformance::wait::{LIMIT, until};
use grpcrouter_proto::v1::{RpcCall, RpcResponse, register_request, register_response};

use super::echo::Echo;
use super::worlds::{ARMS, Arm, Side, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_call_drops_its_handler() -> Result<()> {
    for arm in ARMS {
        let world = World::start(arm).await?;
        let client = world.client().await?;
        let mut held = client
            .open(Call::new("/test.Echo/Hold").build()?, true)
            .await?;
        let mut other = client
            .open(Call::new("/test.Echo/Hold").build()?, false)
            .await?;
        other.send(b"half a stream").await?;
        until("handlers", LIMIT, || world.echo.began() == 2).await?;
        held.cancel();
        other.cancel();
        until("drop of both handlers", LIMIT, || world.echo.dropped() == 2).await?;
        world.quiet().await?;

        // A connection that dies takes its calls with it.
        let _third = client
            .open(Call::new("/test.Echo/Hold").build()?, true)
            .await?;
        until("third handler", LIMIT, || world.echo.began() == 3).await?;
        client.kill().await;
        until("drop of the third handler", LIMIT, || {
            world.echo.dropped() == 3
        })
        .await?;
        world.quiet().await?;
        world.check();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_both_sides() -> Result<()> {
    for arm in ARMS {
        let world = World::start(arm).await?;
        let client = world.client().await?;
        let call = Call::new("/test.Echo/Hold").timeout(Duration::from_millis(200));
        let answer = client.unary(call, b"too late").await?;
        assert_eq!(
            (answer.status()?, answer.reason()),
            (4, "deadline"),
            "{arm:?}"
        );
        until("drop of the handler", LIMIT, || world.echo.dropped() == 1).await?;
        world.quiet().await?;
        world.check();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_loses_no_call() -> Result<()> {
    for arm in ARMS {
        let world = World::start(arm).await?;
        let client = world.client().await?;
        let mut held = client
            .open(Call::new("/test.Echo/Hold").build()?, false)
            .await?;
        held.send(b"before the drain").await?;
        until("handler", LIMIT, || world.echo.began() == 1).await?;
        match &world.instance {
            Side::Own(instance) => instance.drain().await?,
            Side::Product(instance) => instance.drain(),
        }
        // Calls are served until the gateway has heard of it, and none is lost.
        loop {
            let answer = client.unary(Call::new("/test.Echo/Echo"), b"").await?;
            match (answer.status()?, answer.reason()) {
                (0, _) => {}
                got => {
                    // Either describes a service whose only instance drains.
                    assert!(
                        matches!(got, (14, "draining" | "no-instance")),
                        "{arm:?}: {got:?}"
                    );
                    break;
                }
            }
        }
        world.echo.open_gate();
        held.half_close();
        let answer = held.answer().await?;
        assert_eq!(answer.status()?, 0, "{arm:?}");
        assert_eq!(answer.messages[0].bytes, b"before the drain"[..]);
        if let Side::Own(instance) = &world.instance {
            assert_eq!(instance.ended().await?.status(), Some(0), "{arm:?}");
        }
        let after = client.unary(Call::new("/test.Echo/Echo"), b"").await?;
        assert_eq!(after.status()?, 14, "{arm:?}");
        world.check();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_instance_is_lost_and_a_higher_epoch_takes_its_id() -> Result<()> {
    for arm in [Arm::Own, Arm::ProductGateway] {
        let world = World::start(arm).await?;
        let tunnels = match &world.gateway {
            Side::Own(gateway) => Some(gateway.tunnel_addr),
            Side::Product(_) => None,
        };
        let client = world.client().await?;
        let mut held = client
            .open(Call::new("/test.Echo/Hold").build()?, true)
            .await?;
        until("handler", LIMIT, || world.echo.began() == 1).await?;
        let Side::Own(instance) = world.instance else {
            panic!("the instance is the suite's");
        };
        if let Some(tunnels) = tunnels {
            let next = serve(tunnels, info("a", &["test.Echo"]), Echo::default()).await?;
            assert_eq!(instance.ended().await?.status(), Some(10), "superseded");
            drop(next);
        } else {
            instance.kill().await?;
        }
        let answer = held.answer().await?;
        assert_eq!(
            (answer.status()?, answer.reason()),
            (14, "instance-lost"),
            "{arm:?}"
        );
    }
    Ok(())
}

/// What is refused before a handler saw it goes elsewhere, with its message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_is_tried_once_more() -> Result<()> {
    let gateway = NaiveGateway::start(Settings::default()).await?;
    let mut refuses = Tunnel::dial(gateway.tunnel_addr).await?;
    refuses.register(info("refuses", &["test.Echo"])).await?;
    let _serves = serve(
        gateway.tunnel_addr,
        info("serves", &["test.Echo"]),
        Echo::default(),
    )
    .await?;
    let client = grpcrouter_conformance::client::Client::connect(gateway.client_addr).await?;
    let refusals = async {
        for _ in 0..2 {
            let open = refuses.find("OPEN", opened).await?;
            let refusal = RpcResponse {
                request_id: open.request_id,
                flags: flags::RESET | flags::REFUSED,
                reset_code: 7,
                ..RpcResponse::default()
            };
            refuses.send(&part(refusal)).await?;
        }
        anyhow::Ok(())
    };
    let calls = async {
        for _ in 0..4 {
            let answer = client.unary(Call::new("/test.Echo/Echo"), b"again").await?;
            assert_eq!(answer.status()?, 0, "{answer:?}");
            assert_eq!(answer.messages[0].bytes, b"again"[..]);
        }
        anyhow::Ok(())
    };
    let (refusals, calls) = tokio::join!(refusals, calls);
    refusals.and(calls)
}

/// The instance sees what a gateway does wrong, and ends no other call for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_instance_judges_the_frames_of_its_gateway() -> Result<()> {
    let mut port = TunnelPort::listen().await?;
    let served = serve(port.addr(), info("a", &["test.Echo"]), Echo::default());
    let (served, registered) = tokio::join!(served, port.register(ack()));
    let (served, mut gateway) = (served?, registered?);
    assert_eq!(gateway.info.instance_id, "a");
    let open = |request_id| RpcCall {
        request_id,
        flags: flags::OPEN,
        method: "/test.Echo/Hold".to_owned(),
        ..RpcCall::default()
    };
    let more = |request_id, seq, data: usize| RpcCall {
        request_id,
        seq,
        data: vec![0; data].into(),
        ..RpcCall::default()
    };
    for id in [1, 2, 3] {
        gateway.stream.send(&call(open(id))).await?;
    }
    gateway.stream.send(&call(more(1, 1, 1))).await?;
    gateway.stream.send(&call(more(2, 0, 40_000))).await?;
    gateway.stream.send(&call(more(2, 1, 41_921))).await?;
    for (id, code) in [(1, 1), (2, 3)] {
        let reset = |frame: grpcrouter_proto::v1::RegisterRequest| match frame.frame {
            Some(register_request::Frame::RpcResponse(part)) if part.flags == flags::RESET => {
                Some(part)
            }
            _ => None,
        };
        let reset = gateway.stream.find("RESET", reset).await?;
        assert_eq!((reset.request_id, reset.reset_code), (id, code));
    }
    assert_eq!(
        served.breaches(),
        ["a gap or a repeat in seq", "data without credit"]
    );
    served.calls(1).await?;
    gateway.stream.send(&call(open(3))).await?;
    let (_, end) = gateway.stream.end().await?;
    assert!(
        matches!(
            end,
            grpcrouter_conformance::tunnel::stream::StreamEnd::Reset(_)
        ),
        "an id in use ends the tunnel: {end:?}"
    );
    Ok(())
}

fn opened(frame: grpcrouter_proto::v1::RegisterResponse) -> Option<RpcCall> {
    match frame.frame {
        Some(register_response::Frame::RpcCall(call)) if call.flags & flags::OPEN != 0 => {
            Some(call)
        }
        _ => None,
    }
}
