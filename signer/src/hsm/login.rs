//! Whether a PIN may be sent to the token, which locks itself after a few wrong ones.
//!
//! Never sends a PIN that was refused a second time, whatever was tried in between: the operator
//! writes another one into its file, and that one is tried once. Once the token took one, all that
//! was refused before is forgotten: the token has set its count back too.

use cryptoki::error::{Error, RvError};

use super::error::HsmError;
use super::verdict::{self, Verdict};
use crate::pin::{Pin, PinSource};

/// What the logins so far say of the next.
#[derive(Default)]
pub(super) struct Login {
    /// A login went well in the life of this process: the PIN was right then.
    went_well: bool,
    /// Those that the token said are wrong, locked or expired, since one went well.
    refused: Vec<Pin>,
    /// The token said that it takes none any more.
    is_locked: bool,
    /// One of which the token said nothing, so many times in a row.
    unclear: Option<(Pin, u32)>,
}

impl Login {
    /// Whether there is any use in opening a session, before one is opened.
    ///
    /// # Errors
    ///
    /// The PIN in its file is the one that was refused, or cannot be read.
    pub(super) fn has_hope(&self, source: &PinSource) -> Result<(), HsmError> {
        if self.refused.is_empty() && self.unclear.is_none() {
            return Ok(());
        }
        self.admit(&source.read().map_err(HsmError::Pin)?)
    }

    /// Whether this PIN may be sent.
    ///
    /// # Errors
    ///
    /// It was refused before, or so many were that no other one is tried.
    pub(super) fn admit(&self, pin: &Pin) -> Result<(), HsmError> {
        if self.refused.len() >= REFUSED_MAX || self.refused.iter().any(|one| one.is(pin)) {
            return Err(if self.is_locked { HsmError::PinLocked } else { HsmError::WrongPin });
        }
        match self.times_unclear(pin) {
            0 => Ok(()),
            times if self.went_well && times < UNCLEAR_MAX => Ok(()),
            _ => Err(HsmError::LoginRefused),
        }
    }

    fn times_unclear(&self, pin: &Pin) -> u32 {
        self.unclear.as_ref().filter(|(same, _)| same.is(pin)).map_or(0, |(_, times)| *times)
    }

    /// Whether this PIN may have cost an attempt already, so that the token's own word on how many
    /// are left is to be heard first.
    pub(super) fn is_in_doubt(&self, pin: &Pin) -> bool {
        self.times_unclear(pin) > 0
    }

    /// The token says that somebody used up attempts: this PIN is not sent again.
    pub(super) fn condemn(&mut self, pin: Pin) -> HsmError {
        self.refused.push(pin);
        HsmError::WrongPin
    }

    /// What came of sending it.
    ///
    /// # Errors
    ///
    /// It did not log in.
    pub(super) fn learn(&mut self, pin: Pin, answer: Result<(), Error>) -> Result<(), HsmError> {
        let Err(error) = answer else { return self.well() };
        match verdict::of(&error) {
            // Somebody else's login: this PIN was not looked at.
            Verdict::Fine => Ok(()),
            Verdict::Later
            | Verdict::NewSession
            | Verdict::LogIn
            | Verdict::Gone
            | Verdict::Reload
            | Verdict::FindAgain
            | Verdict::Refused => Err(HsmError::Login(error)),
            Verdict::Pin => {
                let code = if let Error::Pkcs11(code, _) = &error { Some(*code) } else { None };
                let locked = matches!(code, Some(RvError::PinLocked));
                tracing::error!(?code, "the token refused the PIN: it is not sent again");
                self.refused.push(pin);
                self.is_locked = locked;
                Err(if locked { HsmError::PinLocked } else { HsmError::WrongPin })
            }
            Verdict::Unclear => {
                let times = self.times_unclear(&pin).saturating_add(1);
                tracing::error!(%error, times, "the token refused the login, and says not why");
                let again = self.went_well && times < UNCLEAR_MAX;
                // Another one's turn would begin this one's count anew.
                match self.unclear.replace((pin, times)) {
                    Some((other, _)) if times == 1 => self.refused.push(other),
                    Some(_) | None => {}
                }
                Err(if again { HsmError::Login(error) } else { HsmError::LoginRefused })
            }
        }
    }

    fn well(&mut self) -> Result<(), HsmError> {
        *self = Self { went_well: true, ..Self::default() };
        Ok(())
    }
}

/// Tokens lock after three at the least (FIPS 140 asks for a bound, vendors choose 3 to 10). These
/// are of a PIN that was right before, and only while the token does not say that one was wasted.
const UNCLEAR_MAX: u32 = 3;

