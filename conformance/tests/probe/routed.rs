//! The probe behind this project's gateway, as subjects: by the instance library, and by the agent.

use std::net::SocketAddr;
use std::time::Duration;

use grpcrouter_conformance::pb::{SubjectRequest, SubjectRole, SubjectSettings};
use grpcrouter_conformance::probe::Script;
use grpcrouter_conformance::probe::payload::{crc_of_made, framed, framed_message};
use grpcrouter_conformance::probe::side::{Amount, Side};
use grpcrouter_conformance::subject::Running;

use crate::client::{Client, status_of};
use crate::subjects::{instance, program};

/// How long a subject may take to exit.
const EXIT: Duration = Duration::from_secs(30);

/// A gateway with one instance, and a client of it.
struct Path {
    side: Side,
    gateway: Running,
    instance: Running,
    client: Client,
}

impl Path {
    async fn start(kind: &str) -> Self {
        let side = Side::listen().await.unwrap();
        let settings = SubjectSettings {
            call_window: 64 * 1024,
            call_window_max: 64 * 1024,
            ..SubjectSettings::default()
        };
        let asked = SubjectRequest {
            role: SubjectRole::Gateway.into(),
            settings: Some(settings.clone()),
            ..SubjectRequest::default()
        };
        let gateway = program("gateway").start(&asked, &side).await.unwrap();
        let mut asked = instance("i-1", &side, &gateway.reply.tunnel_addr);
        asked.settings = Some(settings);
        let instance = program(kind).start(&asked, &side).await.unwrap();
        let addr: SocketAddr = gateway.reply.client_addr.parse().unwrap();
        let client = Client::connect(addr).await;
        client.until_routed().await;
        Self {
            side,
            gateway,
            instance,
            client,
        }
    }

    async fn all_four_kinds(&self) {
        let script = Script::new().head().read(1).echo_all().send_from(7, 1, 600);
        for kind in ["Unary", "ClientStream", "ServerStream", "Bidi"] {
            let mut call = self.client.call(kind, kind, &script).await;
            for n in 0..3 {
                call.send(framed_message(n, 100));
            }
            call.half_close();
            let mut answer = call.answer().await;
            for (n, size) in [(1, 100), (2, 100), (7, 600)] {
                assert_eq!(answer.message().await, Some(framed_message(n, size)));
            }
            assert_eq!(answer.status().await, "0");
            let watched = self.side.call(kind);
            assert_eq!(watched.finished().await.unwrap(), 0);
            let counts = watched.counts();
            assert_eq!(counts.taken, Amount::new(3, 300));
            assert_eq!(counts.crc, crc_of_made(0, 3, 100));
            assert!(counts.half_closed);
            assert_eq!(watched.all_runs()[0].instance, "i-1");
        }
    }

    async fn trailers_only_and_a_head_without_messages(&self) {
        let trailers = [("t-bin", &[0, 0xff][..])];
        let only = Script::new().finish_with(7, "no", &trailers);
        let mut call = self.client.call("Bidi", "only", &only).await;
        let answer = call.answer().await;
        assert!(answer.is_only);
        assert_eq!(status_of(&answer.headers), "7");
        assert_eq!(answer.headers["t-bin"], "AP8");
        let apart = Script::new().head_with(&[("h", b"1")]).finish(8);
        let mut call = self.client.call("Bidi", "apart", &apart).await;
        let mut answer = call.answer().await;
        assert_eq!(answer.headers["h"], "1");
        assert!(!answer.is_only);
        assert_eq!(answer.status().await, "8");
    }

    async fn a_reset_cancels(&self) {
        let script = Script::new().head().wait("never");
        let mut call = self.client.call("Bidi", "cut", &script).await;
        call.answer().await;
        call.cancel();
        self.side.call("cut").cancelled().await.unwrap();
    }

    /// More than the bound is on offer, and no more than it goes out while nobody reads.
    async fn a_stall_holds_the_sender_within_the_bound(&self) {
        let script = Script::new().wait("go").read_all();
        let mut call = self.client.call("ClientStream", "stall", &script).await;
        let watched = self.side.call("stall");
        watched.waiting("go").await.unwrap();
        let offered = 2 * 1024 * 1024;
        let sent = call.send_until_stalled(framed(0, &vec![7; offered])).await;
        let bound = self.gateway.reply.bound_bytes + self.instance.reply.bound_bytes;
        assert!(
            sent as u64 <= bound,
            "{sent} bytes, where {bound} is the bound"
        );
        assert_eq!(watched.counts().taken, Amount::default());
        watched.release("go");
        call.send_the_rest().await;
        assert_eq!(status_of(&call.answer().await.headers), "0");
        let all = watched.until(|counts| counts.half_closed).await.unwrap();
        assert_eq!(all.taken, Amount::new(1, offered as u64));
    }

    async fn an_abort_ends_that_call_alone(&self) {
        let mut call = self
            .client
            .call("Bidi", "abort", &Script::new().abort())
            .await;
        let status = status_of(&call.answer().await.headers);
        assert_ne!(status, "0");
        let mut call = self
            .client
            .call("Bidi", "after", &Script::new().finish(0))
            .await;
        assert_eq!(status_of(&call.answer().await.headers), "0");
    }

    async fn sigterm_drains(mut self) {
        let script = Script::new().head().wait("go").send(1, 1).finish(0);
        let mut call = self.client.call("Bidi", "last", &script).await;
        let mut answer = call.answer().await;
        self.instance.terminate();
        self.side.draining("i-1").await.unwrap();
        self.side.call("last").release("go");
        assert_eq!(answer.message().await, Some(framed_message(0, 1)));
        assert_eq!(answer.status().await, "0");
        assert!(self.instance.exited(EXIT).await.unwrap().success());
        assert_eq!(self.side.ended("i-1").await.unwrap(), 0);
        assert_eq!(self.side.faults(), [""; 0]);
        drop(call);
        self.gateway.terminate();
        assert!(self.gateway.exited(EXIT).await.unwrap().success());
    }
}

#[tokio::test]
async fn the_instance_library_hosts_the_probe() {
    let path = Path::start("instance").await;
    path.all_four_kinds().await;
    path.trailers_only_and_a_head_without_messages().await;
    path.a_reset_cancels().await;
    path.a_stall_holds_the_sender_within_the_bound().await;
    path.an_abort_ends_that_call_alone().await;
    path.sigterm_drains().await;
}

#[tokio::test]
async fn the_agent_hosts_the_probe() {
    let path = Path::start("agent").await;
    path.all_four_kinds().await;
    path.trailers_only_and_a_head_without_messages().await;
    path.a_reset_cancels().await;
    path.a_stall_holds_the_sender_within_the_bound().await;
    path.an_abort_ends_that_call_alone().await;
    path.sigterm_drains().await;
}
