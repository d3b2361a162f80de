//! What the .proto files say: descriptors, the routing options in them, and where each stands.

use grpcrouter_proto::v1::RoutingOptions;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor, MethodDescriptor, ServiceDescriptor,
};
use prost_types::FileDescriptorProto;

use crate::error::Error;
use crate::names::stem;
use crate::options;

/// The file that the options are defined in.
pub(crate) const OPTIONS_FILE: &str = "grpcrouter/v1/options.proto";

/// The files of one run, with their imports.
pub(crate) struct Schema {
    pub(crate) pool: DescriptorPool,
    /// None of them where no file imports the options.
    extensions: Option<Extensions>,
}

struct Extensions {
    routes_to: ExtensionDescriptor,
    method_routes_to: ExtensionDescriptor,
    routing_key: ExtensionDescriptor,
}

/// What can stand in a file: where in its descriptor, and where the options are in that.
pub(crate) trait Place {
    fn file(&self) -> FileDescriptor;
    fn path(&self) -> &[i32];
    /// The field of the descriptor that holds its options, and our extension in them.
    const OPTIONS: [i32; 2];
}

impl Place for ServiceDescriptor {
    fn file(&self) -> FileDescriptor {
        self.parent_file()
    }
    fn path(&self) -> &[i32] {
        self.path()
    }
    const OPTIONS: [i32; 2] = [3, 50001];
}

impl Place for MethodDescriptor {
    fn file(&self) -> FileDescriptor {
        self.parent_file()
    }
    fn path(&self) -> &[i32] {
        self.path()
    }
    const OPTIONS: [i32; 2] = [4, 50002];
}

impl Place for FieldDescriptor {
    fn file(&self) -> FileDescriptor {
        self.parent_file()
    }
    fn path(&self) -> &[i32] {
        self.path()
    }
    const OPTIONS: [i32; 2] = [8, 50003];
}

impl Schema {
    /// Reads an encoded `FileDescriptorSet`: encoded, since decoded ones have lost the options.
    pub(crate) fn decode(descriptors: &[u8]) -> Result<Self, Error> {
        let pool = DescriptorPool::decode(descriptors).map_err(|e| Error::new(format!("{e:?}")))?;
        let find = |name| pool.get_extension_by_name(name);
        let extensions = match (
            find("grpcrouter.v1.routes_to"),
            find("grpcrouter.v1.method_routes_to"),
            find("grpcrouter.v1.routing_key"),
        ) {
            (Some(routes_to), Some(method_routes_to), Some(routing_key))
                if routing_key.kind() == Kind::Bool =>
            {
                Some(Extensions {
                    routes_to,
                    method_routes_to,
                    routing_key,
                })
            }
            _ if pool.get_file_by_name(OPTIONS_FILE).is_some() => {
                return Err(Error::new(options::another_version()));
            }
            _ => None,
        };
        Ok(Self { pool, extensions })
    }

    /// All files, by their names: each compiler has an order of its own. Prost has to know the type of every
    /// field, whether or not it generates it.
    pub(crate) fn files(&self) -> Vec<FileDescriptorProto> {
        let mut files: Vec<_> = self.pool.file_descriptor_protos().cloned().collect();
        files.sort_by(|a, b| a.name().cmp(b.name()));
        files
    }

    /// The types of the options' own file, as `.package.Name`, where no message and no method of another
    /// file has one: then nothing is to be generated for them.
    pub(crate) fn unused_types(&self) -> Vec<String> {
        let is_option = |file: &FileDescriptor| file.name() == OPTIONS_FILE;
        let fields = self
            .pool
            .all_messages()
            .filter(|message| !is_option(&message.parent_file()))
            .flat_map(|message| message.fields().collect::<Vec<_>>());
        let of_fields = fields.filter_map(|field| match field.kind() {
            Kind::Message(it) => Some(it.parent_file()),
            Kind::Enum(it) => Some(it.parent_file()),
            _ => None,
        });
        let methods = self
            .pool
            .services()
            .flat_map(|it| it.methods().collect::<Vec<_>>());
        let of_methods =
            methods.flat_map(|it| [it.input().parent_file(), it.output().parent_file()]);
        if of_fields.chain(of_methods).any(|file| is_option(&file)) {
            return Vec::new();
        }
        let Some(file) = self.pool.get_file_by_name(OPTIONS_FILE) else {
            return Vec::new();
        };
        let messages = file.messages().map(|it| it.full_name().to_owned());
        let enums = file.enums().map(|it| it.full_name().to_owned());
        let names: Vec<_> = messages.chain(enums).collect();
        names.iter().map(|name| format!(".{name}")).collect()
    }

