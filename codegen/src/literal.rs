//! Routes as a person would write them down, in Rust and in words.

use grpcrouter_proto::v1::Balancing;
use proc_macro2::{Literal, TokenStream};
use prost_build::Service;
use quote::{format_ident, quote};

use crate::plan::{Key, MethodPlan, ServicePlan};
use crate::render::{Parts, is_idempotent};

/// The `use` of what the routes are written with.
pub(crate) fn imports(plan: &ServicePlan, parts: Parts) -> TokenStream {
    let any = |used: fn(&MethodPlan) -> bool| plan.methods.iter().any(used);
    let mut names = Vec::new();
    if any(|method| balance(method).is_some()) {
        names.push(quote!(Balance));
    }
    if any(|method| matches!(method.key, Key::Field(_))) {
        names.push(quote!(FieldKind));
    }
    if !plan.methods.is_empty() {
        names.push(quote!(MethodRoute));
        names.push(quote!(Route));
    }
    if parts.client {
        names.push(quote!(RoutingKey));
    }
    names.push(quote!(ServiceRoutes));
    let time = any(|method| method.key_timeout_ms.is_some());
    let time = time.then(|| {
        quote!(
            use ::std::time::Duration;
        )
    });
    quote! {
        #time
        use ::grpcrouter::routing::{#(#names),*};
    }
}

/// The routes of a service.
pub(crate) fn service_routes(service: &Service, plan: &ServicePlan) -> TokenStream {
    let prefix = plan.path_prefix.iter();
    let methods = service.methods.iter().zip(&plan.methods);
    let methods = methods.map(|(method, plan)| {
        let name = &method.proto_name;
        let route = route(plan, is_idempotent(method));
        quote!(.method(#name, #route))
    });
    quote! {
        ServiceRoutes::new(Self::NAME)
            #(.path_prefix(#prefix))*
            #(#methods)*
            .only_these_methods()
    }
}

fn route(plan: &MethodPlan, idempotent: bool) -> TokenStream {
    let key = match &plan.key {
        Key::None => None,
        Key::Metadata(name) => Some(quote!(.metadata(#name))),
        Key::Header(name) => Some(quote!(.header(#name))),
        Key::Path => Some(quote!(.path())),
        Key::Service => Some(quote!(.service_name())),
        Key::Method => Some(quote!(.method_name())),
        Key::Field(field) => {
            let number = Literal::u32_unsuffixed(field.number);
            let kind = format_ident!("{}", format!("{:?}", field.kind));
            Some(quote!(.field(#number, FieldKind::#kind)))
        }
    };
    let balance = balance(plan).map(|name| {
        let name = format_ident!("{name}");
        quote!(.balance(Balance::#name))
    });
    let reject = plan.reject.then(|| quote!(.reject_missing()));
    let keys = &plan.keys;
    let keys = (!keys.is_empty()).then(|| quote!(.declared_keys([#(#keys),*])));
    let timeout = plan.key_timeout_ms.map(|milliseconds| {
        let milliseconds = Literal::u32_unsuffixed(milliseconds);
        quote!(.key_timeout(Duration::from_millis(#milliseconds)))
    });
    let idempotent = idempotent.then(|| quote!(.idempotent()));
    quote!(Route::new() #key #balance #reject #keys #timeout #idempotent)
}

/// The balance, where the file says it; else it is what a route has by itself.
fn balance(plan: &MethodPlan) -> Option<&'static str> {
    plan.balancing_said.then_some(match plan.balancing {
        Balancing::Pinned => "Pinned",
        Balancing::ConsistentHash => "ConsistentHash",
        Balancing::RoundRobin => "RoundRobin",
        Balancing::LeastLoaded => "LeastLoaded",
    })
}

/// A route in words, to stand after "as the .proto says,".
pub(crate) fn described(plan: &MethodPlan) -> String {
    let key = match &plan.key {
        Key::None => String::new(),
        Key::Metadata(name) => format!("the metadata key `{name}`"),
        Key::Header(name) => format!("the header `{name}`"),
        Key::Path => "the key in its path".to_owned(),
        Key::Service => "the name of the service".to_owned(),
        Key::Method => "the name of the method".to_owned(),
        Key::Field(field) => format!("the field `{}` of its first message", field.name),
    };
    match plan.balancing {
        Balancing::Pinned => format!("pinned by {key}"),
        Balancing::ConsistentHash => format!("hashed by {key}"),
        Balancing::RoundRobin => "in turn".to_owned(),
        Balancing::LeastLoaded => "to the less loaded of two".to_owned(),
    }
}
