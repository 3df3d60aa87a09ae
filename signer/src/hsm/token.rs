//! One token: finds it, logs in once, opens sessions on it.
//!
//! Never sends a refused PIN again, and never takes another token for the one it started with.

use std::sync::Arc;
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::{Limit, Slot, TokenInfo};
use parking_lot::{Mutex, MutexGuard};

use super::config::{HsmConfig, TokenSelector};
use super::error::{HsmError, chain};
use super::login::Login;
use super::module::{self, Held, Module, Visit};
use super::quirks;
use super::recovery::Recovery;
use super::survey::PinState;
use crate::pin::PinSource;

/// A token we may open sessions on.
pub(super) struct Token {
    module: Arc<Module>,
    selector: TokenSelector,
    pin: PinSource,
    facts: TokenFacts,
    mechanisms: Vec<MechanismType>,
    /// Where it was seen last: a token that comes back may come back in another slot.
    slot: Mutex<Slot>,
    login: Mutex<Login>,
    /// How long a session waits for another one's login.
    login_patience: Duration,
    recovery: Recovery,
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

impl Token {
    /// Loads the module and finds the token; no login yet.
    ///
    /// # Errors
    ///
    /// Module, token or mechanism is missing, or the name fits several tokens.
    pub(super) fn find(config: &HsmConfig) -> Result<Arc<Self>, HsmError> {
        let module = module::load(&config.module)?;
        let visit = module.enter()?;
        let (slot, info) = lookup(visit.library(), &config.token)?;
        let mechanisms = visit.library().get_mechanism_list(slot).map_err(HsmError::Slots)?;
        drop(visit);
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
            login: Mutex::default(),
            login_patience: config.deadline.checked_div(LOGIN_WAITS).unwrap_or_default(),
            recovery: Recovery::default(),
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

    /// A fresh session, logged in. A token that moved is looked for. If it stays away, the module
    /// is loaded again, once nobody is inside it.
    ///
    /// # Errors
    ///
    /// No session, no login, or another token under the same name.
    pub(super) fn open(&self, access: Access) -> Result<Held, HsmError> {
        let error = match self.try_open(access) {
            Ok(held) => return Ok(held),
            Err(error) => error,
        };
        if !self.recovery.is_due(error.verdict()) {
            return Err(self.recovery.explain(error));
        }
        tracing::warn!(error = chain(&error), "the PKCS#11 module is loaded again");
        let reloaded = self.module.reload(self.login_patience);
        self.recovery.tried(&reloaded);
        reloaded?;
        self.try_open(access)
    }

    /// How often the module was loaded again.
    pub(super) fn reloads(&self) -> u64 {
        self.module.reloads()
    }

    /// Whether the module is being loaded again at this moment.
    pub(super) fn is_reloading(&self) -> bool {
        self.module.is_reloading()
    }

    /// Whether the PIN in its file was refused, or cannot be read. Of a login that hangs nobody
    /// knows; a fresh process asks the token first how many attempts are left.
    pub(super) fn has_a_refused_pin(&self) -> bool {
        let login = self.login.try_lock();
        login.is_some_and(|login| login.has_hope(&self.pin).is_err())
    }

    /// A call went well: while one does, the module is not loaded again.
    pub(super) fn works(&self) {
        self.recovery.calm();
    }

    fn try_open(&self, access: Access) -> Result<Held, HsmError> {
        let visit = self.module.enter()?;
        self.patient_login()?.has_hope(&self.pin)?;
        let slot = *self.slot.lock();
        let held = match self.open_at(&visit, slot, access) {
            Ok(held) => held,
            Err(_) => self.open_at(&visit, self.find_again(&visit)?, access)?,
        };
        self.ensure_login(&visit, held.enter()?.session)?;
        self.works();
        Ok(held)
    }

    /// A session on our token and no other. Asked before, so that none is opened elsewhere, and
    /// again after: a token that leaves takes its sessions with it, so this one is ours for good.
    fn open_at(&self, visit: &Visit<'_>, slot: Slot, access: Access) -> Result<Held, HsmError> {
        let library = visit.library();
        self.is_ours(&library.get_token_info(slot).map_err(HsmError::Slots)?)?;
        let session = quirks::open(library, slot, access).map_err(HsmError::Session)?;
        let closes = quirks::sessions_may_close(&self.facts.manufacturer);
        // Held before the second look, which closes it if it fails: else the token would run out.
        let held = Held::new(session, &self.module, visit, closes);
        self.is_ours(&library.get_token_info(slot).map_err(HsmError::Slots)?)?;
        Ok(held)
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

    fn find_again(&self, visit: &Visit<'_>) -> Result<Slot, HsmError> {
        let (slot, info) = lookup(visit.library(), &self.selector)?;
        self.is_ours(&info)?;
        *self.slot.lock() = slot;
        Ok(slot)
    }

    /// The right to log in, which one session has at a time: one that hangs in it must not have
    /// the others hang too.
    fn patient_login(&self) -> Result<MutexGuard<'_, Login>, HsmError> {
        self.login.try_lock_for(self.login_patience).ok_or(HsmError::LoginBusy)
    }

    /// A login is the application's, not the session's: all sessions share it until the last one
    /// is closed or the token forgets. Whoever finds it gone logs in, one at a time.
    fn ensure_login(&self, visit: &Visit<'_>, session: &Session) -> Result<(), HsmError> {
        if is_logged_in(session)? {
            return Ok(());
        }
        let mut login = self.patient_login()?;
        if is_logged_in(session)? {
            return Ok(());
        }
        let pin = self.pin.read().map_err(HsmError::Pin)?;
        login.admit(&pin)?;
        let says = self.attempts(visit)?;
        if login.is_in_doubt(&pin) && says != PinState::Fine {
            return Err(login.condemn(pin));
        }
        may_try(says)?;
        let answer = session.login(UserType::User, Some(&pin.for_login()));
        login.learn(pin, answer)
    }

    /// What the token says itself of its PIN, before it is sent: whoever used up attempts, this
    /// process from before its restart or somebody else, is not known here.
    fn attempts(&self, visit: &Visit<'_>) -> Result<PinState, HsmError> {
        let slot = *self.slot.lock();
        let info = visit.library().get_token_info(slot).map_err(HsmError::Slots)?;
        self.is_ours(&info)?;
        Ok(PinState::attempts(&info))
    }
}

/// A PIN is not sent where it could be the one that locks the token, or cannot be right.
fn may_try(says: PinState) -> Result<(), HsmError> {
    match says {
        PinState::Locked => Err(HsmError::PinLocked),
        PinState::FinalTry => Err(HsmError::PinFinalTry),
        PinState::Fine | PinState::WrongOneGiven | PinState::ToBeChanged | PinState::NotSet => {
            Ok(())
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
    use super::super::testing::{PIN, SOFTHSM, in_own_process};
    use super::*;

    #[test]
    fn it_says_whether_a_fresh_process_would_send_a_refused_pin() {
        in_own_process(
            module_path!(),
            "it_says_whether_a_fresh_process_would_send_a_refused_pin",
            |tokens| {
                tokens.make("vault");
                let label = TokenSelector::Label("vault".to_owned());
                let pin = PinSource::File(tokens.pin_file("000000"));
                let token = Token::find(&HsmConfig::new(SOFTHSM.into(), label, pin)).unwrap();
                assert!(!token.has_a_refused_pin());
                assert!(matches!(token.open(Access::Sign), Err(HsmError::WrongPin)));
                assert!(token.has_a_refused_pin());
                tokens.pin_file(PIN);
                assert!(!token.has_a_refused_pin(), "that one was not refused");
            },
        );
    }

    #[test]
    fn no_pin_is_sent_that_could_be_the_one_that_locks_the_token() {
        assert!(matches!(may_try(PinState::FinalTry), Err(HsmError::PinFinalTry)));
        assert!(matches!(may_try(PinState::Locked), Err(HsmError::PinLocked)));
        assert!(may_try(PinState::WrongOneGiven).is_ok() && may_try(PinState::Fine).is_ok());
    }

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
                let held = token.open(Access::Sign).unwrap();
                let inside = held.enter().unwrap();
                let visit = token.module.enter().unwrap();
                let log_in = || token.ensure_login(&visit, inside.session);

                let hanging = token.login.lock();
                assert!(matches!(token.open(Access::Sign), Err(HsmError::LoginBusy)));
                assert!(log_in().is_ok());
                inside.session.logout().unwrap();
                assert!(matches!(log_in(), Err(HsmError::LoginBusy)));
                drop(hanging);
                assert!(token.open(Access::Sign).is_ok());
            },
        );
    }
}
