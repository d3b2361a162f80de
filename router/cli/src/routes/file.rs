//! `--config`: routes in a TOML file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use grpcrouter::routing::MissingKey;
use serde::Deserialize;
use toml::Spanned;

use crate::args;

use super::spec::{
    BALANCES, Key, Method, Service, Services, Spec, balance, field_kind, field_number,
};

/// The largest file, in bytes: some ten thousand routes.
const SIZE_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default)]
    services: BTreeMap<Spanned<String>, ServiceText>,
}

#[derive(Deserialize)]
struct ServiceText {
    path_prefix: Option<String>,
    #[serde(default)]
    methods_only: bool,
    #[serde(default)]
    methods: BTreeMap<Spanned<String>, MethodText>,
    #[serde(flatten)]
    route: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
struct MethodText {
    #[serde(flatten)]
    route: BTreeMap<String, toml::Value>,
}

/// Reads a file of routes.
pub(super) fn read(path: &Path) -> Result<Services, String> {
    let shown = path.display().to_string();
    let failed = |error: std::io::Error| format!("{shown}: cannot be read: {error}");
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    let mut limited = file.take(SIZE_MAX + 1);
    limited.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SIZE_MAX {
        return Err(format!(
            "{shown}: larger than 1 MiB, which no file of routes is"
        ));
    }
    parse(&shown, &text)
}

fn parse(path: &str, text: &str) -> Result<Services, String> {
    let line_of = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
    let file: FileText = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        let message = error.message().replace('\n', " ");
        format!("{path}:{line}: {message}")
    })?;
    let mut services = Services::default();
    for (name, given) in file.services {
        let place = format!("{path}:{}", line_of(name.span().start));
        let name = name.into_inner();
        let mut service = Service {
            prefix: given.path_prefix,
            methods_only: given.methods_only,
            spec: spec(&given.route).map_err(|say| format!("{place}: {name}: {say}"))?,
            place,
            methods: BTreeMap::new(),
        };
        for (method, own) in given.methods {
            let place = format!("{path}:{}", line_of(method.span().start));
            let method = method.into_inner();
            let spec =
                spec(&own.route).map_err(|say| format!("{place}: {name}/{method}: {say}"))?;
            service.methods.insert(method, Method { place, spec });
        }
        services.0.insert(name, service);
    }
    Ok(services)
}

/// What a table says of a route.
fn spec(given: &BTreeMap<String, toml::Value>) -> Result<Spec, String> {
    let mut spec = Spec::default();
    for (name, value) in given {
        match name.as_str() {
            // Both say where the key stands.
            "strategy" | "key" => {}
            "balance" => {
                let said = text(name, value)?;
                let found = balance(said);
                spec.balance =
                    Some(found.ok_or_else(|| format!("balance = {said:?}: expected {BALANCES}"))?);
            }
            "missing_key" => {
                spec.missing = Some(match text(name, value)? {
                    "balance" => MissingKey::Balance,
                    "reject" => MissingKey::Reject,
                    said => {
                        return Err(format!(
                            "missing_key = {said:?}: expected balance or reject"
                        ));
                    }
                });
            }
            "keys" => {
                let keys = value.as_array().and_then(|keys| {
                    let keys = keys.iter().map(|key| key.as_str().map(str::to_owned));
                    keys.collect::<Option<Vec<_>>>()
                });
                spec.keys =
                    Some(keys.ok_or("keys: expected a list of texts, such as [\"a\", \"b\"]")?);
            }
            "idempotent" => {
                let said = value
                    .as_bool()
                    .ok_or("idempotent: expected true or false")?;
                spec.idempotent = Some(said);
            }
            "key_timeout" => spec.key_timeout = Some(args::time(text(name, value)?)?),
            other => {
                return Err(format!(
                    "{other:?} is nothing that a route has: expected strategy, key, path_prefix, balance, \
                     missing_key, keys, idempotent, key_timeout, methods_only or methods"
                ));
            }
        }
    }
    spec.key = key(given.get("strategy"), given.get("key"))?;
    Ok(spec)
}

fn text<'a>(name: &str, value: &'a toml::Value) -> Result<&'a str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("{name}: expected a text in quotes"))
}

