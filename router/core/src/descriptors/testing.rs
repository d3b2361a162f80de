//! Short ways to say what the tests describe.

use bytes::Bytes;
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

use super::{Announced, DescriptorLimits, Library, Set};
use crate::table::Key;

pub(super) fn key(slot: u32) -> Key {
    Key::from_bits(u64::from(slot))
}

pub(super) fn named<T: Default>(set: impl FnOnce(&mut T)) -> T {
    let mut value = T::default();
    set(&mut value);
    value
}

pub(super) fn message(name: &str) -> DescriptorProto {
    named(|m: &mut DescriptorProto| m.name = Some(name.into()))
}

pub(super) fn extension(name: &str, extended: &str, number: i32) -> FieldDescriptorProto {
    named(|field: &mut FieldDescriptorProto| {
        field.name = Some(name.into());
        field.extendee = Some(extended.into());
        field.number = Some(number);
    })
}

/// A file of one service with one method and its message.
pub(super) fn file(
    name: &str,
    package: &str,
    service: &str,
    imports: &[&str],
) -> FileDescriptorProto {
    let method = named(|m: &mut MethodDescriptorProto| m.name = Some("Do".into()));
    let service = named(|s: &mut ServiceDescriptorProto| {
        s.name = Some(service.into());
        s.method = vec![method];
    });
    let mut outer = message("Outer");
    outer.nested_type = vec![message("Inner")];
    outer.enum_type = vec![named(|e: &mut EnumDescriptorProto| {
        e.name = Some("Colour".into());
    })];
    outer.extension = vec![extension("inside", ".pkg.Outer", 101)];
    FileDescriptorProto {
        name: Some(name.into()),
        package: Some(package.into()),
        dependency: imports.iter().map(|&name| name.into()).collect(),
        message_type: vec![outer],
        service: vec![service],
        extension: vec![extension("outside", ".pkg.Outer", 100)],
        ..FileDescriptorProto::default()
    }
}

pub(super) fn encoded(files: Vec<FileDescriptorProto>) -> Bytes {
    FileDescriptorSet { file: files }.encode_to_vec().into()
}

/// A set with `pkg.S`, told apart by a file of this name.
pub(super) fn set(name: &str) -> Bytes {
    encoded(vec![file(name, "pkg", "S", &[])])
}

pub(super) fn parse(set: &Bytes) -> Set {
    Set::parse(set).expect("a set")
}

pub(super) fn announced(set: &[u8]) -> Announced {
    Announced::of(set).expect("not empty")
}

pub(super) fn name_of(file: &Bytes) -> String {
    let file = FileDescriptorProto::decode(file.clone()).expect("a file");
    file.name.expect("a name")
}

/// A set with this much of a field that nobody knows.
pub(super) fn padded(name: &str, filler: u32) -> Bytes {
    let mut bytes = set(name).to_vec();
    bytes.push(0x7a);
    prost::encoding::encode_varint(filler.into(), &mut bytes);
    bytes.resize(bytes.len() + filler as usize, 0);
    bytes.into()
}

pub(super) struct Shelf {
    pub(super) library: Library<&'static str>,
}

impl Shelf {
    pub(super) fn new(limits: DescriptorLimits) -> Self {
        let library = Library::new(limits, Vec::new());
        Self { library }
    }

    pub(super) fn announce(
        &mut self,
        slot: u32,
        set: &[u8],
        services: &[&str],
        name: &'static str,
    ) -> bool {
        let services = services.iter().map(|&name| name.into()).collect();
        self.library
            .announce(key(slot), announced(set), services, name)
    }

    /// Who is to be asked now.
    pub(super) fn asked(&mut self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.library.poll_request().map(|(_, name)| name)).collect()
    }

    pub(super) fn brings(&mut self, slot: u32, set: &Bytes) {
        self.library.arrived(key(slot), parse(set));
    }

    /// The first file of the set that a symbol is answered from.
    pub(super) fn symbol(&self, name: &str) -> Option<String> {
        let found = self.library.symbol(name, None)?;
        Some(name_of(&found.with_imports(0)[0]))
    }
}
