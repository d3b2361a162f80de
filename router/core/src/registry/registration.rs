//! What an instance says of itself, parsed once: past this file a registration is well formed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use grpcrouter_proto::v1::{HealthStatus, InstanceInfo};

use super::{Epoch, Identity, InstanceId, RegistryLimits};

/// The service name that stands for every service.
pub const CATCH_ALL: &str = "*";

const MAX_SERVICE_NAME: usize = 256;
const MAX_KEY: usize = 256;
const MAX_LABEL: usize = 256;
const MAX_VERSION: usize = 256;

/// A well-formed registration. Only [`Registration::parse`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub(super) id: InstanceId,
    pub(super) epoch: Epoch,
    /// Ordered by name, each name once, never empty.
    pub(super) services: Vec<Service>,
    pub(super) keys: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) weight: u32,
    pub(super) version: String,
    pub(super) identity: Identity,
}

/// A service that an instance offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Full name without slashes, such as `pkg.Service`, or `*` for every service.
    pub name: String,
    /// What the instance last said of it.
    pub health: HealthStatus,
}

impl Service {
    /// Whether this service takes new calls.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        is_serving(self.health)
    }
}

/// Whether a service of this health takes new calls: `HEALTHY` does, and so does `UNKNOWN`, for an
/// instance that reports no health is not thereby ill.
#[must_use]
pub fn is_serving(health: HealthStatus) -> bool {
    matches!(health, HealthStatus::Healthy | HealthStatus::Unknown)
}

impl Registration {
    /// Parses what an instance sent, on a connection of this identity.
    ///
    /// A weight of 0 (absent) becomes 1. An unknown health value counts as `UNKNOWN`.
    ///
    /// # Errors
    /// The first field that is not as expected. It is the instance's fault.
    pub fn parse(
        info: &InstanceInfo,
        identity: Identity,
        limits: &RegistryLimits,
    ) -> Result<Self, InvalidRegistration> {
        Ok(Self {
            id: parse_id(&info.instance_id)?,
            epoch: info.epoch.map(Epoch::from).ok_or_else(|| {
                invalid(
                    "epoch",
                    "the start of the process and an attempt counter",
                    "nothing",
                )
            })?,
            services: parse_services(info, limits)?,
            keys: parse_keys(&info.keys, limits)?,
            labels: parse_labels(info, limits)?,
            weight: parse_weight(info.weight, limits)?,
            version: parse_version(&info.version)?,
            identity,
        })
    }

    /// The id under which the instance registers.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The epoch of this attempt.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The services, ordered by name, each once, at least one.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Whether the instance offers every service (`*`). It may name some beside it: the names are
    /// then listed, and their own health decides about their calls.
    #[must_use]
    pub fn is_catch_all(&self) -> bool {
        self.service(CATCH_ALL).is_some()
    }

    /// The routing keys that the instance serves.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Free-form labels.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// Relative share of calls, 1 or more.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// The version that the instance gave for itself; may be empty.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Who the connection is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the instance declared under this very name.
    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        self.position(name).map(|position| &self.services[position])
    }

    /// The declaration that decides about calls to a service: its own, else that of `*`.
    pub(super) fn offer(&self, name: &str) -> Option<&Service> {
        self.service(name).or_else(|| self.service(CATCH_ALL))
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.services
            .binary_search_by(|service| service.name.as_str().cmp(name))
            .ok()
    }
}

/// A field of a registration that is not as expected. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, got {got}")]
pub struct InvalidRegistration {
    /// The field of `InstanceInfo`.
    pub field: &'static str,
    /// What is accepted.
    pub expected: String,
    /// What came, escaped and cut to a readable length.
    pub got: String,
}

