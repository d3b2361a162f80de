//! Every generated router carries a call to each method of its service: mounted on a real gateway, with a
//! generated instance behind it that dialled in over loopback, and a generated client in front.

mod call;
mod implement;

/// A test that implements the service, mounts its router, starts an instance and calls every method with
/// this key.
macro_rules! service {
    (
        $(#[$attribute:meta])*
        $test:ident: $package:path, $server:ident::$service:ident, $module:ident::$router:ident, $instance:ident, $key:literal {
            $($kind:ident $method:ident($request:ty) -> $response:ty $(as $stream:ident)?;)+
        }
    ) => {
        $(#[$attribute])*
        mod $test {
            use $package as package;
            #[allow(unused_imports, reason = "some packages have no messages of their own")]
            use package::*;
            use package::$module::{$instance, $router};

            crate::implement::implement!(
                package::$server::$service: $($kind $method($request) -> $response $(as $stream)?),+
            );

            #[tokio::test]
            async fn each_of_its_kinds_is_called() {
                let (gateway, mode) = crate::call::gateway().await;
                gateway.mount($router::new());
                let instance = $instance::new(crate::implement::Empty).keys([$key]);
                let serving = instance.start(mode).await.expect("it registers");
                assert_eq!(serving.id(), Some(crate::call::ID));
                let mut client = $router::client_with_key(&gateway, $key);
                $(crate::call::call!(client $kind $method $request);)+
            }
        }
    };
}

mod inputs;
