//! The order of things within a call.

use std::thread;
use std::time::Duration;

use cryptoki_sys::{CK_RV, CK_SESSION_HANDLE, CKR_GENERAL_ERROR, CKR_OK};

use crate::module::{Module, module};
use crate::script::{Fault, Script, Unreadable};
use crate::slots::Guise;
use crate::tamper::Tamper;
use crate::world;

/// What is still to be done to the answer of a forwarded call.
pub(crate) enum Twist {
    None,
    Tamper(Tamper),
    RawPoint,
    Guise(Guise),
    WritingOnly,
}

/// Log, fault, call, log: the frame around every listed function.
pub(crate) fn around(
    function: &str,
    session: Option<CK_SESSION_HANDLE>,
    call: impl FnOnce(&'static Module, Twist) -> CK_RV,
) -> CK_RV {
    let Some(module) = module() else { return CKR_GENERAL_ERROR };
    if let Some(log) = &module.log {
        log.called(function);
    }
    let answer = spoil(module, (function, session), call);
    if answer == CKR_OK {
        world::came_back(function, session);
    }
    if let Some(log) = &module.log {
        log.returned(function, answer);
    }
    answer
}

fn spoil(
    module: &'static Module,
    (function, session): (&str, Option<CK_SESSION_HANDLE>),
    call: impl FnOnce(&'static Module, Twist) -> CK_RV,
) -> CK_RV {
    let Some(script) = &module.script else { return call(module, Twist::None) };
    while world::is_held() {
        thread::sleep(HANG_POLL);
    }
    match world::answers(module, function, session) {
        Ok(None) => {}
        Ok(Some(value)) => return value,
        Err(Unreadable) => return CKR_GENERAL_ERROR,
    }
    let Ok(strike) = script.strike(function) else { return CKR_GENERAL_ERROR };
    let Some(strike) = strike else { return call(module, Twist::None) };
    match strike.fault {
        Fault::Delay(time) => thread::sleep(time),
        Fault::Hang => hang(module, script, function, &strike.line),
        Fault::Hold => {
            let ours = world::hold();
            hang(module, script, function, &strike.line);
            if ours {
                world::let_go();
            }
        }
        Fault::Error(value) => return value,
        Fault::Lost(value) => {
            call(module, Twist::None);
            return value;
        }
        Fault::LoseSession(value) => {
            if let Some(session) = session {
                world::lose(session, value);
            }
            return value;
        }
        Fault::Tamper(tamper) => return call(module, Twist::Tamper(tamper)),
        Fault::RawPoint => return call(module, Twist::RawPoint),
        Fault::Guise(guise) => return call(module, Twist::Guise(guise)),
        Fault::WritingOnly => return call(module, Twist::WritingOnly),
        // Lines of no function, which never strike one.
        Fault::Removed | Fault::Sessions(_) | Fault::Broken(_) => return CKR_GENERAL_ERROR,
    }
    call(module, Twist::None)
}

fn hang(module: &'static Module, script: &Script, function: &str, line: &str) {
    if let Some(log) = &module.log {
        log.hanging(function);
    }
    while script.still_says(line) {
        thread::sleep(HANG_POLL);
    }
}

/// How often a held call looks whether its line has gone.
const HANG_POLL: Duration = Duration::from_millis(2);
