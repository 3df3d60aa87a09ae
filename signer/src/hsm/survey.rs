//! What a module and its tokens say of themselves, before anybody logs in (`C_GetInfo`,
//! `C_GetTokenInfo`, `C_GetMechanismInfo`: PKCS#11 v2.40 sections 5.4 and 5.5).

use std::fmt;

use cryptoki::context::{Info, Pkcs11};
use cryptoki::mechanism::MechanismType;
use cryptoki::slot::{Limit, Slot, TokenInfo};

use super::checkpoint::CheckpointKind;
use super::config::HsmConfig;
use super::connect::in_time;
use super::error::HsmError;
use super::token::{TokenFacts, lookup};
use super::{module, quirks};

/// What there is to know of a token without its PIN.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The token, as records name it and more.
    pub token: TokenFacts,
    /// What stands in the way of using it, each a sentence.
    pub troubles: Vec<String>,
    /// How the user PIN stands.
    pub pin: PinState,
    /// Sessions that may write, which managing keys takes; `None` if it does not say or does not
    /// care.
    pub writing_sessions_max: Option<u64>,
    /// What it can do of what we need.
    pub mechanisms: Vec<Offer>,
    /// What it would sign checkpoints with. `None`: nothing.
    pub checkpoints: Option<CheckpointKind>,
    /// Its own clock, if it has one.
    pub clock: Option<String>,
    /// Whether its objects are files of this machine.
    pub is_software: bool,
}

/// A mechanism that we use.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The PKCS#11 name.
    pub name: &'static str,
    /// Whether there is no doing without.
    pub is_needed: bool,
    /// `None`: the token has none such. Else whether it says that hardware does it
    /// (`CKF_HW`), and not the module on this machine.
    pub in_hardware: Option<bool>,
}

/// How the user PIN stands, as far as the token tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PinState {
    /// Nothing is wrong with it.
    Fine,
    /// `CKF_USER_PIN_COUNT_LOW`: a wrong one was given since the last right one.
    WrongOneGiven,
    /// `CKF_USER_PIN_FINAL_TRY`: one more wrong one locks it.
    FinalTry,
    /// `CKF_USER_PIN_LOCKED`.
    Locked,
    /// `CKF_USER_PIN_TO_BE_CHANGED`: it is the one from the factory, or has expired.
    ToBeChanged,
    /// `CKF_USER_PIN_INITIALIZED` is not set.
    NotSet,
}

/// A module and all its tokens.
#[derive(Clone, Debug)]
pub struct Library {
    /// Manufacturer, description and version, and that of PKCS#11.
    pub name: String,
    /// Every initialised token, to choose from.
    pub tokens: Vec<TokenFacts>,
}

/// Loads the module and lists what it has. Blocks, at most for the configured `admin_deadline`.
///
/// # Errors
///
/// It cannot be loaded or asked.
pub fn library(config: &HsmConfig) -> Result<Library, HsmError> {
    let wanted = config.clone();
    in_time(config.admin_deadline, move || {
        let module = module::load(&wanted.module)?;
        let visit = module.enter()?;
        let module = visit.library();
        let name = described(&module.get_library_info().map_err(HsmError::Slots)?);
        let slots = module.get_slots_with_initialized_token().map_err(HsmError::Slots)?;
        let infos = slots.into_iter().filter_map(|slot| module.get_token_info(slot).ok());
        Ok(Library { name, tokens: infos.map(|info| TokenFacts::from(&info)).collect() })
    })
}

/// Looks at the configured token. Blocks, at most for the configured `admin_deadline`.
///
/// # Errors
///
/// It is not there, or cannot be asked.
pub fn survey(config: &HsmConfig) -> Result<Survey, HsmError> {
    let wanted = config.clone();
    in_time(config.admin_deadline, move || {
        let module = module::load(&wanted.module)?;
        let visit = module.enter()?;
        let (slot, info) = lookup(visit.library(), &wanted.token)?;
        of(visit.library(), slot, &info)
    })
}

