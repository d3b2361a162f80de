//! Routing options, from what the user's own `options.proto` makes of them.
//!
//! That file may be of another version, and enums of proto3 take any number: what is not known here would be
//! as if nobody had said it.

use grpcrouter_proto::v1::{Balancing, MissingKey, RoutingOptions, RoutingStrategy};
use prost::Message;
use prost_reflect::Value;

use crate::schema::OPTIONS_FILE;

/// The routing options in the value of an extension.
///
/// # Errors
/// What is wrong with them, and what was expected.
pub(crate) fn read(value: &Value) -> Result<RoutingOptions, Vec<String>> {
    let message = value.as_message();
    let known = message.and_then(|said| {
        let known: RoutingOptions = said.transcode_to().ok()?;
        // What is not known is lost on the way.
        (known.encoded_len() == said.encoded_len()).then_some(known)
    });
    let options = known.ok_or_else(|| vec![another_version()])?;
    let wrong = [
        unknown("strategy", options.strategy, |it: RoutingStrategy| {
            it.as_str_name()
        }),
        unknown("balancing", options.balancing, |it: Balancing| {
            it.as_str_name()
        }),
        unknown("missing_key", options.missing_key, |it: MissingKey| {
            it.as_str_name()
        }),
    ];
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() {
        Ok(options)
    } else {
        Err(wrong)
    }
}

/// That the options are not those that are known here.
pub(crate) fn another_version() -> String {
    format!(
        "the options are of another version of {OPTIONS_FILE}; expected the file that comes with this generator"
    )
}

/// Whether the value of an enum is none of its names.
fn unknown<T: TryFrom<i32>>(
    field: &str,
    said: Option<i32>,
    name: fn(T) -> &'static str,
) -> Option<String> {
    let number = said.filter(|number| T::try_from(*number).is_err())?;
    // They are counted from 0.
    let all = (0..).map_while(|number| T::try_from(number).ok());
    let names: Vec<_> = all.map(name).collect();
    Some(format!(
        "{field} is {number}; expected one of {}",
        names.join(", ")
    ))
}