fn invalid(
    field: &'static str,
    expected: impl fmt::Display,
    got: impl fmt::Display,
) -> InvalidRegistration {
    InvalidRegistration {
        field,
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

/// A peer's text, safe to print: escaped, and cut so that a hostile one fills no log.
fn shown(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
        return format!("{shown:?} ({} bytes)", text.len());
    }
    format!("{shown:?}")
}

fn parse_id(id: &str) -> Result<InstanceId, InvalidRegistration> {
    if !InstanceId::is_valid(id) {
        let expected = format!(
            "1 to {} characters of A-Z a-z 0-9 . _ : -",
            InstanceId::LEN_MAX
        );
        return Err(invalid("instance_id", expected, shown(id)));
    }
    Ok(InstanceId(Arc::from(id)))
}

fn parse_services(
    info: &InstanceInfo,
    limits: &RegistryLimits,
) -> Result<Vec<Service>, InvalidRegistration> {
    let count = info.services.len();
    if count == 0 || count > limits.max_services {
        let expected = format!(
            "1 to {} names, or `*` for every service",
            limits.max_services
        );
        return Err(invalid("services", expected, count));
    }
    let mut services = Vec::with_capacity(count);
    for service in &info.services {
        if service.name != CATCH_ALL && !is_service_name(&service.name) {
            let expected =
                format!("a name such as `pkg.Service` of at most {MAX_SERVICE_NAME} bytes, or `*`");
            return Err(invalid("services.name", expected, shown(&service.name)));
        }
        services.push(Service {
            name: service.name.clone(),
            health: service.health(),
        });
    }
    services.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = services
        .windows(2)
        .find(|pair| pair[0].name == pair[1].name)
    {
        let got = format!("{} twice", shown(&pair[0].name));
        return Err(invalid("services.name", "each name once", got));
    }
    Ok(services)
}

/// Protobuf's full names: identifiers joined by dots.
fn is_service_name(name: &str) -> bool {
    let is_identifier = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && part
                .bytes()
                .next()
                .is_some_and(|first| !first.is_ascii_digit())
    };
    name.len() <= MAX_SERVICE_NAME && name.split('.').all(is_identifier)
}