/// Where the key stands: by `metadata` where only a key is given.
fn key(strategy: Option<&toml::Value>, key: Option<&toml::Value>) -> Result<Option<Key>, String> {
    let strategy = match strategy {
        Some(strategy) => text("strategy", strategy)?,
        None if key.is_none() => return Ok(None),
        None => "metadata",
    };
    Ok(Some(match (strategy, key) {
        ("metadata" | "header", Some(name)) => Key::Header(text("key", name)?.to_owned()),
        ("path", None) => Key::Path,
        ("path", Some(name)) => match text("key", name)? {
            "service" => Key::Service,
            "method" => Key::Method,
            said => {
                return Err(format!(
                    "key = {said:?}: expected service or method, or none with a path_prefix"
                ));
            }
        },
        ("field", Some(field)) => {
            let number = field.get("field").and_then(toml::Value::as_integer);
            let number = number.ok_or("key: expected { field = 3, type = \"string\" }")?;
            let kind = field
                .get("type")
                .map_or(Ok("string"), |kind| text("type", kind))?;
            Key::Field(field_number(number)?, field_kind(kind)?)
        }
        ("metadata" | "header" | "field", None) => {
            return Err(format!("strategy = {strategy:?} needs a key"));
        }
        (said, _) => {
            return Err(format!(
                "strategy = {said:?}: expected metadata, header, path or field"
            ));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::line;
    use super::*;

    fn routes(text: &str) -> Result<grpcrouter::routing::Routes, String> {
        parse("routes.toml", text)?.into_routes()
    }

    #[test]
    fn what_a_method_does_not_say_is_as_for_its_service() {
        let routes = routes(
            r#"
            [services."pkg.S"]
            key = "site"
            path_prefix = "/api/v1"
            missing_key = "reject"
            keys = ["b", "a"]
            [services."pkg.S".methods.M]
            balance = "consistent-hash"
            keys = []
            [services."pkg.T"]
            strategy = "field"
            key = { field = 3, type = "sint32" }
            key_timeout = "2s"
            "#,
        );
        let shown: Vec<_> = routes
            .expect("well formed")
            .services()
            .map(|service| format!("{service:#?}"))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn every_mistake_in_a_file_is_one_line_with_its_place() {
        let of = |text: &str| routes(text).expect_err(text);
        let lines = [
            of("services = 1"),
            of("[service.x]"),
            of("[services.\"pkg.S\"]\nbalance = "),
            of("[services.\"pkg.S\"]\nbalanc = \"pinned\""),
            of("\n[services.\"pkg.S\"]\nbalance = \"best\""),
            of("[services.\"pkg.S\"]\nbalance = \"pinned\""),
            of("[services.\"pkg.S\"]\nstrategy = \"cookie\"\nkey = \"x\""),
            of("[services.\"pkg.S\"]\nstrategy = \"field\""),
            of("[services.\"pkg.S\"]\nstrategy = \"field\"\nkey = { field = 0 }"),
            of("[services.\"pkg.S\"]\nstrategy = \"field\"\nkey = { field = 1, type = \"map\" }"),
            of("[services.\"pkg.S\"]\nstrategy = \"path\""),
            of("[services.\"pkg.S\"]\npath_prefix = \"api/\""),
            of("[services.\"pkg.S\"]\nkey = \"Upper\""),
            of("[services.\"pkg.S\"]\nmissing_key = \"reject\""),
            of("[services.\"pkg.S\"]\nkey = \"x\"\nkey_timeout = \"1s\""),
            of("[services.\"pkg.S\"]\nkey = \"x\"\nbalance = \"round-robin\"\nkeys = [\"a\"]"),
            of("[services.\"pkg.S\"]\nkey = \"x\"\nkeys = \"a\""),
            of(
                "[services.\"pkg.S\"]\nkey = \"x\"\n\n[services.\"pkg.S\".methods.M]\npath_prefix = \"/a\"",
            ),
            of("[services.\"pkg S\"]\nkey = \"x\""),
            of("[services.\"grpcrouter.v1.Router\"]\nkey = \"x\""),
        ];
        for line in &lines {
            assert!(
                !line.contains('\n') && line.starts_with("routes.toml:"),
                "{line}"
            );
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_line_is_stronger_than_the_file_where_it_says_something() {
        let file = "[services.\"pkg.S\"]\nkey = \"site\"\nmissing_key = \"reject\"\n";
        let mut services = parse("routes.toml", file).expect("well formed");
        for text in [
            "pkg.S=header::authority,consistent-hash",
            "pkg.S/M=least-loaded",
            "pkg.T=path:/api/v1",
            "pkg.U=field:3:int64,idempotent",
        ] {
            line::parse(text).expect(text).add_to(&mut services);
        }
        let routes = services.into_routes().expect("well formed");
        let shown: Vec<_> = routes.services().map(|s| format!("{s:#?}")).collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn every_mistake_in_a_line_says_what_was_expected() {
        let of = |text: &str| match line::parse(text) {
            Err(say) => say,
            Ok(line) => {
                let mut services = Services::default();
                line.add_to(&mut services);
                services.into_routes().expect_err(text)
            }
        };
        let lines = [
            of("pkg.S"),
            of("pkg.S=cookie:x"),
            of("pkg.S=pinned"),
            of("pkg.S=metadata:x,header:y"),
            of("pkg.S=metadata:x,pinned,round-robin"),
            of("pkg.S=field:x"),
            of("pkg.S=field:1:map"),
            of("pkg.S=path"),
            of("pkg.S=path:api"),
            of("pkg.S/M=path:/api"),
            of("pkg.S=reject"),
            of("=metadata:x"),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }
}
