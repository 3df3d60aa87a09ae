//! `portcullis doctor`: what is the matter with this configuration, module and token, and what to
//! do about it.
//!
//! Reads; logs in once; has keys sign a constant that is no transaction. Only the conformance
//! cases, which somebody asks for, make anything, and they remove it again.

mod cases;
mod finding;
mod keys;
mod rate;
mod token;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::finding::{Finding, Verdict};
use crate::clock;
use crate::config::Config;
use crate::hsm::{Hsm, HsmConfig, HsmError, causes};
use crate::keys::rand_bytes;

/// What somebody wants looked at, besides what always is.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// How long the rate is measured at each number of requests under way. Zero: not at all.
    pub measure: Duration,
    /// Whether to run the conformance cases, which make keys and remove them.
    pub conformance: bool,
}

/// Looks at everything, and tells each finding as it is made. What needs something that is not
/// there is left out: its lack is told.
pub async fn examine(path: &Path, wanted: Wanted, tell: &mut impl FnMut(Finding)) {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(error) => {
            return tell(Finding::bad("configuration", causes(&error), "mend the file"));
        }
    };
    tell(Finding::ok("configuration", path.display().to_string()));
    let hsm = match config.hsm() {
        Ok(hsm) => hsm,
        Err(error) => {
            return tell(Finding::bad("configuration", causes(&error), "mend its part [hsm]"));
        }
    };
    if !token::look(&hsm, tell) {
        return;
    }
    match Hsm::open(&hsm) {
        Ok(token) => {
            tell(Finding::ok("login", "the token took the PIN"));
            let token = Arc::new(token);
            logged_in(&token, &hsm, wanted, tell).await;
            token.close().await;
        }
        Err(error) => tell(login(&error)),
    }
    tell(host_clock());
    tell(backups(config.hsm.backups()));
}

async fn logged_in(
    token: &Arc<Hsm>,
    config: &HsmConfig,
    wanted: Wanted,
    tell: &mut impl FnMut(Finding),
) {
    tell(token::sessions(token, config).await);
    let usable = keys::look(token, tell).await;
    if wanted.conformance {
        match names() {
            Ok(names) => cases::run(token, names, tell).await,
            Err(finding) => tell(finding),
        }
    }
    if wanted.measure.is_zero() {
        return;
    }
    match usable {
        Some(key) => rate::measure(token, config, &key, wanted.measure, tell).await,
        None => tell(Finding::look(
            "rate",
            "not measured: no key here may sign the self-test",
            "make a key first, with `portctl key create`",
        )),
    }
}

fn names() -> Result<[[u8; 16]; 3], Finding> {
    let random = || {
        rand_bytes().map_err(|error| {
            Finding::bad("conformance", error.to_string(), "the system gives no random bytes")
        })
    };
    Ok([random()?, random()?, random()?])
}

fn login(error: &HsmError) -> Finding {
    let remedies = [
        (
            matches!(error, HsmError::Pin(_)),
            "put the user PIN where the configuration says, readable by you alone",
        ),
        (
            matches!(error, HsmError::WrongPin),
            "the token counts wrong PINs and locks itself after a few: do not try again before you \
             know the right one",
        ),
        (
            matches!(error, HsmError::LoginRefused),
            "ask the token's own tools what it wants before it is used",
        ),
        (
            matches!(error, HsmError::Session(_)),
            "another process may hold all sessions: is the signer running?",
        ),
        (matches!(error, HsmError::TimedOut), "the module hangs: is the token reachable?"),
    ];
    let remedy = remedies.iter().find(|(is_so, _)| *is_so);
    let remedy = remedy.map_or("see what the token's own tools say", |(_, remedy)| remedy);
    Finding::bad("login", causes(error), remedy)
}

/// The host's clock, against when this was built: windows and delays hang on the boot clock, and
/// certificates and expiries on this one.
fn host_clock() -> Finding {
    let now = clock::wall();
    let text = portcullis_policy::utc::rfc3339(now.0);
    if now.0 < BUILT_AFTER_MS {
        return Finding::bad(
            "host clock",
            format!("{text}, which is in the past"),
            "set it, and have it kept (chrony, systemd-timesyncd)",
        );
    }
    Finding::ok("host clock", text)
}

/// 1 January 2026: no version of this program is older.
const BUILT_AFTER_MS: u64 = 1_767_225_600_000;

fn backups(named: &[String]) -> Finding {
    if named.is_empty() {
        return Finding::look(
            "backups",
            "the configuration names no copy of this token; PKCS#11 cannot tell",
            "make one with the token's own tools, and name it in [hsm] backups",
        );
    }
    Finding::ok("backups", format!("named in the configuration: {}", named.join("; ")))
}