    /// What a service says of the routes of its calls.
    ///
    /// # Errors
    /// What is wrong with it by itself.
    pub(crate) fn service_options(
        &self,
        service: &ServiceDescriptor,
    ) -> Result<RoutingOptions, Vec<String>> {
        self.routing(&service.options(), |all| &all.routes_to)
    }

    /// What a method says of its own.
    ///
    /// # Errors
    /// What is wrong with it by itself.
    pub(crate) fn method_options(
        &self,
        method: &MethodDescriptor,
    ) -> Result<RoutingOptions, Vec<String>> {
        self.routing(&method.options(), |all| &all.method_routes_to)
    }

    fn routing(
        &self,
        options: &DynamicMessage,
        which: impl Fn(&Extensions) -> &ExtensionDescriptor,
    ) -> Result<RoutingOptions, Vec<String>> {
        match self.extensions.as_ref().map(which) {
            Some(extension) if options.has_extension(extension) => {
                options::read(&options.get_extension(extension))
            }
            _ => Ok(RoutingOptions::default()),
        }
    }

    /// The fields that are marked as the routing key of calls that begin with this message.
    pub(crate) fn marked(&self, message: &MessageDescriptor) -> Vec<FieldDescriptor> {
        let Some(Extensions { routing_key, .. }) = &self.extensions else {
            return Vec::new();
        };
        let is_marked = |field: &FieldDescriptor| {
            let options = field.options();
            options.get_extension(routing_key).as_bool() == Some(true)
        };
        message.fields().filter(is_marked).collect()
    }

    /// The files of the package of this [stem] and all that they import, as an encoded
    /// `FileDescriptorSet` for reflection.
    pub(crate) fn descriptors_of(&self, package: &str) -> Vec<u8> {
        let mut names: Vec<String> = Vec::new();
        let own = |file: &FileDescriptor| stem(file.package_name()) == package;
        let mut open: Vec<FileDescriptor> = self.pool.files().filter(own).collect();
        while let Some(file) = open.pop() {
            if !names.iter().any(|name| name == file.name()) {
                names.push(file.name().to_owned());
                open.extend(file.dependencies());
            }
        }
        // In the pool's order each file comes after its imports.
        let files = self.pool.files();
        let wanted = files.filter(|file| names.iter().any(|name| name == file.name()));
        let file = wanted.map(|file| file.encode_to_vec()).collect();
        RawFiles { file }.encode_to_vec()
    }
}

/// A `FileDescriptorSet` whose files stay as they are on the wire, options included.
#[derive(prost::Message)]
pub(crate) struct RawFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) file: Vec<Vec<u8>>,
}

/// `file:line` of the routing options of this, or of this itself where it has none.
pub(crate) fn place_of<P: Place>(place: &P) -> String {
    let file = place.file();
    let options = [place.path(), &P::OPTIONS].concat();
    let line = line_of(&file, &options).or_else(|| line_of(&file, place.path()));
    match line {
        Some(line) => format!("{}:{line}", file.name()),
        None => file.name().to_owned(),
    }
}

fn line_of(file: &FileDescriptor, path: &[i32]) -> Option<i32> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    // A compiler may give the place of the whole option, or of each of its fields.
    let mut locations = info.location.iter();
    let found = locations.find(|location| location.path.starts_with(path))?;
    Some(found.span.first()? + 1)
}
