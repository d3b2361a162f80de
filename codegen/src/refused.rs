//! What the compiler of .proto files refuses, in a line that also names the service and what was
//! expected: it speaks of values, and a person of services.

use std::fs;
use std::path::Path;

use miette::Diagnostic;
use prost_types::FileDescriptorProto;
use prost_types::source_code_info::Location;
use protox::file::File;

use crate::error::Error;
use crate::schema::{OPTIONS_FILE, Schema};

/// The error of a run of these files with these include folders.
pub(crate) fn explain(
    error: &protox::Error,
    protos: &[impl AsRef<Path>],
    includes: &[impl AsRef<Path>],
) -> Error {
    if error.is_file_not_found() {
        return not_found(error, protos, includes);
    }
    // Its Debug is the line with the place, its Display only what is wrong.
    let line = format!("{error:?}");
    let what = error.to_string();
    let Some(place) = line.strip_suffix(&what) else {
        return Error::new(line);
    };
    let name = error.file().unwrap_or_default();
    let file = parsed(name, includes);
    let service = file.as_ref().and_then(|file| service_at(place, name, file));
    let service = service.map(|name| format!("{name}: ")).unwrap_or_default();
    let value = error.diagnostic_source().map(ToString::to_string);
    let value = value.unwrap_or_else(|| what.clone());
    let expected = match file {
        Some(file) if lacks_options(&value, &file) => Some(format!("import {OPTIONS_FILE:?}")),
        _ => expected(&value),
    };
    let expected = expected.map(|list| format!("; expected {list}"));
    Error::new(format_args!(
        "{place}{service}{value}{}",
        expected.unwrap_or_default()
    ))
}

/// A file that is not there, or is imported and not found in these folders.
fn not_found(
    error: &protox::Error,
    protos: &[impl AsRef<Path>],
    includes: &[impl AsRef<Path>],
) -> Error {
    let is_there = |path: &Path| {
        let mut folders = includes.iter().map(AsRef::as_ref);
        path.exists() || folders.any(|folder| folder.join(path).exists())
    };
    let mut protos = protos.iter().map(AsRef::as_ref);
    if let Some(missing) = protos.find(|path| !is_there(path)) {
        return Error::new(format_args!("{}: no such file", missing.display()));
    }
    let shown = |folder: &Path| match folder.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => folder.display().to_string(),
    };
    let searched: Vec<_> = includes.iter().map(|it| shown(it.as_ref())).collect();
    Error::new(format_args!(
        "{error:?}; expected it in one of the include folders: {}",
        searched.join(", ")
    ))
}

/// Whether a file uses the options and does not import them.
fn lacks_options(what: &str, file: &FileDescriptorProto) -> bool {
    let imported = file.dependency.iter().any(|name| name == OPTIONS_FILE);
    what.contains("name 'grpcrouter.v1.") && what.ends_with("is not defined") && !imported
}

/// A file of this name in one of the folders.
fn parsed(name: &str, includes: &[impl AsRef<Path>]) -> Option<FileDescriptorProto> {
    let mut folders = includes.iter().map(|folder| folder.as_ref().join(name));
    let source = folders.find_map(|path| fs::read_to_string(path).ok())?;
    let file = File::from_source(name, &source).ok()?;
    Some(file.file_descriptor_proto().clone())
}

/// The service or the method around `file:line:column: `.
fn service_at(place: &str, name: &str, file: &FileDescriptorProto) -> Option<String> {
    let mut numbers = place.strip_prefix(name)?.strip_prefix(':')?.split(':');
    let mut number = || Some(numbers.next()?.parse::<i32>().ok()? - 1);
    let at = (number()?, number()?);
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