/// Far more than anybody writes into the file by mistake, and than tokens take before they lock.
const REFUSED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    fn pin(text: &str) -> Pin {
        Pin::typed(text).unwrap()
    }

    fn failed(code: RvError) -> Result<(), Error> {
        Err(Error::Pkcs11(code, Function::Login))
    }

    #[test]
    fn a_refused_pin_is_never_sent_again_and_another_one_is() {
        for code in [RvError::PinIncorrect, RvError::PinLocked, RvError::PinExpired] {
            let mut login = Login::default();
            assert!(login.learn(pin("1234"), failed(code)).is_err());
            let told = login.admit(&pin("1234"));
            if code == RvError::PinLocked {
                assert!(
                    matches!(told, Err(HsmError::PinLocked)),
                    "another PIN is no help: {told:?}"
                );
            } else {
                assert!(matches!(told, Err(HsmError::WrongPin)), "{told:?}");
            }
            assert!(login.learn(pin("1234"), failed(RvError::UserAlreadyLoggedIn)).is_ok());
            assert!(login.admit(&pin("1234")).is_err(), "somebody else's login was another PIN's");
            assert!(login.admit(&pin("5678")).is_ok());
            login.learn(pin("5678"), Ok(())).unwrap();
            assert!(login.admit(&pin("1234")).is_ok(), "nothing is remembered after a good one");
        }
    }

    #[test]
    fn a_pin_that_was_refused_is_not_sent_after_others_were_and_after_eight_none_is() {
        let mut login = Login::default();
        assert!(login.learn(pin("0"), failed(RvError::PinIncorrect)).is_err());
        assert!(login.learn(pin("u"), failed(RvError::DeviceError)).is_err());
        for text in ["1", "2", "3", "4", "5", "6"] {
            assert!(login.admit(&pin(text)).is_ok());
            assert!(login.learn(pin(text), failed(RvError::PinIncorrect)).is_err());
            assert!(matches!(login.admit(&pin("0")), Err(HsmError::WrongPin)), "after {text}");
            assert!(matches!(login.admit(&pin("u")), Err(HsmError::LoginRefused)));
        }
        assert!(login.admit(&pin("fresh")).is_ok());
        assert!(login.learn(pin("7"), failed(RvError::PinIncorrect)).is_err());
        assert!(matches!(login.admit(&pin("fresh")), Err(HsmError::WrongPin)));
    }

    #[test]
    fn two_pins_of_which_the_token_says_nothing_are_not_sent_in_turns() {
        let mut login = Login::default();
        login.learn(pin("1234"), Ok(())).unwrap();
        for text in ["1234", "5678"] {
            assert!(login.learn(pin(text), failed(RvError::DeviceError)).is_err());
        }
        assert!(matches!(login.admit(&pin("1234")), Err(HsmError::WrongPin)));
        assert!(login.admit(&pin("5678")).is_ok());
    }

    #[test]
    fn a_failure_that_says_nothing_is_tried_again_only_with_a_pin_that_was_right_and_thrice() {
        let unclear = [RvError::FunctionFailed, RvError::DeviceRemoved, RvError::DeviceError];
        for code in unclear {
            let mut login = Login::default();
            let first = login.learn(pin("1234"), failed(code));
            assert!(matches!(first, Err(HsmError::LoginRefused)), "never went well: {first:?}");
            assert!(login.admit(&pin("1234")).is_err());

            let mut login = Login::default();
            login.learn(pin("1234"), Ok(())).unwrap();
            for _ in 0..2 {
                let again = login.learn(pin("1234"), failed(code));
                assert!(matches!(again, Err(HsmError::Login(_))), "{again:?}");
                assert!(login.admit(&pin("1234")).is_ok() && login.is_in_doubt(&pin("1234")));
            }
            assert!(matches!(login.learn(pin("1234"), failed(code)), Err(HsmError::LoginRefused)));
            assert!(matches!(login.admit(&pin("1234")), Err(HsmError::LoginRefused)));
            assert!(login.admit(&pin("5678")).is_ok());
        }
    }

    #[test]
    fn a_failure_before_the_pin_was_looked_at_costs_nothing() {
        for code in [RvError::TokenNotPresent, RvError::SessionHandleInvalid] {
            let mut login = Login::default();
            let lost = login.learn(pin("1234"), failed(code));
            assert!(matches!(lost, Err(HsmError::Login(_))), "{lost:?}");
            assert!(login.admit(&pin("1234")).is_ok() && !login.is_in_doubt(&pin("1234")));
        }
    }

    #[test]
    fn a_token_that_says_attempts_were_wasted_ends_the_trying() {
        let mut login = Login::default();
        login.learn(pin("1234"), Ok(())).unwrap();
        assert!(login.learn(pin("1234"), failed(RvError::DeviceError)).is_err());
        assert!(matches!(login.condemn(pin("1234")), HsmError::WrongPin));
        assert!(matches!(login.admit(&pin("1234")), Err(HsmError::WrongPin)));
    }
}
