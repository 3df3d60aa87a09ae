//! One token: finds it, logs in once, opens sessions on it.
//!
//! Never tries a refused PIN again, and never takes another token for the one it started with.

use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};
use parking_lot::{Mutex, MutexGuard};

use super::config::{HsmConfig, TokenSelector};
use super::error::HsmError;
use super::{module, quirks};
use crate::pin::PinSource;

/// A token we may open sessions on.
pub(super) struct Token {
    module: Pkcs11,
    selector: TokenSelector,
    pin: PinSource,
    facts: TokenFacts,
    mechanisms: Vec<MechanismType>,
    /// Where it was seen last: a token that comes back may come back in another slot.
    slot: Mutex<Slot>,
    login: Mutex<Login>,
    /// How long a session waits for another one's login.
    login_patience: Duration,
}

/// What a token says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenFacts {
    /// Given at its initialisation.
    pub label: String,
    /// The manufacturer's number for it.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// What it is.
    pub model: String,
    /// Its firmware's version.
    pub firmware: String,
    /// How many sessions one application may have; `None` if it does not say or does not care.
    pub sessions_max: Option<u64>,
}

impl TokenFacts {
    /// Manufacturer, model and serial number, as records name a token.
    pub fn name(&self) -> String {
        [&self.manufacturer, &self.model, &self.serial].map(|one| one.trim()).join(", ")
    }
}

/// What a session is for.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Signing: read-only sessions, of which tokens allow more.
    Sign,
    /// Making keys.
    Manage,
}

/// May we still send a PIN?
enum Login {
    Open,
    /// The token said the PIN is wrong, locked or expired.
    WrongPin,
    /// The token said something we do not know to be harmless.
    Refused,
}

impl Token {
    /// Loads the module and finds the token; no login yet.
    ///
    /// # Errors
    ///
    /// Module, token or mechanism is missing, or the name fits several tokens.
    pub(super) fn find(config: &HsmConfig) -> Result<Arc<Self>, HsmError> {
        let module = module::load(&config.module)?;
        let (slot, info) = lookup(&module, &config.token)?;
        let mechanisms = module.get_mechanism_list(slot).map_err(HsmError::Slots)?;
        if !mechanisms.contains(&MechanismType::ECDSA) {
            return Err(HsmError::Mechanism { mechanism: "CKM_ECDSA" });
        }
        Ok(Arc::new(Self {
            module,
            selector: config.token.clone(),
            pin: config.pin.clone(),
            facts: TokenFacts::from(&info),
            mechanisms,
            slot: Mutex::new(slot),
            login: Mutex::new(Login::Open),
            login_patience: config.deadline.checked_div(LOGIN_WAITS).unwrap_or_default(),
        }))
    }

    /// What it says of itself.
    pub(super) fn facts(&self) -> &TokenFacts {
        &self.facts
    }

    /// What it can do.
    pub(super) fn mechanisms(&self) -> &[MechanismType] {
        &self.mechanisms
    }

    /// A fresh session, logged in. A token that moved is looked for.
    ///
    /// # Errors
    ///
    /// No session, no login, or another token under the same name.
    pub(super) fn open(&self, access: Access) -> Result<Session, HsmError> {
        drop(self.login()?);
        let slot = *self.slot.lock();
        let session = match self.open_at(slot, access) {
            Ok(session) => session,
            Err(_) => self.open_at(self.find_again()?, access)?,
        };
        self.ensure_login(&session)?;
        Ok(session)
    }

    /// A session on our token and no other. Asked before, so that none is opened elsewhere, and
    /// again after: a token that leaves takes its sessions with it, so this one is ours for good.
    fn open_at(&self, slot: Slot, access: Access) -> Result<Session, HsmError> {
        self.confirm(slot)?;
        let session = match (access, quirks::sessions_may_close(&self.facts.manufacturer)) {
            (Access::Sign, true) => self.module.open_ro_session(slot),
            (Access::Sign, false) => self.module.open_ro_session_no_drop(slot),
            (Access::Manage, true) => self.module.open_rw_session(slot),
            (Access::Manage, false) => self.module.open_rw_session_no_drop(slot),
        };
        let session = session.map_err(HsmError::Session)?;
        self.confirm(slot)?;
        Ok(session)
    }

    fn confirm(&self, slot: Slot) -> Result<(), HsmError> {
        self.is_ours(&self.module.get_token_info(slot).map_err(HsmError::Slots)?)
    }

    /// The PIN is for the token we started with: another in its place must never see it.
    fn is_ours(&self, info: &TokenInfo) -> Result<(), HsmError> {
        let found = info.serial_number();
        if found == self.facts.serial {
            return Ok(());
        }
        Err(HsmError::TokenExchanged {
            selector: self.selector.clone(),
            expected: self.facts.serial.clone(),
            found: found.to_owned(),
        })
    }

    fn find_again(&self) -> Result<Slot, HsmError> {
        let (slot, info) = lookup(&self.module, &self.selector)?;
        self.is_ours(&info)?;
        *self.slot.lock() = slot;
        Ok(slot)
    }

