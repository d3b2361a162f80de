//! The field of a request message that is the routing key.

use grpcrouter_core::routing::FieldKind;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::schema::place_of;

/// A field that can be a key.
pub(crate) struct KeyField {
    pub(crate) name: String,
    pub(crate) number: u32,
    pub(crate) kind: FieldKind,
}

/// The field that is the key: named by the method, or marked in the message, or named by the service.
/// `name` is the method's where it has one, else the service's.
///
/// # Errors
/// What is wrong, and what was expected.
pub(crate) fn find(
    message: &MessageDescriptor,
    marked: &[FieldDescriptor],
    own: Option<&str>,
    name: Option<&str>,
) -> Result<KeyField, String> {
    let request = message.full_name();
    let field = match (marked, own, name) {
        ([first, second, ..], ..) => {
            let (first, at, second) = (first.name(), place_of(second), second.name());
            return Err(format!(
                "{request} has two fields marked as routing key, {first} and {second} ({at}); expected one"
            ));
        }
        ([marked], Some(own), _) if marked.name() != own => {
            let marked = marked.name();
            return Err(format!(
                "routing_key is {own:?} and {request} marks {marked}; expected one of them"
            ));
        }
        ([marked], ..) => marked.clone(),
        ([], _, Some(name)) => message.get_field_by_name(name).ok_or_else(|| {
            let mut fields: Vec<_> = message.fields().filter(|it| kind(it).is_some()).collect();
            fields.sort_by_key(FieldDescriptor::number);
            let names: Vec<_> = fields.iter().map(FieldDescriptor::name).collect();
            let known = match &names[..] {
                [] => "a message that has scalar or string fields".to_owned(),
                names => format!("one of its scalars or strings: {}", names.join(", ")),
            };
            format!("routing_key {name:?} is no field of {request}; expected {known}")
        })?,
        ([], _, None) => {
            return Err(format!(
                "FIELD_BASED and {request} has no key; expected a routing_key that names a field, or a \
                 field marked with (grpcrouter.v1.routing_key) = true"
            ));
        }
    };
    let name = field.name().to_owned();
    let number = field.number();
    match kind(&field) {
        Some(kind) => Ok(KeyField { name, number, kind }),
        None => Err(format!(
            "field {name} of {request} ({}) is {}; expected a singular scalar, enum, string or bytes",
            place_of(&field),
            described(&field),
        )),
    }
}

/// The type of a field that can be a key.
fn kind(field: &FieldDescriptor) -> Option<FieldKind> {
    if field.is_list() || field.is_map() {
        return None;
    }
    Some(match field.kind() {
        Kind::String => FieldKind::String,
        Kind::Bytes => FieldKind::Bytes,
        Kind::Bool => FieldKind::Bool,
        Kind::Enum(_) => FieldKind::Enum,
        Kind::Int32 => FieldKind::Int32,
        Kind::Int64 => FieldKind::Int64,
        Kind::Uint32 => FieldKind::Uint32,
        Kind::Uint64 => FieldKind::Uint64,
        Kind::Sint32 => FieldKind::Sint32,
        Kind::Sint64 => FieldKind::Sint64,
        Kind::Fixed32 => FieldKind::Fixed32,
        Kind::Fixed64 => FieldKind::Fixed64,
        Kind::Sfixed32 => FieldKind::Sfixed32,
        Kind::Sfixed64 => FieldKind::Sfixed64,
        Kind::Float => FieldKind::Float,
        Kind::Double => FieldKind::Double,
        Kind::Message(_) => return None,
    })
}

fn described(field: &FieldDescriptor) -> &'static str {
    if field.is_map() {
        "a map"
    } else if field.is_list() {
        "repeated"
    } else {
        "a message"
    }
}