fn of(module: &Pkcs11, slot: Slot, info: &TokenInfo) -> Result<Survey, HsmError> {
    let listed = module.get_mechanism_list(slot).map_err(HsmError::Slots)?;
    let offer = |(name, mechanism, is_needed): &(&'static str, MechanismType, bool)| {
        let listed = listed.contains(mechanism).then_some(*mechanism);
        let facts = listed.map(|mechanism| module.get_mechanism_info(slot, mechanism));
        // One that is listed and cannot be described is there all the same.
        let in_hardware = facts.map(|facts| facts.is_ok_and(|facts| facts.hardware()));
        Offer { name, is_needed: *is_needed, in_hardware }
    };
    let token = TokenFacts::from(info);
    Ok(Survey {
        troubles: troubles(info),
        pin: PinState::of(info),
        writing_sessions_max: match info.max_rw_session_count() {
            Limit::Max(count) => Some(count),
            Limit::Unavailable | Limit::Infinite => None,
        },
        mechanisms: MECHANISMS.iter().map(offer).collect(),
        checkpoints: CheckpointKind::of(&listed),
        clock: info
            .utc_time()
            .filter(|_| info.clock_on_token())
            .map(|time| time.as_iso8601_string()),
        is_software: quirks::keeps_objects_in_files(&token.manufacturer),
        token,
    })
}

const MECHANISMS: [(&str, MechanismType, bool); 4] = [
    ("CKM_ECDSA", MechanismType::ECDSA, true),
    ("CKM_EC_KEY_PAIR_GEN", MechanismType::ECC_KEY_PAIR_GEN, true),
    ("CKM_EDDSA", MechanismType::EDDSA, false),
    ("CKM_EC_EDWARDS_KEY_PAIR_GEN", MechanismType::ECC_EDWARDS_KEY_PAIR_GEN, false),
];

fn troubles(info: &TokenInfo) -> Vec<String> {
    let flags = [
        (info.error_state(), "it failed a self-test and says that it is in an error state"),
        (info.write_protected(), "it is write-protected: keys can be neither made nor fenced"),
        (!info.login_required(), "it asks for no login: whoever reaches it can sign"),
        (info.protected_authentication_path(), "it takes its PIN from a pad, not from us"),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, trouble)| trouble.to_owned()).collect()
}

impl PinState {
    /// What it says of the attempts that are left, and of nothing else.
    pub(super) fn attempts(info: &TokenInfo) -> Self {
        let flags = [
            (info.user_pin_locked(), Self::Locked),
            (info.user_pin_final_try(), Self::FinalTry),
            (info.user_pin_count_low(), Self::WrongOneGiven),
        ];
        let first = flags.into_iter().find(|(set, _)| *set);
        first.map_or(Self::Fine, |(_, state)| state)
    }

    fn of(info: &TokenInfo) -> Self {
        let flags = [
            (!info.user_pin_initialized(), Self::NotSet),
            (info.user_pin_locked(), Self::Locked),
            (info.user_pin_final_try(), Self::FinalTry),
            (info.user_pin_to_be_changed(), Self::ToBeChanged),
            (info.user_pin_count_low(), Self::WrongOneGiven),
        ];
        let first = flags.into_iter().find(|(set, _)| *set);
        first.map_or(Self::Fine, |(_, state)| state)
    }
}

impl fmt::Display for PinState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Fine => "the token counts no wrong PIN",
            Self::WrongOneGiven => "a wrong PIN was given since the last right one",
            Self::FinalTry => "one more wrong PIN locks the token",
            Self::Locked => "the user PIN is locked",
            Self::ToBeChanged => "the user PIN has to be changed first",
            Self::NotSet => "no user PIN is set",
        })
    }
}

fn described(info: &Info) -> String {
    format!(
        "{}, {} {}, PKCS#11 {}",
        info.manufacturer_id().trim(),
        info.library_description().trim(),
        info.library_version(),
        info.cryptoki_version()
    )
}
