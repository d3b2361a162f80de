//! Four kinds of call through every pair of roles.

use anyhow::Result;
use grpcrouter_conformance::client::{Call, text};

use super::echo::NUMBERS;
use super::worlds::{ARMS, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_kinds_arrive_whole_and_in_order() -> Result<()> {
    for arm in ARMS {
        let world = World::start(arm).await?;
        let client = world.client().await?;

        let message = vec![7; 64 * 1024];
        let echoed = client.unary(Call::new("/test.Echo/Echo"), &message).await?;
        assert_eq!(echoed.status()?, 0, "{arm:?}");
        assert_eq!(echoed.messages.len(), 1);
        assert_eq!(echoed.messages[0].bytes, message);
        assert_eq!(text(&echoed.trailers, "x-trailer"), "kept");

        let mut counted = client
            .open(Call::new("/test.Echo/Count").build()?, true)
            .await?;
        let answer = counted.answer().await?;
        assert_eq!(
            (answer.status()?, &answer.messages[0].bytes[..]),
            (0, &[0; 4][..]),
            "{arm:?}"
        );

        let mut numbers = client
            .open(Call::new("/test.Echo/Numbers").build()?, true)
            .await?;
        for n in 0..NUMBERS {
            let message = numbers.message().await?.expect("more numbers");
            assert_eq!(message.bytes, n.to_be_bytes()[..], "{arm:?}");
        }
        assert!(numbers.message().await?.is_none());

        let mut both = client
            .open(Call::new("/test.Echo/Echo").build()?, false)
            .await?;
        let sends = async {
            for n in 0..NUMBERS {
                both.sending.send(&n.to_be_bytes()).await?;
            }
            both.sending.half_close();
            anyhow::Ok(())
        };
        let (sent, answer) = tokio::join!(sends, both.reading.answer());
        sent?;
        let answer = answer?;
        let order: Vec<_> = (0..NUMBERS).map(|n| n.to_be_bytes().to_vec()).collect();
        let got: Vec<_> = answer
            .messages
            .iter()
            .map(|message| message.bytes.to_vec())
            .collect();
        assert!(got == order, "{arm:?}");

        world.quiet().await?;
        world.check();
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_and_statuses_pass() -> Result<()> {
    for arm in ARMS {
        let world = World::start(arm).await?;
        let client = world.client().await?;
        let call = Call::new("/test.Echo/Echo");
        let call = call
            .header("x-dup", "1")
            .header("x-dup", "2")
            .bin("x-raw-bin", [0, 255]);
        let answer = client.unary(call.header("te-not", "x"), b"").await?;
        let head = answer.head.as_ref().expect("a head");
        let dup: Vec<_> = head.get_all("x-dup").iter().collect();
        assert_eq!(dup, ["1", "2"], "{arm:?}");
        assert_eq!(text(head, "x-raw-bin"), "AP8");

        let unknown = client.unary(Call::new("/test.Echo/None"), b"").await?;
        assert_eq!(unknown.status()?, 12, "{arm:?}: {unknown:?}");
        assert_eq!(unknown.reason(), "", "the handler's own");
        let elsewhere = client.unary(Call::new("/test.Other/None"), b"").await?;
        assert_eq!(
            (elsewhere.status()?, elsewhere.reason()),
            (12, "unknown-service"),
            "{arm:?}"
        );
        let nobody = Call::new("/test.Echo/Echo").instance("b");
        let nobody = client.unary(nobody, b"").await?;
        assert_eq!(
            (nobody.status()?, nobody.reason()),
            (14, "no-instance"),
            "{arm:?}"
        );

        let get = Call::new("/test.Echo/Echo").http_method(http::Method::GET);
        let mut get = client.open(get.build()?, true).await?;
        assert_eq!(get.head().await?.status, 405, "{arm:?}");
        world.quiet().await?;
        world.check();
    }
    Ok(())
}
