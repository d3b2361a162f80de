//! `--route`: a route in one line.

use grpcrouter::routing::MissingKey;

use super::spec::{
    BALANCES, Key, Said, Services, Spec, Strategy, balance, check_method, field_kind, field_number,
};

/// A route on the command line.
#[derive(Debug, Clone)]
pub(crate) struct RouteLine {
    /// How a mistake in it is told: the line itself.
    place: String,
    service: String,
    method: Option<String>,
    prefix: Option<Said<String>>,
    spec: Spec,
}

impl RouteLine {
    /// Sets what this line says, over what was there.
    pub(super) fn add_to(&self, services: &mut Services) {
        let service = services.0.entry(self.service.clone()).or_default();
        let spec = match &self.method {
            Some(method) => service.methods.entry(method.clone()).or_default(),
            None => {
                service.prefix = self.prefix.clone().or_else(|| service.prefix.take());
                &mut service.spec
            }
        };
        if service.place.is_empty() || self.method.is_none() {
            service.place.clone_from(&self.place);
        }
        *spec = self.spec.clone().over(spec);
    }
}

/// Reads `SERVICE[/METHOD]=WHAT,...`.
pub(super) fn parse(text: &str) -> Result<RouteLine, String> {
    let (whose, what) = text
        .split_once('=')
        .ok_or("expected SERVICE[/METHOD]=WHAT,... such as pkg.Service=metadata:site,pinned")?;
    let (service, method) = match whose.split_once('/') {
        Some((service, method)) => {
            check_method(method)?;
            (service, Some(method.to_owned()))
        }
        None => (whose, None),
    };
    let mut line = RouteLine {
        place: format!("--route {text}"),
        service: service.to_owned(),
        method,
        prefix: None,
        spec: Spec::default(),
    };
    for word in what.split(',') {
        line.word(word)?;
    }
    Ok(line)
}

impl RouteLine {
    fn word(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = match word.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("metadata", Some(name)) => self.key(Strategy::Metadata, Key::Name(name.to_owned()))?,
            ("header", Some(name)) => self.key(Strategy::Header, Key::Name(name.to_owned()))?,
            ("path", Some(prefix)) => {
                if self.method.is_some() {
                    let say = "a path prefix is of the whole service: give it for SERVICE alone";
                    return Err(say.to_owned());
                }
                self.prefix = Some(Said::new(&self.place, prefix.to_owned()));
                self.key(Strategy::Path, Key::Segment)?;
            }
            ("path", None) => self.key(Strategy::Path, Key::Segment)?,
            ("service" | "method", None) => self.key(Strategy::Path, Key::Name(name.to_owned()))?,
            ("field", Some(field)) => self.key(Strategy::Field, parse_field(field)?)?,
            ("reject", None) => {
                self.spec.missing = Some(Said::new(&self.place, MissingKey::Reject));
            }
            ("idempotent", None) => self.spec.idempotent = Some(true),
            (name, None) if balance(name).is_some() => {
                let said = balance(name).map(|what| Said::new(&self.place, what));
                let before = std::mem::replace(&mut self.spec.balance, said);
                if before.is_some() {
                    return Err(format!("two balancers: expected one of {BALANCES}"));
                }
            }
            _ => {
                return Err(format!(
                    "{word:?} is nothing that a route has: expected metadata:NAME, header:NAME, path:/PREFIX, \
                     service, method, field:NUMBER[:TYPE], {BALANCES}, reject or idempotent"
                ));
            }
        }
        Ok(())
    }

    fn key(&mut self, strategy: Strategy, key: Key) -> Result<(), String> {
        self.spec.strategy = Some(Said::new(&self.place, strategy));
        match self.spec.key.replace(Said::new(&self.place, key)) {
            Some(_) => Err("two places for the key: expected one".to_owned()),
            None => Ok(()),
        }
    }
}

/// `NUMBER[:TYPE]`.
fn parse_field(text: &str) -> Result<Key, String> {
    let (number, kind) = text.split_once(':').unwrap_or((text, "string"));
    let number = number
        .parse()
        .map_err(|_| format!("{number:?} is no field number: expected field:3 or field:3:int32"))?;
    Ok(Key::Field(field_number(number)?, field_kind(kind)?))
}
