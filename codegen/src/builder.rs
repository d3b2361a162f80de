//! The library's front: what a build script calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use prost_build::{Config, Service, ServiceGenerator};
use prost_types::FileDescriptorSet;
use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

use crate::error::Error;
use crate::generate::{Externs, routers};
use crate::names::stem;
use crate::refused;
use crate::render::Parts;
use crate::schema::{OPTIONS_FILE, Schema};

/// What is generated, and where to. Made by [`configure`](crate::configure).
#[derive(Debug)]
#[must_use = "nothing is generated before compile_protos"]
pub struct Builder {
    prost: Config,
    tonic: tonic_prost_build::Builder,
    parts: Parts,
    externs: Externs,
    out_dir: Option<PathBuf>,
    file_descriptor_set_path: Option<PathBuf>,
    emit_rerun_if_changed: bool,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            prost: Config::new(),
            tonic: tonic_prost_build::configure(),
            parts: Parts {
                client: true,
                server: true,
                transport: true,
                descriptors: true,
            },
            externs: Externs::default(),
            out_dir: None,
            file_descriptor_set_path: None,
            emit_rerun_if_changed: std::env::var_os("CARGO").is_some(),
        }
    }

    /// Whether to generate tonic's clients, and the clients of a router that are made of them. Default:
    /// yes.
    pub fn build_client(mut self, enable: bool) -> Self {
        self.tonic = self.tonic.build_client(enable);
        self.parts.client = enable;
        self
    }

    /// Whether to generate tonic's servers, and the instances that are made of them. Default: yes.
    pub fn build_server(mut self, enable: bool) -> Self {
        self.tonic = self.tonic.build_server(enable);
        self.parts.server = enable;
        self
    }

    /// Whether clients get tonic's `connect`, which needs its feature `channel`. Default: yes. Without it a
    /// method can be called `Connect`.
    pub fn build_transport(mut self, enable: bool) -> Self {
        self.tonic = self.tonic.build_transport(enable);
        self.parts.transport = enable;
        self
    }

    /// Whether the descriptors of each package are written beside its code, as its `FILE_DESCRIPTOR_SET`,
    /// and handed over by its instances, so that a gateway can answer server reflection. Default: yes.
    pub fn descriptors(mut self, enable: bool) -> Self {
        self.parts.descriptors = enable;
        self
    }

    /// The folder to write to. Default: Cargo's `OUT_DIR`.
    pub fn out_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.out_dir = Some(folder.as_ref().to_owned());
        self
    }

    /// Types that exist already: what begins with this name of protobuf (`.google.type`) is found under
    /// this path of Rust (`::google_types`), and is not generated.
    pub fn extern_path(mut self, proto: impl Into<String>, rust: impl Into<String>) -> Self {
        self.externs.paths.push((proto.into(), rust.into()));
        self
    }

    /// Whether well-known types are as any others: generated, or found where [`extern_path`](Self::extern_path)
    /// says of `.google.protobuf`. Default: no, they are those of `prost-types`.
    pub fn compile_well_known_types(mut self, enable: bool) -> Self {
        self.tonic = self.tonic.compile_well_known_types(enable);
        self.externs.compile_well_known_types = enable;
        self
    }

    /// An attribute for the messages, enums and oneofs that match: [`Config::type_attribute`].
    pub fn type_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.prost.type_attribute(path, attribute);
        self
    }

    /// An attribute for the fields that match: [`Config::field_attribute`].
    pub fn field_attribute(mut self, path: impl AsRef<str>, attribute: impl AsRef<str>) -> Self {
        self.prost.field_attribute(path, attribute);
        self
    }

    /// `bytes` fields that become `bytes::Bytes`: [`Config::bytes`]. `.` is all of them.
    pub fn bytes<P: AsRef<str>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.prost.bytes(paths);
        self
    }

    /// Maps that become `BTreeMap`: [`Config::btree_map`]. `.` is all of them.
    pub fn btree_map<P: AsRef<str>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.prost.btree_map(paths);
        self
    }

    /// A file of this name that includes what is generated, a module for each package:
    /// [`Config::include_file`].
    pub fn include_file(mut self, name: impl Into<PathBuf>) -> Self {
        self.prost.include_file(name.into());
        self
    }

    /// Also writes the descriptors of all files and their imports to this path. Without comments.
    pub fn file_descriptor_set_path(mut self, path: impl AsRef<Path>) -> Self {
        self.file_descriptor_set_path = Some(path.as_ref().to_owned());
        self
    }

    /// Whether Cargo is told to run the build script again when one of the files changes. Default: yes,
    /// where Cargo runs this.
    pub fn emit_rerun_if_changed(mut self, enable: bool) -> Self {
        self.emit_rerun_if_changed = enable;
        self
    }

    /// Changes what else prost can be told. Names of types, paths and files are this builder's: use its
    /// own functions for them.
    pub fn prost(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.prost);
        self
    }

    /// Compiles these files and what they import, found in these folders, and writes for each package
    /// `<package>.rs`, with its messages, tonic's clients and servers, and its routers.
    ///
    /// `grpcrouter/v1/options.proto` and `google/protobuf/*.proto` are found without a folder.
    ///
    /// # Errors
    /// Everything that is wrong with the files; see [`Error`]. Then nothing is written.
    pub fn compile_protos(
        mut self,
        protos: &[impl AsRef<Path>],
        includes: &[impl AsRef<Path>],
    ) -> Result<(), Error> {
        let out_dir = match self.out_dir.take() {
            Some(folder) => folder,
            None => std::env::var_os("OUT_DIR")
                .map(PathBuf::from)
                .ok_or_else(|| Error::new("no out_dir, and no OUT_DIR: expected one of them"))?,
        };
        let mut compiler = compiler(protos, includes)?;
        if self.emit_rerun_if_changed {
            for path in compiler.files().filter_map(|file| file.path()) {
                println!("cargo:rerun-if-changed={}", path.display());
            }
        }
        let schema = Rc::new(Schema::decode(&compiler.encode_file_descriptor_set())?);
        let mut files = BTreeMap::<String, String>::new();
        for (package, text) in routers(&schema, &self.externs, self.parts, |_| true)? {
            files.entry(stem(&package)).or_default().push_str(&text);
        }

        compiler.include_source_info(false);
        let bare = compiler.encode_file_descriptor_set();
        if let Some(path) = &self.file_descriptor_set_path {
            write(path, &bare)?;
        }
        if self.parts.descriptors {
            let bare = Schema::decode(&bare)?;
            for package in files.keys() {
                write(
                    &out_dir.join(descriptors_file(package)),
                    &bare.descriptors_of(package),
                )?;
            }
        }

        self.externs.apply(&schema, &mut self.prost);
        let _plain = AllowPlainTypes::new();
        let file = schema.files();
        self.prost
            .out_dir(&out_dir)
            .service_generator(Box::new(WholePackage {
                tonic: self.tonic.service_generator(),
                routers: files,
                descriptors: self.parts.descriptors,
            }))
            .compile_fds(FileDescriptorSet { file })
            .map_err(|error| Error::io("cannot write to", &out_dir, &error))
    }
}

