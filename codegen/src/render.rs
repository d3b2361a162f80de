//! The text of a generated router.

use proc_macro2::TokenStream;
use prost_build::{Method, Service};
use prost_types::method_options::IdempotencyLevel;
use quote::{format_ident, quote};
use syn::Ident;

use crate::names::module;
use crate::plan::{MethodPlan, ServicePlan};
use crate::{docs, literal};

/// What is generated for a service, beside its router.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// Clients inside a gateway; they need tonic's client.
    pub(crate) client: bool,
    /// Instances; they need tonic's server.
    pub(crate) server: bool,
    /// Whether tonic's clients have `connect`, which a method can then not be called.
    pub(crate) transport: bool,
    /// Whether instances hand over the package's `FILE_DESCRIPTOR_SET`.
    pub(crate) descriptors: bool,
}

/// The module of one service, formatted.
pub(crate) fn module_of(service: &Service, plan: &ServicePlan, file: &str, parts: Parts) -> String {
    let names = Names::of(service);
    let full = &names.full;
    let about = docs::lines(&[&format!(
        "How calls of `{full}` find their instance, as `{file}` says."
    )]);
    let module = format_ident!("{}_router", names.module);
    let imports = imports(plan, &names, parts);
    let own = router_of(service, plan, &names, parts);
    let instance = parts.server.then(|| instance_of(service, &names, parts));
    // What is deprecated is still defined here, and may be made of types that are.
    // Names of methods are the user's: Add, IsAlive.
    let allowed = quote! {
        #![allow(dead_code, deprecated)]
        #![allow(clippy::should_implement_trait, clippy::wrong_self_convention)]
    };
    let file = syn::parse_quote! {
        #about
        pub mod #module {
            #allowed
            #imports

            #own
            #instance
        }
    };
    prettyplease::unparse(&file)
}

/// The names of what is generated.
struct Names {
    /// `package.Service`.
    full: String,
    /// `my_service`.
    module: String,
    /// `MyService`.
    service: Ident,
    router: Ident,
    instance: Ident,
}

impl Names {
    fn of(service: &Service) -> Self {
        let (package, proto) = (&service.package, &service.proto_name);
        let dot = if package.is_empty() { "" } else { "." };
        Self {
            full: format!("{package}{dot}{proto}"),
            module: module(&service.name),
            service: format_ident!("{}", service.name),
            router: format_ident!("{}Router", service.name),
            instance: format_ident!("{}Instance", service.name),
        }
    }

    /// The module and the type of tonic's `Client` or `Server`.
    fn tonic(&self, kind: &str) -> (Ident, Ident) {
        let module = format_ident!("{}_{}", self.module, kind.to_lowercase());
        (module, format_ident!("{}{kind}", self.service))
    }
}

