//! `--config`: routes in a TOML file.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use grpcrouter::routing::MissingKey;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::args;

use super::spec::{
    BALANCES, Key, Said, Service, Services, Spec, Strategy, Wrong, balance, check_method,
    field_kind, field_number,
};

/// The largest file, in bytes: some ten thousand routes.
const SIZE_MAX: u64 = 1 << 20;

/// A name in the file, and what it is set to.
type Name<'a> = Spanned<DeString<'a>>;
type Value<'a> = Spanned<DeValue<'a>>;

/// Reads a file of routes.
pub(super) fn read(path: &Path) -> Result<Services, String> {
    let shown = path.display().to_string();
    let failed = |error: std::io::Error| format!("{shown}: cannot be read: {error}");
    // To open a pipe can take for ever, and its text comes once.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(format!(
            "{shown}: expected a regular file, to be read again"
        ));
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut limited = file.take(SIZE_MAX + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(format!(
            "{shown}: larger than 1 MiB, which no file of routes is"
        ));
    }
    parse(&shown, text_of(&shown, &bytes)?)
}

fn text_of<'a>(path: &str, bytes: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = line_at(bytes, error.valid_up_to());
        format!("{path}:{line}: not UTF-8, which TOML is")
    })
}

/// The line, counted from 1, that a byte stands in.
fn line_at(text: &[u8], at: usize) -> usize {
    let before = &text[..at.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn parse(path: &str, text: &str) -> Result<Services, String> {
    let reader = Reader { path, text };
    let file = DeTable::parse(text).map_err(|error| {
        let place = reader.place(error.span().map_or(0, |span| span.start));
        format!("{place}: {}", error.message().replace('\n', " "))
    })?;
    let mut services = Services::default();
    for (name, value) in file.get_ref() {
        let place = reader.place(name.span().start);
        let tables = value.get_ref().as_table();
        let Some(tables) = tables.filter(|_| name.get_ref() == "services") else {
            let name = name.get_ref();
            return Err(format!(
                "{place}: {name}: expected tables such as [services.\"pkg.Service\"]"
            ));
        };
        for (name, value) in tables {
            let service = reader.service(name, value)?;
            services.0.insert(name.get_ref().to_string(), service);
        }
    }
    Ok(services)
}

/// Reads what has been parsed, and knows the line of it.
struct Reader<'a> {
    path: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, line_at(self.text.as_bytes(), at))
    }

    fn service(&self, name: &Name<'_>, value: &Value<'_>) -> Result<Service, String> {
        let place = self.place(name.span().start);
        let name = name.get_ref();
        let mut service = Service {
            place: place.clone(),
            ..Service::default()
        };
        for (word, value) in table(&place, value).map_err(|wrong| wrong.about(name))? {
            let place = self.place(word.span().start);
            let about = |wrong: Wrong| wrong.about(name);
            match word.get_ref().as_ref() {
                "path_prefix" => {
                    let prefix = text(&place, "path_prefix", value).map_err(about)?;
                    service.prefix = Some(Said::new(&place, prefix.to_owned()));
                }
                "methods_only" => {
                    service.methods_only = truth(&place, "methods_only", value).map_err(about)?;
                }
                "methods" => {
                    for (method, value) in table(&place, value).map_err(about)? {
                        let place = self.place(method.span().start);
                        let method = method.get_ref().to_string();
                        let checked = check_method(&method);
                        checked.map_err(|say| Wrong::new(&place, say).about(name))?;
                        let spec = self.method(&place, value);
                        let spec =
                            spec.map_err(|wrong| wrong.about(&format!("{name}/{method}")))?;
                        service.methods.insert(method, spec);
                    }
                }
                word => set(&mut service.spec, &place, word, value).map_err(about)?,
            }
        }
        Ok(service)
    }

    fn method(&self, place: &str, value: &Value<'_>) -> Result<Spec, Wrong> {
        let mut spec = Spec::default();
        for (word, value) in table(place, value)? {
            let place = self.place(word.span().start);
            set(&mut spec, &place, word.get_ref(), value)?;
        }
        Ok(spec)
    }
}

