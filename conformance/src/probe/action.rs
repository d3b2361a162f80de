//! A script as a handler carries it out: checked once, when the call begins.

use std::time::Duration;

use base64::Engine;
use http::{HeaderMap, HeaderValue};
use prost::Message;

use super::MESSAGE_MAX;
use super::metadata::{BASE64, status, wire};
use crate::pb;
use crate::pb::step::Step;

/// One step.
#[derive(Debug)]
pub(super) enum Action {
    Head(HeaderMap),
    /// None: to the end.
    Read(Option<u32>),
    Wait(String),
    Send {
        first: u32,
        count: u32,
        size: usize,
    },
    /// None: to the end.
    Echo(Option<u32>),
    Sleep(Duration),
    Finish(Finish),
    Abort,
}

/// How a response ends.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) code: u32,
    /// With the status in them; none: it ends without any.
    pub(super) trailers: Option<HeaderMap>,
}

impl Finish {
    pub(super) fn with(code: u32, message: &str) -> Self {
        let trailers = Some(status(code, message, &[], &HeaderMap::new()));
        Self { code, trailers }
    }
}

/// Reads the value of `probe-script-bin`.
///
/// # Errors
/// What is wrong with it, for the client.
pub(super) fn parse(header: &HeaderValue) -> Result<Vec<Action>, String> {
    let bytes = BASE64.decode(header).map_err(|error| error.to_string())?;
    let script = pb::Script::decode(&bytes[..]).map_err(|error| error.to_string())?;
    let action = |(at, step): (usize, pb::Step)| {
        let step = step.step.ok_or("it is empty, or newer than this probe");
        let action = step.map_err(str::to_owned).and_then(action);
        action.map_err(|wrong| format!("step {at}: {wrong}"))
    };
    script.steps.into_iter().enumerate().map(action).collect()
}

fn action(step: Step) -> Result<Action, String> {
    let some = |n: u32| (n > 0).then_some(n);
    Ok(match step {
        Step::Head(head) => Action::Head(wire(&head.metadata)?),
        Step::Read(read) => Action::Read(some(read.messages)),
        Step::Wait(wait) => Action::Wait(wait.gate),
        Step::Send(pb::Send { count, size, first }) => {
            let size = size as usize;
            if size > MESSAGE_MAX {
                return Err(format!("messages have at most {MESSAGE_MAX} bytes"));
            }
            Action::Send { first, count, size }
        }
        Step::Echo(echo) => Action::Echo(some(echo.messages)),
        Step::Sleep(sleep) => Action::Sleep(Duration::from_millis(sleep.ms.into())),
        Step::Finish(finish) => {
            let own = wire(&finish.trailers)?;
            let trailers = status(finish.code, &finish.message, &finish.details, &own);
            Action::Finish(Finish {
                code: finish.code,
                trailers: (!finish.without_status).then_some(trailers),
            })
        }
        Step::Abort(pb::Abort {}) => Action::Abort,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Script;

    fn parsed(script: &Script) -> Result<Vec<Action>, String> {
        parse(&script.header().parse().unwrap())
    }

    #[test]
    fn what_no_handler_can_do_is_refused_with_its_step() {
        let wrong = |script: Script| parsed(&script).unwrap_err();
        let huge = Script::new().read_all().send(1, u32::MAX);
        assert!(wrong(huge).starts_with("step 1: messages"));
        let key = Script::new().head_with(&[("Upper", b"x")]);
        assert!(wrong(key).contains("\"Upper\" is no key"));
        let value = Script::new().finish_with(0, "", &[("key", b"\n")]);
        assert!(wrong(value).contains("the value of \"key\""));
        assert!(parse(&HeaderValue::from_static("\"")).is_err());
    }

    #[test]
    fn an_end_without_status_has_no_trailers() {
        let actions = parsed(&Script::new().finish_without_status()).unwrap();
        assert!(matches!(
            actions[..],
            [Action::Finish(Finish { trailers: None, .. })]
        ));
    }
}
