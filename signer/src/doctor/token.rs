//! The module, its tokens, and ours, before and after the login.

use std::time::Duration;

use super::Finding;
use crate::hsm::{
    CheckpointKind, Hsm, HsmConfig, HsmError, Library, Offer, PinState, Survey, causes, library,
    survey,
};

/// Everything that needs no PIN. Whether there is a token to log in to, and no reason not to.
pub(super) fn look(config: &HsmConfig, tell: &mut impl FnMut(Finding)) -> bool {
    let library = match library(config) {
        Ok(library) => library,
        Err(error) => {
            tell(module(&error));
            return false;
        }
    };
    tell(Finding::ok("module", format!("{}: {}", config.module.display(), library.name)));
    let found = match survey(config) {
        Ok(found) => found,
        Err(error) => {
            tell(missing(&error, &library));
            return false;
        }
    };
    let Survey { token, .. } = &found;
    let firmware = format!("firmware {}", token.firmware);
    tell(Finding::ok("token", format!("{:?}: {}, {firmware}", token.label, token.name())));
    if found.is_software {
        tell(Finding::look(
            "token",
            "its keys are files of this machine, which whoever is root and has the PIN can copy",
            "for tests; a treasury's keys belong into hardware",
        ));
    }
    for trouble in &found.troubles {
        let remedy = "see the token's own tools: the signer cannot work with it like this";
        tell(Finding::bad("token", trouble.as_str(), remedy));
    }
    offers(&found, tell);
    if let Some(clock) = &found.clock {
        tell(Finding::ok("token clock", format!("{clock} UTC; the signer does not use it")));
    }
    let (finding, may_log_in) = pin(found.pin);
    tell(finding);
    may_log_in && found.troubles.is_empty()
}

fn module(error: &HsmError) -> Finding {
    let remedy = if matches!(error, HsmError::Module { .. }) {
        "name the vendor's PKCS#11 library in [hsm] module"
    } else if matches!(error, HsmError::TimedOut) {
        "it hangs: is the HSM reachable, and its client configured?"
    } else {
        "see the vendor's client configuration and its log; SoftHSM wants the variable \
         SOFTHSM2_CONF to name its own"
    };
    Finding::bad("module", causes(error), remedy)
}

fn missing(error: &HsmError, library: &Library) -> Finding {
    let tokens = library.tokens.iter().map(|token| {
        format!("{:?} (serial {}, {})", token.label, token.serial.trim(), token.model.trim())
    });
    let tokens: Vec<String> = tokens.collect();
    let has = if tokens.is_empty() { "none".into() } else { tokens.join(", ") };
    let found = format!("{}; initialised tokens here: {has}", causes(error));
    Finding::bad("token", found, "name one of them in [hsm] token, serial or slot")
}

fn offers(found: &Survey, tell: &mut impl FnMut(Finding)) {
    for Offer { name, is_needed, in_hardware } in &found.mechanisms {
        match (in_hardware, is_needed) {
            (Some(true), _) => tell(Finding::ok("mechanism", format!("{name}, in hardware"))),
            (Some(false), _) => tell(Finding::ok(
                "mechanism",
                format!("{name}; the token does not say that hardware does it"),
            )),
            (None, true) => tell(Finding::bad(
                "mechanism",
                format!("{name} is not offered"),
                "without it this token cannot hold Ethereum keys: check firmware and licence",
            )),
            (None, false) => {}
        }
    }
    tell(match found.checkpoints {
        Some(CheckpointKind::Ed25519) => Finding::ok("checkpoints", "signed with Ed25519"),
        Some(CheckpointKind::P256) => {
            Finding::ok("checkpoints", "signed with ECDSA on P-256: the token has no Ed25519")
        }
        None => Finding::bad(
            "checkpoints",
            "cannot be signed: neither Ed25519 nor P-256",
            "the journal's tail is attested by nobody then; check firmware and licence",
        ),
    });
}

fn pin(state: PinState) -> (Finding, bool) {
    let found = state.to_string();
    match state {
        PinState::Fine => {
            let found = format!("{found}; if ours is wrong, this run's login costs an attempt");
            (Finding::ok("PIN", found), true)
        }
        PinState::WrongOneGiven => {
            let remedy = "find out who tries: the next right one sets the count back";
            (Finding::look("PIN", found, remedy), true)
        }
        PinState::FinalTry => {
            let remedy = "not tried now: log in once with the token's own tools";
            (Finding::bad("PIN", found, remedy), false)
        }
        PinState::Locked | PinState::ToBeChanged | PinState::NotSet => {
            let remedy = "the security officer sets one, with the token's own tools";
            (Finding::bad("PIN", found, remedy), false)
        }
    }
}

/// Waits until all are open that will be.
pub(super) async fn sessions(token: &Hsm, config: &HsmConfig) -> Finding {
    let mut waited = Duration::ZERO;
    while token.counters().sessions_usable < token.counters().sessions_wanted
        && waited < config.deadline
    {
        tokio::time::sleep(POLL).await;
        waited = waited.saturating_add(POLL);
    }
    let counters = token.counters();
    let (usable, wanted) = (counters.sessions_usable, counters.sessions_wanted);
    let allowed = token.facts().sessions_max;
    let allowed = allowed.map_or_else(|| "any number".into(), |most| most.to_string());
    let found = format!("{usable} of {wanted} open to sign, and 3 to manage; it allows {allowed}");
    if usable < wanted {
        let remedy = "another process may hold the rest: is the signer running?";
        return Finding::bad("sessions", found, remedy);
    }
    if wanted < config.sessions.get() {
        let found = format!("{found}; the configuration asks for {}", config.sessions);
        return Finding::look("sessions", found, "lower [hsm] sessions, or allow more there");
    }
    Finding::ok("sessions", found)
}

const POLL: Duration = Duration::from_millis(20);
