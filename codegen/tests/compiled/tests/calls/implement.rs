//! Implementations of the generated traits, method by method, as short as can be: they read all of the
//! request and answer with an empty message, or with one.

use std::future::Future;
use std::pin::Pin;

use tonic::{Request, Response, Status, Streaming};

/// What serves every service.
#[derive(Clone, Copy)]
pub(crate) struct Empty;

/// What tonic's `async_trait` makes of the methods of a service.
pub(crate) type Answer<'a, T> =
    Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// One message.
pub(crate) type Once<T> = tokio_stream::Once<Result<T, Status>>;

pub(crate) fn unary<'a, Q: Send + 'a, T: Default + Send + 'a>(_: Request<Q>) -> Answer<'a, T> {
    Box::pin(async { Ok(Response::new(T::default())) })
}

pub(crate) fn server_streaming<'a, Q: Send + 'a, T: Default + Send + 'a>(
    _: Request<Q>,
) -> Answer<'a, Once<T>> {
    Box::pin(async { Ok(Response::new(tokio_stream::once(Ok(T::default())))) })
}

pub(crate) fn client_streaming<'a, Q: Send + 'a, T: Default + Send + 'a>(
    request: Request<Streaming<Q>>,
) -> Answer<'a, T> {
    Box::pin(async {
        read(request).await?;
        Ok(Response::new(T::default()))
    })
}

pub(crate) fn bidirectional<'a, Q: Send + 'a, T: Default + Send + 'a>(
    request: Request<Streaming<Q>>,
) -> Answer<'a, Once<T>> {
    Box::pin(async {
        read(request).await?;
        Ok(Response::new(tokio_stream::once(Ok(T::default()))))
    })
}

async fn read<Q>(request: Request<Streaming<Q>>) -> Result<(), Status> {
    let mut messages = request.into_inner();
    while messages.message().await?.is_some() {}
    Ok(())
}

/// `implement!(module_server::Service: kind method(Request) -> Response, ...)`; where the server streams,
/// `-> Response as MethodStream`.
macro_rules! implement {
    ($($server:ident)::+: $($kind:ident $method:ident($request:ty) -> $response:ty $(as $stream:ident)?),+ $(,)?) => {
        impl $($server)::+ for crate::implement::Empty {
            $(crate::implement::method!($kind $method $request, $response $(, $stream)?);)+
        }
    };
}

macro_rules! method {
    (unary $method:ident $request:ty, $response:ty) => {
        crate::implement::method!(@ unary $method tonic::Request<$request>, $response);
    };
    (client_streaming $method:ident $request:ty, $response:ty) => {
        crate::implement::method!(@ client_streaming $method tonic::Request<tonic::Streaming<$request>>, $response);
    };
    (server_streaming $method:ident $request:ty, $response:ty, $stream:ident) => {
        type $stream = crate::implement::Once<$response>;
        crate::implement::method!(@ server_streaming $method tonic::Request<$request>, Self::$stream);
    };
    (bidirectional $method:ident $request:ty, $response:ty, $stream:ident) => {
        type $stream = crate::implement::Once<$response>;
        crate::implement::method!(@ bidirectional $method tonic::Request<tonic::Streaming<$request>>, Self::$stream);
    };
    (@ $kind:ident $method:ident $request:ty, $response:ty) => {
        fn $method<'a, 'async_trait>(
            &'a self,
            request: $request,
        ) -> crate::implement::Answer<'async_trait, $response>
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            crate::implement::$kind(request)
        }
    };
}

pub(crate) use {implement, method};