    /// The right to log in, which one session has at a time: one that hangs in it must not have
    /// the others hang too.
    fn login(&self) -> Result<MutexGuard<'_, Login>, HsmError> {
        let login = self.login.try_lock_for(self.login_patience).ok_or(HsmError::LoginBusy)?;
        match *login {
            Login::Open => Ok(login),
            Login::WrongPin => Err(HsmError::WrongPin),
            Login::Refused => Err(HsmError::LoginRefused),
        }
    }

    /// A login is the application's, not the session's: all sessions share it until the last one
    /// is closed or the token forgets. Whoever finds it gone logs in, one at a time.
    fn ensure_login(&self, session: &Session) -> Result<(), HsmError> {
        if is_logged_in(session)? {
            return Ok(());
        }
        let mut login = self.login()?;
        if is_logged_in(session)? {
            return Ok(());
        }
        let pin = self.pin.read().map_err(HsmError::Pin)?;
        match session.login(UserType::User, Some(&pin.for_login())) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(error) => {
                let (next, failure) = judge(error);
                *login = next;
                Err(failure)
            }
        }
    }
}

fn is_logged_in(session: &Session) -> Result<bool, HsmError> {
    let state = session.get_session_info().map_err(HsmError::Session)?.session_state();
    Ok(matches!(state, SessionState::RoUser | SessionState::RwUser))
}

/// A session gives up waiting for another one's login well before its own deadline, so that one
/// login that hangs is one stuck thread and not one a session.
const LOGIN_WAITS: u32 = 4;

/// What a failed login means for the next one: only a failure that cannot have reached the token's
/// PIN counter leaves it open.
fn judge(error: Error) -> (Login, HsmError) {
    let refused = [
        RvError::PinIncorrect,
        RvError::PinLocked,
        RvError::PinExpired,
        RvError::PinInvalid,
        RvError::PinLenRange,
    ];
    let harmless = [
        RvError::DeviceRemoved,
        RvError::TokenNotPresent,
        RvError::TokenNotRecognized,
        RvError::SessionHandleInvalid,
        RvError::SessionClosed,
        RvError::SlotIdInvalid,
        RvError::HostMemory,
        RvError::CryptokiNotInitialized,
    ];
    let code = if let Error::Pkcs11(code, _) = error { Some(code) } else { None };
    if code.is_some_and(|code| refused.contains(&code)) {
        return (Login::WrongPin, HsmError::WrongPin);
    }
    if code.is_some_and(|code| harmless.contains(&code)) {
        return (Login::Open, HsmError::Login(error));
    }
    tracing::error!(%error, "the token refused the login");
    (Login::Refused, HsmError::LoginRefused)
}

/// The one initialised token that fits.
pub(super) fn lookup(
    module: &Pkcs11,
    selector: &TokenSelector,
) -> Result<(Slot, TokenInfo), HsmError> {
    let slots = module.get_slots_with_initialized_token().map_err(HsmError::Slots)?;
    let mut fitting = slots.into_iter().filter_map(|slot| {
        let info = module.get_token_info(slot).ok()?;
        let fits = match selector {
            TokenSelector::Label(label) => info.label() == label,
            TokenSelector::Serial(serial) => info.serial_number() == serial,
            TokenSelector::Slot(id) => slot.id() == *id,
        };
        fits.then_some((slot, info))
    });
    let Some(found) = fitting.next() else {
        return Err(HsmError::TokenMissing { selector: selector.clone() });
    };
    match fitting.count() {
        0 => Ok(found),
        more => Err(HsmError::TokenAmbiguous {
            selector: selector.clone(),
            count: more.saturating_add(1),
        }),
    }
}

impl From<&TokenInfo> for TokenFacts {
    fn from(info: &TokenInfo) -> Self {
        Self {
            label: info.label().to_owned(),
            serial: info.serial_number().to_owned(),
            manufacturer: info.manufacturer_id().to_owned(),
            model: info.model().to_owned(),
            firmware: info.firmware_version().to_string(),
            sessions_max: match info.max_session_count() {
                Limit::Max(count) => Some(count),
                Limit::Unavailable | Limit::Infinite => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::super::testing::{PIN, SOFTHSM, in_own_process};
    use super::*;

    #[test]
    fn a_login_that_does_not_end_holds_up_only_what_needs_one() {
        in_own_process(
            module_path!(),
            "a_login_that_does_not_end_holds_up_only_what_needs_one",
            |tokens| {
                tokens.make("vault");
                let label = TokenSelector::Label("vault".to_owned());
                let pin = PinSource::File(tokens.pin_file(PIN));
                let config = HsmConfig::new(SOFTHSM.into(), label, pin);
                let deadline = Duration::from_millis(100);
                let token = Token::find(&HsmConfig { deadline, ..config }).unwrap();
                let session = token.open(Access::Sign).unwrap();

                let hanging = token.login.lock();
                assert!(matches!(token.open(Access::Sign), Err(HsmError::LoginBusy)));
                assert!(token.ensure_login(&session).is_ok());
                session.logout().unwrap();
                assert!(matches!(token.ensure_login(&session), Err(HsmError::LoginBusy)));
                drop(hanging);
                assert!(token.open(Access::Sign).is_ok());
            },
        );
    }

    #[test]
    fn only_a_failure_before_the_pin_counter_leaves_the_login_open() {
        let judged = |rv| judge(Error::Pkcs11(rv, Function::Login));
        for rv in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired] {
            assert!(matches!(judged(rv), (Login::WrongPin, HsmError::WrongPin)));
        }
        for rv in [RvError::DeviceRemoved, RvError::SessionHandleInvalid] {
            assert!(matches!(judged(rv), (Login::Open, HsmError::Login(_))));
        }
        for rv in [RvError::FunctionFailed, RvError::GeneralError, RvError::DeviceError] {
            assert!(matches!(judged(rv), (Login::Refused, HsmError::LoginRefused)));
        }
    }
}
