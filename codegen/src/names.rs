//! Names of .proto files that cannot both be names of Rust. Found here, since the compiler would report
//! them in code that nobody wrote.

use prost_build::{Module, Service};
use prost_reflect::{DescriptorPool, ServiceDescriptor};

use crate::error::Faults;
use crate::generate::Externs;
use crate::render::Parts;
use crate::schema::place_of;

/// What a generated router has of its own.
const ROUTER: &[&str] = &["new", "client", "client_with_key", "client_on_instance"];

/// What tonic's generated client has of its own, and with its transport also `connect`.
const CLIENT: &[&str] = &[
    "new",
    "with_origin",
    "with_interceptor",
    "send_compressed",
    "accept_compressed",
    "max_decoding_message_size",
    "max_encoding_message_size",
];

/// What tonic's generated server means by these names, in the module in which it defines the trait of the
/// service: each was seen not to compile as a service.
const SERVER: &[&str] = &[
    "Arc",
    "B",
    "Body",
    "Box",
    "BoxFuture",
    "Clone",
    "CompressionEncoding",
    "Context",
    "EnabledCompressionEncodings",
    "InterceptedService",
    "Into",
    "Option",
    "Poll",
    "StdError",
    "T",
];

/// `HttpCache` becomes `http_cache`, as tonic names the modules of a service.
pub(crate) fn module(service: &str) -> String {
    let mut name = String::new();
    for (at, c) in service.char_indices() {
        if at > 0 && c.is_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// The name of a package's file, without its ending, as prost names it: `pkg.v1`, and `_` for no package.
pub(crate) fn stem(package: &str) -> String {
    let module = Module::from_protobuf_package_name(package);
    let mut name = module.to_file_name_or("_");
    name.truncate(name.len() - ".rs".len());
    name
}

/// Checks the names of a service's methods against each other, and against what is generated beside them.
pub(crate) fn check_methods(
    service: &Service,
    descriptor: &ServiceDescriptor,
    parts: Parts,
    faults: &mut Faults,
) {
    // Tonic's server has a type of this name beside the trait of the service.
    let is_servers =
        |proto_name: &str| parts.server && service.name.strip_suffix("Svc") == Some(proto_name);
    let is_clients = |name| {
        let connects = parts.transport && name == "connect";
        parts.client && (connects || CLIENT.contains(&name))
    };
    for (index, method) in service.methods.iter().enumerate() {
        let rust = method.name.as_str();
        let earlier = service.methods[..index].iter().find(|it| it.name == rust);
        let what = if let Some(earlier) = earlier {
            let earlier = &earlier.proto_name;
            format!("becomes `{rust}` in Rust, as {earlier} does")
        } else if ROUTER.contains(&rust) {
            let name = &service.name;
            format!("becomes `{rust}` in Rust, which {name}Router has of its own")
        } else if is_clients(rust) {
            let name = &service.name;
            format!("becomes `{rust}` in Rust, which tonic's {name}Client has of its own")
        } else if is_servers(&method.proto_name) {
            let name = &service.name;
            format!("becomes `{name}` in Rust, with the ending that tonic's {name}Server gives it")
        } else {
            continue;
        };
        let place = descriptor
            .methods()
            .find(|it| it.name() == method.proto_name)
            .map(|it| place_of(&it))
            .unwrap_or_default();
        let (full, own) = (descriptor.full_name(), &method.proto_name);
        faults.add(format!(
            "{place}: {full}/{own}: {what}; expected another name"
        ));
    }
}

/// Checks the name of a service against those that tonic's server is made of.
pub(crate) fn check_service(
    service: &Service,
    descriptor: &ServiceDescriptor,
    parts: Parts,
    faults: &mut Faults,
) {
    let name = service.name.as_str();
    if parts.server && SERVER.contains(&name) {
        let (place, full) = (place_of(descriptor), descriptor.full_name());
        faults.add(format!(
            "{place}: {full}: becomes trait `{name}` in Rust, and tonic's {name}Server means another \
             `{name}`; expected another name"
        ));
    }
}

/// Checks a service's modules against those of the other services, and against the modules that prost
/// makes for messages with nested types and for packages.
pub(crate) fn check_modules(
    service: &Service,
    descriptor: &ServiceDescriptor,
    earlier: &[(String, String)],
    externs: &Externs,
    faults: &mut Faults,
) {
    let own = module(&service.name);
    let mut refuse = |what: String| {
        let (place, full) = (place_of(descriptor), descriptor.full_name());
        faults.add(format!("{place}: {full}: {what}; expected another name"));
    };
    let same = |(_, other): &&(String, String)| module(other) == own;
    if let Some((proto, _)) = earlier.iter().find(same) {
        refuse(format!(
            "becomes module `{own}_router` in Rust, as {proto} does"
        ));
    }
    for (kind, name) in others(descriptor.parent_pool(), &service.package, externs) {
        for ending in ["client", "server", "router"] {
            let generated = format!("{own}_{ending}");
            if prosts(&name) == [generated.as_str()] {
                refuse(format!(
                    "becomes module `{generated}` in Rust, as {kind} {name} does"
                ));
            }
        }
    }
}

/// A name of a package, or of a message, as the modules that prost makes of it: `HTTPCache` becomes
/// `http_cache`, where a service's are named by [`module`].
fn prosts(name: &str) -> Vec<String> {
    let module = Module::from_protobuf_package_name(name);
    module.parts().map(str::to_owned).collect()
}

/// What else becomes a module inside the module of a package.
fn others(pool: &DescriptorPool, package: &str, externs: &Externs) -> Vec<(&'static str, String)> {
    let own = prosts(package);
    let messages = pool.all_messages().filter(|message| {
        // Prost makes no type of an entry of a map.
        let mut nested = message.child_messages().filter(|it| !it.is_map_entry());
        let nests = nested.next().is_some() || message.child_enums().len() > 0;
        let nests = nests || message.oneofs().any(|it| !it.is_synthetic());
        nests
            && message.parent_message().is_none()
            && prosts(message.package_name()) == own
            && !externs.has(&format!(".{}", message.full_name()))
    });
    let mut found: Vec<_> = messages
        .map(|message| ("message", message.name().to_owned()))
        .collect();
    for file in pool.files() {
        let names: Vec<_> = file.package_name().split('.').collect();
        if prosts(file.package_name()).starts_with(&own)
            && let Some(first) = names.get(own.len())
        {
            found.push(("package", (*first).to_owned()));
        }
    }
    found
}