fn parse_keys(
    keys: &[String],
    limits: &RegistryLimits,
) -> Result<Vec<String>, InvalidRegistration> {
    if keys.len() > limits.max_keys {
        return Err(invalid(
            "keys",
            format!("at most {}", limits.max_keys),
            keys.len(),
        ));
    }
    let is_key = |key: &&String| is_visible(key) && !key.is_empty() && key.len() <= MAX_KEY;
    if let Some(key) = keys.iter().find(|key| !is_key(key)) {
        let expected = format!("1 to {MAX_KEY} bytes of visible ASCII");
        return Err(invalid("keys", expected, shown(key)));
    }
    Ok(keys.to_vec())
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn parse_labels(
    info: &InstanceInfo,
    limits: &RegistryLimits,
) -> Result<BTreeMap<String, String>, InvalidRegistration> {
    if info.labels.len() > limits.max_labels {
        let expected = format!("at most {}", limits.max_labels);
        return Err(invalid("labels", expected, info.labels.len()));
    }
    // The message holds a randomly keyed map: order it before looking, so that the same message
    // always gets the same error.
    let labels: BTreeMap<String, String> = info
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (key, value) in &labels {
        if key.is_empty() || key.len() > MAX_LABEL || !is_visible(key) {
            let expected = format!("names of 1 to {MAX_LABEL} bytes of visible ASCII");
            return Err(invalid("labels", expected, shown(key)));
        }
        if value.len() > MAX_LABEL || value.chars().any(char::is_control) {
            let expected = format!("values of at most {MAX_LABEL} bytes, no control characters");
            return Err(invalid("labels", expected, shown(value)));
        }
    }
    Ok(labels)
}

fn parse_weight(weight: u32, limits: &RegistryLimits) -> Result<u32, InvalidRegistration> {
    if weight > limits.max_weight {
        return Err(invalid(
            "weight",
            format!("at most {}", limits.max_weight),
            weight,
        ));
    }
    Ok(weight.max(1))
}

fn parse_version(version: &str) -> Result<String, InvalidRegistration> {
    if version.len() > MAX_VERSION || version.chars().any(char::is_control) {
        let expected = format!("at most {MAX_VERSION} bytes, no control characters");
        return Err(invalid("version", expected, shown(version)));
    }
    Ok(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::info;
    use super::*;
    use grpcrouter_proto::v1::ServiceInfo;

    fn parse(info: &InstanceInfo) -> Result<Registration, InvalidRegistration> {
        Registration::parse(info, Identity::anonymous(), &RegistryLimits::default())
    }

    fn refusal(change: impl FnOnce(&mut InstanceInfo)) -> String {
        let mut info = info("a", 1, &["pkg.S"]);
        change(&mut info);
        parse(&info).expect_err("refused").to_string()
    }

    fn named(name: impl Into<String>) -> ServiceInfo {
        ServiceInfo {
            name: name.into(),
            health: 0,
        }
    }

    #[test]
    fn a_registration_keeps_what_was_sent() {
        let mut sent = info("py-1.eu_west:50051", 7, &["b.B", "a.A", "*"]);
        sent.keys = vec!["k1".into(), "k2".into()];
        sent.labels.insert("zone".into(), "zürich 1".into());
        sent.version = "1.2.3".into();
        let parsed = parse(&sent).expect("well formed");
        assert_eq!(parsed.id().as_str(), "py-1.eu_west:50051");
        assert_eq!(
            parsed.epoch(),
            Epoch {
                started_us: 7,
                attempt: 0
            }
        );
        assert!(parsed.is_catch_all());
        let names: Vec<_> = parsed.services().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["*", "a.A", "b.B"], "ordered by name");
        assert_eq!(parsed.keys(), ["k1", "k2"]);
        assert_eq!(parsed.labels()["zone"], "zürich 1");
        assert_eq!(parsed.weight(), 1, "an absent weight is 1");
    }

    #[test]
    fn every_refusal_is_one_line_that_names_the_field() {
        let refusals = [
            refusal(|i| i.instance_id = String::new()),
            refusal(|i| i.instance_id = "has space".into()),
            refusal(|i| i.instance_id = "x\n".repeat(1_000_000)),
            refusal(|i| i.epoch = None),
            refusal(|i| i.services.clear()),
            refusal(|i| i.services = (0..1_025).map(|n| named(format!("s{n}"))).collect()),
            refusal(|i| i.services.push(named("pkg.S"))),
            refusal(|i| i.services.push(named("pkg..S"))),
            refusal(|i| i.services.push(named("/pkg.S"))),
            refusal(|i| i.services.push(named("1pkg.S"))),
            refusal(|i| i.services.push(named("s".repeat(257)))),
            refusal(|i| i.keys = vec![String::new()]),
            refusal(|i| i.keys = vec!["a\u{7f}".into()]),
            refusal(|i| i.keys = vec!["k".into(); 1_025]),
            refusal(|i| i.labels = (0..65).map(|n| (n.to_string(), String::new())).collect()),
            refusal(|i| i.labels = [("a b".to_owned(), String::new())].into()),
            refusal(|i| i.weight = 1_001),
            refusal(|i| i.version = "1\u{1b}[31m".into()),
        ];
        for line in &refusals {
            assert!(
                !line.contains('\n') && line.len() < 300,
                "one short line: {line}"
            );
        }
        insta::assert_snapshot!(refusals.join("\n"));
    }

    #[test]
    fn names_at_their_limits_are_accepted() {
        let mut info = info(&"i".repeat(128), 1, &[&"s".repeat(256)]);
        info.weight = 1_000;
        info.keys = vec!["k".repeat(256); 1_024];
        info.services
            .extend((1..1_024).map(|n| named(format!("pkg.S{n}"))));
        assert!(parse(&info).is_ok());
    }
}