/// Sets what one word of a table says of a route.
fn set(spec: &mut Spec, place: &str, word: &str, value: &Value<'_>) -> Result<(), Wrong> {
    let wrong = |say: String| Wrong::new(place, say);
    match word {
        "strategy" => {
            let said = text(place, word, value)?;
            let found = Strategy::of(said).ok_or_else(|| {
                wrong(format!(
                    "strategy = {said:?}: expected metadata, header, path or field"
                ))
            })?;
            spec.strategy = Some(Said::new(place, found));
        }
        "key" => spec.key = Some(Said::new(place, key(place, value)?)),
        "balance" => {
            let said = text(place, word, value)?;
            let found = balance(said)
                .ok_or_else(|| wrong(format!("balance = {said:?}: expected {BALANCES}")))?;
            spec.balance = Some(Said::new(place, found));
        }
        "missing_key" => {
            let missing = match text(place, word, value)? {
                "balance" => MissingKey::Balance,
                "reject" => MissingKey::Reject,
                said => {
                    return Err(wrong(format!(
                        "missing_key = {said:?}: expected balance or reject"
                    )));
                }
            };
            spec.missing = Some(Said::new(place, missing));
        }
        "keys" => {
            let keys = value.get_ref().as_array().and_then(|keys| {
                let keys = keys.iter().map(|key| key.get_ref().as_str());
                keys.map(|key| key.map(str::to_owned))
                    .collect::<Option<Vec<_>>>()
            });
            let say = "keys: expected a list of texts, such as [\"a\", \"b\"]";
            let keys = keys.ok_or_else(|| wrong(say.to_owned()))?;
            spec.keys = Some(Said::new(place, keys));
        }
        "idempotent" => spec.idempotent = Some(truth(place, word, value)?),
        "key_timeout" => {
            let timeout = args::time(text(place, word, value)?).map_err(wrong)?;
            spec.key_timeout = Some(Said::new(place, timeout));
        }
        other => {
            let unquoted = match value.get_ref() {
                DeValue::Table(_) => {
                    "; a service's name stands in quotes, such as [services.\"pkg.Service\"]"
                }
                _ => "",
            };
            return Err(wrong(format!(
                "{other:?} is nothing that a route has: expected strategy, key, path_prefix, balance, \
                 missing_key, keys, idempotent, key_timeout, methods_only or methods{unquoted}"
            )));
        }
    }
    Ok(())
}

fn table<'a, 'i>(place: &str, value: &'a Value<'i>) -> Result<&'a DeTable<'i>, Wrong> {
    let table = value.get_ref().as_table();
    table.ok_or_else(|| Wrong::new(place, "expected a table"))
}

fn text<'a>(place: &str, word: &str, value: &'a Value<'_>) -> Result<&'a str, Wrong> {
    let text = value.get_ref().as_str();
    text.ok_or_else(|| Wrong::new(place, format!("{word}: expected a text in quotes")))
}

fn truth(place: &str, word: &str, value: &Value<'_>) -> Result<bool, Wrong> {
    let truth = value.get_ref().as_bool();
    truth.ok_or_else(|| Wrong::new(place, format!("{word}: expected true or false")))
}

