//! From descriptors to the routers of each package. What the library and the plugin write both comes
//! from [`routers`], so that it is the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use prost_build::{Config, Module, Service, ServiceGenerator};

use crate::error::{Error, Faults};
use crate::names::{check_methods, check_modules, check_service, stem};
use crate::plan;
use crate::render::{self, Parts};
use crate::schema::Schema;

/// Types that are not generated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Externs {
    /// Names of protobuf, and the paths in Rust that stand for them.
    pub(crate) paths: Vec<(String, String)>,
    /// Whether well-known types have no types of `prost-types`, and are as any others.
    pub(crate) compile_well_known_types: bool,
}

impl Externs {
    /// Tells prost of them.
    pub(crate) fn apply(&self, schema: &Schema, config: &mut Config) {
        if self.compile_well_known_types {
            config.compile_well_known_types();
        }
        for (proto, rust) in &self.paths {
            config.extern_path(proto, rust);
        }
        // What nobody names needs no path that is one.
        let unused = schema.unused_types().into_iter();
        for name in unused.filter(|name| !self.has(name)) {
            config.extern_path(name, "unused");
        }
    }

    /// Whether a type, as `.package.Name`, stands elsewhere.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.paths.iter().any(|(proto, _)| {
            let rest = name.strip_prefix(proto.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// The routers of each package: its name, and the text of the modules of its services.
///
/// `wanted` says of which files.
///
/// # Errors
/// Everything that is wrong with the options and the names of services.
pub(crate) fn routers(
    schema: &Rc<Schema>,
    externs: &Externs,
    parts: Parts,
    wanted: impl Fn(&str) -> bool + 'static,
) -> Result<BTreeMap<String, String>, Error> {
    let written = Rc::new(RefCell::new(Written::default()));
    let mut config = Config::new();
    externs.apply(schema, &mut config);
    // Prost gives names and comments their form in Rust; what it generates here is thrown away.
    config.format(false).service_generator(Box::new(Routers {
        schema: schema.clone(),
        externs: externs.clone(),
        parts,
        wanted: Box::new(wanted),
        written: written.clone(),
    }));
    let module = |package: &str| Module::from_protobuf_package_name(package);
    let files = schema.files().into_iter();
    let files = files.map(|file| (module(file.package()), file)).collect();
    config.generate(files).map_err(Error::new)?;
    drop(config);
    let Written {
        packages, faults, ..
    } = written.take();
    faults.into_result()?;
    Ok(packages)
}

#[derive(Default)]
struct Written {
    packages: BTreeMap<String, String>,
    /// The services so far: stem, name in the file, name in Rust.
    services: Vec<(String, String, String)>,
    faults: Faults,
}

struct Routers {
    schema: Rc<Schema>,
    externs: Externs,
    parts: Parts,
    wanted: Box<dyn Fn(&str) -> bool>,
    written: Rc<RefCell<Written>>,
}

impl ServiceGenerator for Routers {
    fn generate(&mut self, service: Service, buf: &mut String) {
        // Prost takes a file with nothing in it for one that there is not.
        buf.push('\n');
        let Written {
            packages,
            services,
            faults,
        } = &mut *self.written.borrow_mut();
        let mut full = service.package.clone();
        if !full.is_empty() {
            full.push('.');
        }
        full.push_str(&service.proto_name);
        let descriptor = self.schema.pool.get_service_by_name(&full);
        let descriptor = descriptor.expect("it comes from this pool");
        let file = descriptor.parent_file();
        if !(self.wanted)(file.name()) {
            return;
        }
        let siblings: Vec<_> = services
            .iter()
            .filter(|(package, ..)| *package == stem(&service.package))
            .map(|(_, proto, rust)| (proto.clone(), rust.clone()))
            .collect();
        check_service(&service, &descriptor, self.parts, faults);
        check_methods(&service, &descriptor, self.parts, faults);
        check_modules(&service, &descriptor, &siblings, &self.externs, faults);
        let plan = plan::read(&self.schema, &descriptor, faults);
        let package = stem(&service.package);
        services.push((package, service.proto_name.clone(), service.name.clone()));
        if faults.is_empty() {
            let text = render::module_of(&service, &plan, file.name(), self.parts);
            let package = service.package.clone();
            packages.entry(package).or_default().push_str(&text);
        }
    }
}
