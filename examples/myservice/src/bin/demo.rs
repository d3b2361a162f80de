//! The generated router of `MyService` with two instances, in one process: every kind of call, and every
//! way to find an instance.
//!
//! Run it with `cargo xtask demo`. Everything listens on loopback, on ports that the system chose.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use grpcrouter::routing::{Balance, MethodRoute};
use grpcrouter::{Clock, Gateway, GatewayConfig, Listener, Mode, Serving, TcpListener};
use grpcrouter_myservice::Implementation;
use grpcrouter_myservice::pb::my_service_client::MyServiceClient;
use grpcrouter_myservice::pb::my_service_router::{MyServiceInstance, MyServiceRouter};
use grpcrouter_myservice::pb::{
    Method1Request, Method2Request, Method3Request, StreamMethodRequest,
};
use grpcrouter_myservice::process::{Result, exit};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

/// All of it takes well under a second; on a machine where it hangs, somebody should learn of it.
const LIMIT: Duration = Duration::from_secs(20);
const STEPS: usize = 9;
/// Calls before an instance leaves, while it is away, and half as many of its own once it is back.
const CALLS: usize = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let done = timeout(LIMIT, demo()).await;
    exit(done.unwrap_or_else(|_| Err(format!("not done within {LIMIT:?}").into())))
}

async fn demo() -> Result<()> {
    let running = Running::start().await?;
    step(1, "a gateway with the generated router of MyService");
    println!("      clients call    http://{}", running.clients);
    println!("      instances dial  http://{}", running.tunnels);

    let east = running.instance("east").await?;
    let west = running.instance("west").await?;
    step(
        2,
        "two instances dialled out and registered; neither listens on a port",
    );

    let mut client = MyServiceClient::connect(format!("http://{}", running.clients)).await?;
    all_kinds(&mut client).await?;
    pinned(&mut client).await?;
    hashed(&running, &mut client).await?;
    in_turn(&running, &mut client).await?;
    by_path(&running).await?;
    let west = leave_and_join(&running, &client, west).await?;

    drop(client);
    for mut instance in [east, west] {
        instance.drain();
        instance.ended().await?;
    }
    running.stop().await?;
    step(9, "drained: both instances and the gateway have ended");
    Ok(())
}