/// `"name"`, or `{ field = 3, type = "string" }`.
fn key(place: &str, value: &Value<'_>) -> Result<Key, Wrong> {
    let wrong = |say: String| Wrong::new(place, say);
    if let Some(name) = value.get_ref().as_str() {
        return Ok(Key::Name(name.to_owned()));
    }
    let expected = "key: expected a text in quotes, or { field = 3, type = \"string\" }";
    let (mut number, mut kind) = (None, "string");
    for (word, value) in value.get_ref().as_table().into_iter().flatten() {
        match word.get_ref().as_ref() {
            "field" => {
                let given = value.get_ref().as_integer();
                number = given.and_then(|it| i64::from_str_radix(it.as_str(), it.radix()).ok());
            }
            "type" => kind = text(place, "type", value)?,
            _ => return Err(wrong(expected.to_owned())),
        }
    }
    let number = number.ok_or_else(|| wrong(expected.to_owned()))?;
    let number = field_number(number).map_err(wrong)?;
    Ok(Key::Field(number, field_kind(kind).map_err(wrong)?))
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
    fn strategy_and_key_are_each_as_for_the_service_where_a_method_says_one_of_them() {
        let key_of = |service: &str, method: &str| {
            let text = format!(
                "[services.\"pkg.S\"]\n{service}\n[services.\"pkg.S\".methods.M]\n{method}\n"
            );
            let said = routes(&text).map(|routes| {
                let service = routes.services().next().expect("a service");
                format!("{:?}", service.find("M").expect("a method").key)
            });
            said.unwrap_or_else(|wrong| wrong)
        };
        let said = [
            key_of(
                "strategy = \"header\"\nkey = \"user-agent\"",
                "key = \":authority\"",
            ),
            key_of(
                "strategy = \"field\"\nkey = { field = 3 }",
                "key = { field = 4 }",
            ),
            key_of(
                "strategy = \"path\"\npath_prefix = \"/a\"",
                "key = \"method\"",
            ),
            key_of("strategy = \"path\"\nkey = \"service\"", "key = \"method\""),
            key_of("key = \"site\"", "strategy = \"header\""),
            key_of(
                "key = \"site\"\npath_prefix = \"/a\"",
                "strategy = \"path\"",
            ),
            key_of("key = \"site\"", "strategy = \"path\""),
            key_of("key = \"site\"", "strategy = \"field\""),
            key_of("strategy = \"path\"\nkey = \"service\"", "key = \"site\""),
            key_of(
                "strategy = \"field\"\nkey = { field = 3 }",
                "key = \"site\"",
            ),
        ];
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn what_a_method_does_not_say_and_cannot_have_is_dropped() {
        let file = |method: &str| {
            format!(
                "[services.\"pkg.S\"]\nstrategy = \"field\"\nkey = {{ field = 3 }}\nkeys = [\"a\"]\n\
                 key_timeout = \"2s\"\n[services.\"pkg.S\".methods.M]\n{method}\n"
            )
        };
        let other = "strategy = \"metadata\"\nkey = \"site\"\nbalance = \"least-loaded\"\n";
        let all = routes(&file(other)).expect("well formed");
        let service = all.services().next().expect("a service");
        let (of_service, of_method) = (service.find("Other"), service.find("M"));
        let (of_service, of_method) = (of_service.expect("a route"), of_method.expect("a route"));
        assert_eq!(of_service.declared.len(), 1);
        assert!(of_service.key_timeout.is_some());
        assert!(of_method.declared.is_empty());
        assert_eq!(of_method.key_timeout, None);

        // What the method says itself is a mistake, in its own line.
        for (own, line) in [("key_timeout = \"1s\"", 10), ("keys = [\"b\"]", 10)] {
            let wrong = routes(&file(&format!("{other}{own}"))).expect_err(own);
            let place = format!("routes.toml:{line}: pkg.S/M: ");
            assert!(wrong.starts_with(&place), "{wrong}");
        }
        // A line on the command line has no word for either: what the file says is dropped as well.
        let mut services = parse("routes.toml", &file("")).expect("well formed");
        let line = line::parse("pkg.S=metadata:site,round-robin").expect("well formed");
        line.add_to(&mut services);
        services.into_routes().expect("well formed");
    }

    #[test]
    fn a_name_that_is_no_metadata_key_is_refused_under_metadata_alone() {
        for name in ["site-bin", "grpc-timeout", ":authority", "Site", ""] {
            let text = format!("[services.\"pkg.S\"]\nkey = \"{name}\"");
            let wrong = routes(&text).expect_err(name);
            let said = format!("routes.toml:2: pkg.S: {name:?} is no metadata key: ");
            assert!(wrong.starts_with(&said), "{wrong}");
        }
        let header = "[services.\"pkg.S\"]\nstrategy = \"header\"\nkey = \"site-bin\"";
        routes(header).expect("HTTP has more names");
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        let wrong = text_of("routes.toml", b"[services]\n\n# Z\xfcrich\n").expect_err("Latin-1");
        assert_eq!(wrong, "routes.toml:3: not UTF-8, which TOML is");
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let wrong = read(Path::new("/dev/zero")).expect_err("a device");
        assert_eq!(
            wrong,
            "/dev/zero: expected a regular file, to be read again"
        );
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
            of("services.x = 1"),
            of("[services.pkg.S]\nkey = \"x\""),
            of("[services.\"pkg.S\"]\n\nmethods.M = 1"),
            of("[services.\"pkg.S\"]\nkey = { name = 1 }"),
            of("[services.\"pkg.S\"]\n\n\nstrategy = \"field\"\nkey = \"x\""),
            of("[services.\"pkg S\"]\nkey = \"x\""),
            of("[services.\"grpcrouter.v1.Router\"]\nkey = \"x\""),
            of("[services.\"pkg.S\"]\n[services.\"pkg.S\".methods.\"/Get\"]\nkey = \"x\""),
            of("[services.\"pkg.S\"]\nmethods.\"\" = {}"),
            of("[services.\"pkg.S\"]\nkey = \"x\"\nkeys = [\"a\", \"\"]"),
            of("[services.\"pkg.S\"]\nkey = \"x\"\nkeys = [\"a\", \"b\", \"a\"]"),
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
            of("pkg.S/=metadata:x"),
            of("/pkg.S/M=metadata:x"),
            of("pkg.S/M/N=metadata:x"),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }
}
