//! A gateway, two instances and a client in one process: a call of each kind through the gateway.
//!
//! Run it with `cargo xtask demo`. Everything listens on loopback, on ports that the system chose.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use grpcrouter::{
    Clock, Gateway, GatewayConfig, Instance, InstanceConfig, InstanceError, InstanceHandle,
    Listener, TcpDialer, TcpListener,
};
use grpcrouter_echo::EchoService;
use grpcrouter_echo::pb::echo_client::EchoClient;
use grpcrouter_echo::pb::echo_server::{EchoServer, SERVICE_NAME};
use grpcrouter_echo::pb::{EchoReply, EchoRequest};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Request;
use tonic::service::Routes;
use tonic::transport::Channel;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// All of it takes well under a second; on a machine where it hangs, somebody should learn of it.
const LIMIT: Duration = Duration::from_secs(20);
/// An instance tries again when its dial fails; this long.
const REGISTER_LIMIT: Duration = Duration::from_secs(5);
const STEPS: usize = 8;

#[tokio::main]
async fn main() -> ExitCode {
    let done = timeout(LIMIT, demo()).await;
    match done.unwrap_or_else(|_| Err(format!("not done within {LIMIT:?}").into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demo failed: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<()> {
    let gateway = RunningGateway::start().await?;
    step(1, "a gateway is running");
    println!("      clients call    http://{}", gateway.clients);
    println!("      instances dial  http://{}", gateway.tunnels);

    let instances = [
        RunningInstance::start("east", gateway.tunnels).await?,
        RunningInstance::start("west", gateway.tunnels).await?,
    ];
    step(2, "two instances dialled out and registered");
    println!("      `east` and `west` serve {SERVICE_NAME}; neither listens on a port");

    let mut client = EchoClient::connect(format!("http://{}", gateway.clients)).await?;
    step(3, "unary: Say");
    let reply = client.say(text("hello")).await?;
    show(&reply.into_inner());

    step(4, "server streaming: Expand");
    let mut replies = client.expand(text("one two three")).await?.into_inner();
    while let Some(reply) = replies.message().await? {
        show(&reply);
    }

    step(5, "client streaming: Collect");
    let reply = client
        .collect(tokio_stream::iter(["four", "five", "six"].map(text)))
        .await?;
    show(&reply.into_inner());

    step(
        6,
        "bidirectional streaming: Chat, each line sent after the last answer",
    );
    chat(&mut client).await?;

    step(
        7,
        "pinned: `grpcrouter-instance: west` in the metadata, twice",
    );
    for _ in 0..2 {
        let mut request = Request::new(text("to you alone"));
        let west = "west".parse()?;
        request.metadata_mut().insert("grpcrouter-instance", west);
        let reply = client.say(request).await?.into_inner();
        show(&reply);
        if reply.instance != "west" {
            return Err(format!("`{}` answered a call that was pinned", reply.instance).into());
        }
    }

    drop(client);
    for instance in instances {
        instance.stop().await?;
    }
    gateway.stop().await?;
    step(8, "drained: both instances and the gateway have ended");
    Ok(())
}

async fn chat(client: &mut EchoClient<Channel>) -> Result<()> {
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut replies = client.chat(requests).await?.into_inner();
    for line in ["knock knock", "it is me"] {
        send.send(text(line)).await?;
        let reply = replies.message().await?;
        show(&reply.ok_or("Chat ended before its answer")?);
    }
    drop(send);
    match replies.message().await? {
        None => Ok(()),
        Some(reply) => Err(format!("Chat answered once too often: {reply:?}").into()),
    }
}

fn text(text: &str) -> EchoRequest {
    EchoRequest { text: text.into() }
}

fn step(number: usize, what: &str) {
    println!("[{number}/{STEPS}] {what}");
}

fn show(reply: &EchoReply) {
    println!("      {} answered {:?}", reply.instance, reply.text);
}

/// A gateway with a port for clients and one for tunnels.
struct RunningGateway {
    gateway: Gateway,
    clients: SocketAddr,
    tunnels: SocketAddr,
    serving: JoinHandle<()>,
}

impl RunningGateway {
    async fn start() -> Result<Self> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let client_port = TcpListener::bind(any_port).await?;
        let tunnel_port = TcpListener::bind(any_port).await?;
        let (clients, tunnels) = (client_port.local_addr()?, tunnel_port.local_addr()?);
        let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
        let serving = tokio::spawn({
            let gateway = gateway.clone();
            async move {
                tokio::join!(
                    gateway.serve_clients(client_port),
                    gateway.serve_tunnels(tunnel_port)
                );
            }
        });
        Ok(Self {
            gateway,
            clients,
            tunnels,
            serving,
        })
    }

    async fn stop(self) -> Result<()> {
        let left = self.gateway.drain().await;
        self.serving.await?;
        match left {
            0 => Ok(()),
            left => Err(format!("{left} calls were still running").into()),
        }
    }
}

/// An instance of the echo service.
struct RunningInstance {
    handle: InstanceHandle,
    running: JoinHandle<std::result::Result<(), InstanceError>>,
}

impl RunningInstance {
    /// Starts it and waits until the gateway has it.
    async fn start(name: &str, gateway: SocketAddr) -> Result<Self> {
        let mut config = InstanceConfig::new(name, [SERVICE_NAME]);
        config.gateways.push(format!("http://{gateway}").parse()?);
        let routes = Routes::new(EchoServer::new(EchoService::new(name)));
        let (instance, handle) = Instance::new(config, routes, Arc::new(TcpDialer), Clock::start());
        let running = tokio::spawn(instance.run());
        let mut registrations = handle.registrations();
        let registered = registrations.wait_for(|counts| counts.iter().all(|count| *count > 0));
        match timeout(REGISTER_LIMIT, registered).await {
            Ok(Ok(_)) => Ok(Self { handle, running }),
            Ok(Err(_)) => {
                // It ended, and says why.
                running.await??;
                Err(format!("instance `{name}` ended before it registered").into())
            }
            Err(_) => Err(format!("`{name}` did not register within {REGISTER_LIMIT:?}").into()),
        }
    }

    async fn stop(self) -> Result<()> {
        self.handle.drain();
        Ok(self.running.await??)
    }
}

/// One line: the error, and what caused it.
fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