fn compiler(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<Compiler, Error> {
    let mut compiler = Compiler::with_file_resolver(resolver(includes));
    compiler.include_imports(true).include_source_info(true);
    match compiler.open_files(protos) {
        Ok(_) => Ok(compiler),
        Err(error) => Err(refused::explain(&error, protos, includes)),
    }
}

/// Finds files in these folders, and our own and protobuf's anyway.
pub(crate) fn resolver(includes: &[impl AsRef<Path>]) -> ChainFileResolver {
    let mut resolver = ChainFileResolver::new();
    resolver.add(OwnFile);
    for include in includes {
        resolver.add(IncludeFileResolver::new(include.as_ref().to_owned()));
    }
    resolver.add(GoogleFileResolver::new());
    resolver
}

/// The options, which users need no copy of.
struct OwnFile;

impl FileResolver for OwnFile {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == OPTIONS_FILE {
            File::from_source(name, grpcrouter_proto::OPTIONS_PROTO)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

/// Tonic's code for each service, and at the end of the package its routers.
struct WholePackage {
    tonic: Box<dyn ServiceGenerator>,
    routers: BTreeMap<String, String>,
    descriptors: bool,
}

impl ServiceGenerator for WholePackage {
    fn generate(&mut self, service: Service, buf: &mut String) {
        // Prost takes a file with nothing in it for one that there is not.
        buf.push('\n');
        self.tonic.generate(service, buf);
    }

    fn finalize_package(&mut self, package: &str, buf: &mut String) {
        if self.descriptors {
            let package = stem(package);
            let file = descriptors_file(&package);
            buf.push_str(&format!(
                "/// Descriptors of this package's files and of all that they import, for server reflection.\n\
                 pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!({file:?});\n"
            ));
        }
        buf.push_str(self.routers.get(&stem(package)).map_or("", String::as_str));
    }
}

fn descriptors_file(package: &str) -> String {
    format!("{package}.descriptors.bin")
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    fs::write(path, content).map_err(|error| Error::io("cannot write", path, &error))
}

/// Lets tonic's generator take the plain types of Rust that stand for well-known wrappers as messages,
/// for as long as this is held.
struct AllowPlainTypes(&'static [&'static str]);

impl AllowPlainTypes {
    fn new() -> Self {
        let all = &["()", "bool", "i32", "i64", "u32", "u64", "f32", "f64"];
        Self(tonic_prost_build::NON_PATH_TYPE_ALLOWLIST.replace(all))
    }
}

impl Drop for AllowPlainTypes {
    fn drop(&mut self) {
        tonic_prost_build::NON_PATH_TYPE_ALLOWLIST.set(self.0);
    }
}