async fn all_kinds(client: &mut MyServiceClient<Channel>) -> Result<()> {
    step(
        3,
        "all four kinds of call, pinned to `west` by `instanceid` in the metadata",
    );
    let answer = client.method1(at("west", hello(1))).await?.into_inner();
    expect("west", &answer.instance_id)?;
    println!("      unary                    {:?}", answer.result);

    let items = ["one", "two"].map(String::from).to_vec();
    let mut answers = client
        .method2(at("west", Method2Request { items }))
        .await?
        .into_inner();
    while let Some(answer) = answers.message().await? {
        expect("west", &answer.instance_id)?;
        println!("      server streaming         {:?}", answer.result);
    }

    let batch = (1..=3).map(|batch_id| Method3Request {
        data: "ten bytes.".into(),
        batch_id,
    });
    let answer = client
        .method3(at("west", tokio_stream::iter(batch)))
        .await?
        .into_inner();
    expect("west", &answer.instance_id)?;
    println!("      client streaming         {:?}", answer.summary);

    let (send, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = client
        .stream_method(at("west", requests))
        .await?
        .into_inner();
    for (sequence, message) in (1..).zip(["knock knock", "it is me"]) {
        send.send(StreamMethodRequest {
            message: message.into(),
            sequence,
        })
        .await?;
        let answer = answers.next().await.ok_or("StreamMethod ended early")??;
        expect("west", &answer.instance_id)?;
        println!("      bidirectional streaming  {:?}", answer.response);
    }
    Ok(())
}

async fn pinned(client: &mut MyServiceClient<Channel>) -> Result<()> {
    step(4, "pinned: the key names an instance");
    for id in ["east", "west", "east"] {
        let answer = client.method1(at(id, hello(0))).await?.into_inner();
        println!("      instanceid {id}  ->  {}", answer.instance_id);
        expect(id, &answer.instance_id)?;
    }
    let Err(status) = client.method1(at("north", hello(0))).await else {
        return Err("an instance that is not there answered".into());
    };
    println!(
        "      instanceid north ->  {:?}: {}",
        status.code(),
        status.message()
    );
    Ok(())
}

/// The options of the .proto file are where routes begin; code can change each of them, with types.
async fn hashed(running: &Running, client: &mut MyServiceClient<Channel>) -> Result<()> {
    step(
        5,
        "consistent hashing, by a function of the typed request: `value`",
    );
    running
        .gateway
        .mount(MyServiceRouter::new().method1(|route| {
            route
                .key(|q| Some(q.value))
                .balance(Balance::ConsistentHash)
        }));
    for value in 1..=4 {
        let first = client.method1(hello(value)).await?.into_inner().instance_id;
        let again = client.method1(hello(value)).await?.into_inner().instance_id;
        println!("      value {value}  ->  {first}, and again {again}");
        expect(&first, &again)?;
    }
    Ok(())
}

async fn in_turn(running: &Running, client: &mut MyServiceClient<Channel>) -> Result<()> {
    step(6, "round robin");
    running
        .gateway
        .mount(MyServiceRouter::new().method1(|route| route.balance(Balance::RoundRobin)));
    let mut names = Vec::new();
    for _ in 0..4 {
        names.push(client.method1(hello(0)).await?.into_inner().instance_id);
    }
    println!("      {}", names.join(", "));
    expect(&names[0], &names[2])?;
    expect(&names[1], &names[3])
}

async fn by_path(running: &Running) -> Result<()> {
    step(7, "path-based: the key is a segment of the path");
    running
        .gateway
        .mount(MyServiceRouter::new().method1(MethodRoute::path));
    let channel = Endpoint::new(format!("http://{}", running.clients))?
        .connect()
        .await?;
    for id in ["east", "west"] {
        let origin = format!("http://{}/api/v1/{id}", running.clients).parse()?;
        let mut client = MyServiceClient::with_origin(channel.clone(), origin);
        let answer = client.method1(hello(0)).await?.into_inner();
        println!(
            "      /api/v1/{id}/myservice.v1.MyService/Method1  ->  {}",
            answer.instance_id
        );
        expect(id, &answer.instance_id)?;
    }
    Ok(())
}

async fn leave_and_join(
    running: &Running,
    client: &MyServiceClient<Channel>,
    mut west: Serving,
) -> Result<Serving> {
    step(
        8,
        "`west` leaves and joins again while calls go on, in turn",
    );
    running
        .gateway
        .mount(MyServiceRouter::new().method1(|route| route.balance(Balance::RoundRobin)));
    // Who answered so far. Calls go on until nobody counts any more.
    let (answered, mut answers) = tokio::sync::watch::channel(Vec::<String>::new());
    let mut calling = client.clone();
    let calls: JoinHandle<std::result::Result<(), tonic::Status>> = tokio::spawn(async move {
        while !answered.is_closed() {
            let answer = calling.method1(hello(0)).await?.into_inner();
            answered.send_modify(|names| names.push(answer.instance_id));
        }
        Ok(())
    });
    answers.wait_for(|names| names.len() >= CALLS).await?;
    west.drain();
    west.ended().await?;
    let left = answers.borrow().len();
    answers
        .wait_for(|names| names.len() >= left + CALLS)
        .await?;
    let joined = answers.borrow().len();
    let west = running.instance("west").await?;
    let again = |names: &Vec<String>| names[joined..].iter().filter(|it| *it == "west").count();
    let names = answers
        .wait_for(|names| again(names) >= CALLS / 2)
        .await?
        .clone();
    drop(answers);
    calls.await??;
    let of = |name: &str| names.iter().filter(|n| *n == name).count();
    println!(
        "      {} calls: {} by east, {} by west, none failed",
        names.len(),
        of("east"),
        of("west")
    );
    Ok(west)
}

fn hello(value: i32) -> Method1Request {
    Method1Request {
        data: "hello".into(),
        value,
    }
}

/// A request with its key in the metadata.
fn at<T>(id: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let id = tonic::metadata::MetadataValue::from_static(id);
    request.metadata_mut().insert("instanceid", id);
    request
}

fn expect(expected: &str, got: &str) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(format!("`{got}` answered a call for `{expected}`").into())
}

fn step(number: usize, what: &str) {
    println!("[{number}/{STEPS}] {what}");
}

/// A gateway with a port for clients and one for tunnels.
struct Running {
    gateway: Gateway,
    clients: SocketAddr,
    tunnels: SocketAddr,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start() -> Result<Self> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let client_port = TcpListener::bind(any_port).await?;
        let tunnel_port = TcpListener::bind(any_port).await?;
        let (clients, tunnels) = (client_port.local_addr()?, tunnel_port.local_addr()?);
        let gateway = Gateway::new(GatewayConfig::default(), Clock::start());
        gateway.mount(MyServiceRouter::new());
        let serves = gateway.clone();
        let serving = tokio::spawn(async move {
            tokio::join!(
                serves.serve_clients(client_port),
                serves.serve_tunnels(tunnel_port)
            );
        });
        Ok(Self {
            gateway,
            clients,
            tunnels,
            serving,
        })
    }

    /// Starts an instance; it is registered when this returns.
    async fn instance(&self, id: &str) -> Result<Serving> {
        let gateways = vec![format!("http://{}", self.tunnels).parse()?];
        let mode = Mode::Routed {
            gateways,
            id: id.to_owned(),
        };
        Ok(MyServiceInstance::new(Implementation::new(id))
            .start(mode)
            .await?)
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