/// No name of these can be one that is defined here: those end as none of these do.
fn imports(plan: &ServicePlan, names: &Names, parts: Parts) -> TokenStream {
    let (client_module, client) = names.tonic("Client");
    let (server_module, server) = names.tonic("Server");
    let routing = literal::imports(plan, parts);
    let mut root = Vec::new();
    let mut tonic = Vec::new();
    if parts.client {
        root.extend([quote!(Gateway), quote!(GatewayChannel)]);
        tonic.push(quote!(use super::#client_module::#client;));
    }
    if parts.server {
        root.extend([quote!(Mode), quote!(ServeError), quote!(Serving)]);
        tonic.push(quote!(use super::#server_module::#server;));
    }
    let root = (!root.is_empty()).then(|| quote!(use ::grpcrouter::{#(#root),*};));
    quote!(#routing #root #(#tonic)*)
}

fn router_of(service: &Service, plan: &ServicePlan, names: &Names, parts: Parts) -> TokenStream {
    let Names { full, router, .. } = names;
    let comments = docs::of(&service.comments);
    let about = docs::lines(&[
        &format!("Routes calls of `{full}` to its instances, once it is mounted on a gateway:"),
        "[`mount`](::grpcrouter::Gateway::mount).",
        "",
        "It knows every method: calls of others are answered with UNIMPLEMENTED, `unknown-method`. Each",
        "method has a function here that changes how its calls are routed.",
    ]);
    let deprecated = service.options.deprecated().then(|| quote!(#[deprecated]));
    let routes = literal::service_routes(service, plan);
    let methods = service.methods.iter().zip(&plan.methods);
    let methods = methods.map(|(method, plan)| method_of(method, plan));
    let clients = parts.client.then(|| clients_of(names));
    quote! {
        #about
        #comments
        #deprecated
        #[derive(Debug, Clone)]
        pub struct #router {
            routes: ServiceRoutes,
        }

        impl #router {
            /// The full name of the service.
            pub const NAME: &'static str = #full;

            /// The routes of the .proto file.
            #[must_use]
            pub fn new() -> Self {
                let routes = #routes;
                Self { routes }
            }

            #(#methods)*
            #clients
        }

        impl Default for #router {
            fn default() -> Self {
                Self::new()
            }
        }

        // By its path: a service called Service has a router of that name.
        impl ::grpcrouter::ServiceRouter for #router {
            const NAME: &'static str = Self::NAME;

            fn into_routes(self) -> ServiceRoutes {
                self.routes
            }
        }
    }
}

/// The function that changes the route of a method.
fn method_of(method: &Method, plan: &MethodPlan) -> TokenStream {
    let name: Ident = syn::parse_str(&method.name).expect("prost made it an identifier");
    let proto = &method.proto_name;
    let request = request_type(&method.input_type);
    let kind = match (method.client_streaming, method.server_streaming) {
        (false, false) => "unary",
        (false, true) => "server streaming",
        (true, false) => "client streaming",
        (true, true) => "bidirectional",
    };
    let route = literal::described(plan);
    let about = docs::lines(&[
        &format!("Changes how calls of `{proto}` ({kind}) are routed:"),
        &format!("{route}."),
    ]);
    let comments = docs::of(&method.comments);
    let deprecated = method.options.deprecated().then(|| quote!(#[deprecated]));
    quote! {
        #about
        #comments
        #deprecated
        #[must_use]
        pub fn #name(
            mut self,
            change: impl FnOnce(MethodRoute<#request>) -> MethodRoute<#request>,
        ) -> Self {
            self.routes.change_method(#proto, change);
            self
        }
    }
}

fn clients_of(names: &Names) -> TokenStream {
    let (_, client) = names.tonic("Client");
    quote! {
        /// A client for code inside the gateway's process. Its calls are routed as those of any other.
        #[must_use]
        pub fn client(gateway: &Gateway) -> #client<GatewayChannel> {
            #client::new(gateway.channel())
        }

        /// As `client`, with this routing key for every call, whatever its request carries.
        #[must_use]
        pub fn client_with_key(
            gateway: &Gateway,
            key: impl Into<RoutingKey>,
        ) -> #client<GatewayChannel> {
            #client::new(gateway.channel().with_key(key))
        }

        /// As `client`, with every call on the instance of this id, whatever its request carries.
        #[must_use]
        pub fn client_on_instance(
            gateway: &Gateway,
            id: &str,
        ) -> #client<GatewayChannel> {
            #client::new(gateway.channel().with_instance(id))
        }
    }
}

fn instance_of(service: &Service, names: &Names, parts: Parts) -> TokenStream {
    let Names {
        full,
        router,
        instance,
        service: implemented,
        ..
    } = names;
    let (module, server) = names.tonic("Server");
    let deprecated = service.options.deprecated().then(|| quote!(#[deprecated]));
    let about = docs::lines(&[
        &format!(
            "An instance of `{full}`: one implementation, served directly, through gateways, or both"
        ),
        "at once.",
    ]);
    let descriptors = parts
        .descriptors
        .then(|| quote!(.descriptors(super::FILE_DESCRIPTOR_SET)));
    quote! {
        #about
        #deprecated
        #[derive(Debug)]
        pub struct #instance {
            inner: ::grpcrouter::ServiceInstance,
        }

        impl #instance {
            /// Serves this implementation.
            #[must_use]
            pub fn new<T: super::#module::#implemented>(implementation: T) -> Self {
                Self::with_server(#server::new(implementation))
            }

            /// Serves the implementation in this server, with the limits and compression that it was given.
            #[must_use]
            pub fn with_server<T: super::#module::#implemented>(server: #server<T>) -> Self {
                let routes = ::tonic::service::Routes::new(server);
                let inner = ::grpcrouter::ServiceInstance::new(#router::NAME, routes)#descriptors;
                Self { inner }
            }

            /// Routing keys that belong to it: calls that are pinned to one of them come here. 1 to 256 bytes
            /// each.
            #[must_use]
            pub fn keys<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
                self.inner = self.inner.keys(keys);
                self
            }

            /// Words about it for people and selectors.
            #[must_use]
            pub fn labels<K: Into<String>, V: Into<String>>(
                mut self,
                labels: impl IntoIterator<Item = (K, V)>,
            ) -> Self {
                self.inner = self.inner.labels(labels);
                self
            }

            /// Its weight against the other instances: 1 to 1,000. 1.
            #[must_use]
            pub fn weight(mut self, weight: u32) -> Self {
                self.inner = self.inner.weight(weight);
                self
            }

            /// Its version, for people.
            #[must_use]
            pub fn version(mut self, version: impl Into<String>) -> Self {
                self.inner = self.inner.version(version);
                self
            }

            /// Everything else that can be said of an instance.
            #[must_use]
            pub fn configure(
                mut self,
                change: impl FnOnce(::grpcrouter::ServiceInstance) -> ::grpcrouter::ServiceInstance,
            ) -> Self {
                self.inner = change(self.inner);
                self
            }

            /// Serves. Returns once it listens and is registered with every gateway, as the mode asks; one
            /// that is down is not waited for without end.
            ///
            /// # Errors
            /// If it cannot listen, a gateway refuses it for good, or no gateway took it in time.
            pub async fn start(
                self,
                mode: Mode,
            ) -> Result<Serving, ServeError> {
                self.inner.start(mode).await
            }
        }
    }
}

/// The request type as seen from inside the module, from the name that prost gives it.
fn request_type(name: &str) -> syn::Type {
    // Well-known wrappers are plain types of Rust.
    let plain = ["()", "bool", "i32", "i64", "u32", "u64", "f32", "f64"];
    let is_absolute = name.starts_with("::") || name.starts_with("crate::");
    let path = if plain.contains(&name) || is_absolute {
        name.to_owned()
    } else {
        format!("super::{name}")
    };
    syn::parse_str(&path).expect("prost made it a type")
}

/// Whether a second run of a call does no harm.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        method.options.idempotency_level(),
        IdempotencyLevel::Idempotent | IdempotencyLevel::NoSideEffects
    )
}
