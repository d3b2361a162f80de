//! What the compiler of .proto files refuses, in a line that also names the service and what was
//! expected: it speaks of values, and a person of services.

use std::fs;
use std::path::Path;

use miette::Diagnostic;
use prost_types::source_code_info::Location;
use protox::file::File;

use crate::error::Error;
use crate::schema::{OPTIONS_FILE, Schema};

/// The error of a run with these include folders.
pub(crate) fn explain(error: &protox::Error, includes: &[impl AsRef<Path>]) -> Error {
    // Its Debug is the line with the place, its Display only what is wrong.
    let line = format!("{error:?}");
    let what = error.to_string();
    let Some(place) = line.strip_suffix(&what) else {
        return Error::new(line);
    };
    let service = service_at(place, error.file().unwrap_or_default(), includes);
    let service = service.map(|name| format!("{name}: ")).unwrap_or_default();
    let value = error.diagnostic_source().map(ToString::to_string);
    let value = value.unwrap_or_else(|| what.clone());
    let expected = expected(&value).map(|list| format!("; expected {list}"));
    Error::new(format_args!(
        "{place}{service}{value}{}",
        expected.unwrap_or_default()
    ))
}

/// The service or the method around `file:line:column: `.
fn service_at(place: &str, name: &str, includes: &[impl AsRef<Path>]) -> Option<String> {
    let mut numbers = place.strip_prefix(name)?.strip_prefix(':')?.split(':');
    let mut number = || Some(numbers.next()?.parse::<i32>().ok()? - 1);
    let at = (number()?, number()?);
    let mut folders = includes.iter().map(|folder| folder.as_ref().join(name));
    let source = folders.find_map(|path| fs::read_to_string(path).ok())?;
    let file = File::from_source(name, &source).ok()?;
    let file = file.file_descriptor_proto();
    let locations = &file.source_code_info.as_ref()?.location;
    let around = |location: &&Location| {
        let (from, to) = match location.span[..] {
            [line, from, to] => ((line, from), (line, to)),
            [first, from, last, to] => ((first, from), (last, to)),
            _ => return false,
        };
        (from..to).contains(&at)
    };
    let package = file
        .package
        .as_ref()
        .map(|it| format!("{it}."))
        .unwrap_or_default();
    let mut found = None;
    for location in locations.iter().filter(around) {
        match location.path[..] {
            [6, service] => {
                let service = file.service.get(usize::try_from(service).ok()?)?;
                found = Some(format!("{package}{}", service.name()));
            }
            [6, service, 2, method] => {
                let service = file.service.get(usize::try_from(service).ok()?)?;
                let method = service.method.get(usize::try_from(method).ok()?)?;
                found = Some(format!("{package}{}/{}", service.name(), method.name()));
            }
            _ => {}
        }
    }
    found
}

/// The values or fields of one of our own types that a text quotes.
fn expected(text: &str) -> Option<String> {
    let options = protox::Compiler::with_file_resolver(crate::builder::resolver(&[""; 0]))
        .include_imports(true)
        .open_file(OPTIONS_FILE)
        .ok()?
        .encode_file_descriptor_set();
    let pool = Schema::decode(&options).ok()?.pool;
    let quoted = |name: &str| text.contains(&format!("'{name}'"));
    let names: Vec<String> = if let Some(it) = pool.all_enums().find(|it| quoted(it.full_name())) {
        it.values().map(|value| value.name().to_owned()).collect()
    } else {
        let mut messages = pool.all_messages();
        let it = messages.find(|it| quoted(it.full_name()))?;
        it.fields().map(|field| field.name().to_owned()).collect()
    };
    Some(format!("one of {}", names.join(", ")))
}
