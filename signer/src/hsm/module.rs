//! The PKCS#11 module: loaded once, and loaded again when it has lost itself.
//!
//! A module's state is the process's, whatever handle one holds on it. SoftHSM may crash when it is
//! finalised while a call is inside it, and a handle from before may be somebody else's after. So
//! every call passes the one door here: it is shut while the module is loaded again, which begins
//! only once nobody is inside, and who comes with a session from before is turned away.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B128;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use parking_lot::{Condvar, Mutex};

use super::error::HsmError;
use super::pool::Turn;

/// The one loaded module, kept for the life of the process: dropping the last handle would unload
/// code that a stuck thread may still be in.
static LOADED: Mutex<Option<Arc<Module>>> = Mutex::new(None);

/// A loaded module and its door.
pub(super) struct Module {
    path: PathBuf,
    library: Pkcs11,
    door: Mutex<Door>,
    /// Somebody came out.
    left: Condvar,
    /// Sessions that were given up while the door was shut, by their loading.
    unclosed: Mutex<Vec<(u64, Session)>>,
}

struct Door {
    /// Calls in it, the stuck ones too.
    inside: usize,
    /// How often it was loaded: a session is good for one loading.
    loading: u64,
    shut: bool,
}

/// Leave to call into the module, given back when it is dropped.
pub(super) struct Visit<'a> {
    module: &'a Module,
    /// The loading that it is good for.
    loading: u64,
}

/// The module at `path`, loaded and initialised for use by several threads.
///
/// # Errors
///
/// It cannot be loaded or initialised, or another module is loaded already.
pub(super) fn load(path: &Path) -> Result<Arc<Module>, HsmError> {
    let mut loaded = LOADED.lock();
    match &*loaded {
        Some(module) if module.path == path => return Ok(Arc::clone(module)),
        Some(module) => {
            let loaded = module.path.clone();
            return Err(HsmError::SecondModule { path: path.to_owned(), loaded });
        }
        None => {}
    }
    let library =
        Pkcs11::new(path).map_err(|source| HsmError::Module { path: path.to_owned(), source })?;
    let door = Mutex::new(Door { inside: 0, loading: 1, shut: false });
    let module = Module {
        path: path.to_owned(),
        library,
        door,
        left: Condvar::new(),
        unclosed: Mutex::default(),
    };
    module.initialize()?;
    let module = Arc::new(module);
    *loaded = Some(Arc::clone(&module));
    Ok(module)
}

impl Module {
    /// Goes in.
    ///
    /// # Errors
    ///
    /// It is being loaded again: nobody waits for that, because it may hang.
    pub(super) fn enter(&self) -> Result<Visit<'_>, HsmError> {
        let mut door = self.door.lock();
        if door.shut {
            return Err(HsmError::Reloading);
        }
        door.inside = door.inside.saturating_add(1);
        Ok(Visit { module: self, loading: door.loading })
    }

    /// Goes in with what belongs to this loading.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`], or it was loaded again since: handles from before name nothing, or what
    /// they should not.
    fn enter_in(&self, loading: u64) -> Result<Visit<'_>, HsmError> {
        let visit = self.enter()?;
        if visit.loading == loading { Ok(visit) } else { Err(HsmError::Reloaded) }
    }

    /// Finalises the module and initialises it anew, once nobody is inside; all sessions are gone
    /// then. The code itself stays where it is.
    ///
    /// # Errors
    ///
    /// Somebody did not come out in time, somebody else does the same, or the module refuses: then
    /// it is not initialised, and every call says so, or it is still what it was.
    pub(super) fn reload(&self, patience: Duration) -> Result<(), HsmError> {
        let reloaded = self.begin_anew(patience);
        // While the door was shut they could not be; a token has few.
        let unclosed = std::mem::take(&mut *self.unclosed.lock());
        for (loading, session) in unclosed {
            if let Ok(_visit) = self.enter_in(loading) {
                close(session);
            }
        }
        reloaded
    }

    fn begin_anew(&self, patience: Duration) -> Result<(), HsmError> {
        self.shut_when_empty(patience)?;
        // Most often that it is not initialised, which is why we are here.
        let finalized = self
            .library
            .clone()
            .finalize()
            .inspect_err(|error| tracing::warn!(%error, "the module was not finalised"));
        let begun = begun_anew(finalized, self.start());
        let mut door = self.door.lock();
        door.shut = false;
        match begun {
            Begun::Anew(outcome) => {
                door.loading = door.loading.saturating_add(1);
                outcome.map_err(|source| self.not_initialised(source))
            }
            Begun::Not(refusal) => Err(self.not_initialised(refusal)),
        }
    }

    /// How often it was loaded again, or tried to.
    pub(super) fn reloads(&self) -> u64 {
        self.door.lock().loading.saturating_sub(1)
    }

    /// Whether it is being loaded again at this moment.
    pub(super) fn is_reloading(&self) -> bool {
        self.door.lock().shut
    }

    fn shut_when_empty(&self, patience: Duration) -> Result<(), HsmError> {
        let mut door = self.door.lock();
        if door.shut {
            return Err(HsmError::Reloading);
        }
        door.shut = true;
        let waited = self.left.wait_while_for(&mut door, |door| door.inside > 0, patience);
        if waited.timed_out() && door.inside > 0 {
            door.shut = false;
            return Err(HsmError::ModuleHeld { inside: door.inside });
        }
        Ok(())
    }

    fn initialize(&self) -> Result<(), HsmError> {
        match self.start() {
            Ok(()) => Ok(()),
            Err(error) if is_initialised_already(&error) => Ok(()),
            Err(source) => Err(self.not_initialised(source)),
        }
    }

    fn start(&self) -> Result<(), Error> {
        self.library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
    }

    fn not_initialised(&self, source: Error) -> HsmError {
        HsmError::Initialise { path: self.path.clone(), source }
    }
}

/// What finalising and initialising came to.
#[derive(Debug)]
enum Begun {
    /// What was opened before is gone, and the module is initialised, or is not.
    Anew(Result<(), Error>),
    /// It would not be finalised, for this reason, and is what it was, with all its sessions: those
    /// that count as lost would never be closed, and a token has few.
    Not(Error),
}

fn begun_anew(finalized: Result<(), Error>, initialized: Result<(), Error>) -> Begun {
    match (finalized, initialized) {
        (Err(refusal), Err(error)) if is_initialised_already(&error) => Begun::Not(refusal),
        (Ok(()), Err(error)) if is_initialised_already(&error) => Begun::Anew(Ok(())),
        (_, initialized) => Begun::Anew(initialized),
    }
}

fn is_initialised_already(error: &Error) -> bool {
    matches!(error, Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _))
}

impl Visit<'_> {
    /// The module.
    pub(super) fn library(&self) -> &Pkcs11 {
        &self.module.library
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut door = self.module.door.lock();
        door.inside = door.inside.saturating_sub(1);
        drop(door);
        self.module.left.notify_all();
    }
}

/// A session that is used only inside the module that it was opened in.
pub(super) struct Held {
    /// `None` only while it is dropped.
    session: Option<Session>,
    module: Arc<Module>,
    loading: u64,
    closes: bool,
    checkpoint_key: Cell<Option<(B128, ObjectHandle)>>,
}

/// A session and the leave to use it.
pub(super) struct Inside<'a> {
    pub(super) session: &'a Session,
    /// Where the session found the checkpoint key of this id.
    pub(super) checkpoint_key: &'a Cell<Option<(B128, ObjectHandle)>>,
    /// The job that it is used for. `None`: nobody gives it up.
    turn: Option<&'a Turn>,
    _visit: Visit<'a>,
}

impl Inside<'_> {
    /// As if its job were given up, or not, in the midst of it.
    #[cfg(test)]
    pub(super) fn given_up<'a>(self, turn: &'a Turn) -> Inside<'a>
    where
        Self: 'a,
    {
        Inside { turn: Some(turn), ..self }
    }

    /// To be asked right before whatever changes the token or signs.
    ///
    /// # Errors
    ///
    /// The job was given up, and what it was to do may have been done otherwise since.
    pub(super) fn still_wanted(&self) -> Result<(), HsmError> {
        if self.turn.is_some_and(Turn::is_over) { Err(HsmError::TimedOut) } else { Ok(()) }
    }
}

impl Held {
    /// A session that was opened on this visit, and that is closed on drop if it `closes`. It must
    /// not close itself, because it cannot know whether its handle is still its own.
    pub(super) fn new(
        session: Session,
        module: &Arc<Module>,
        visit: &Visit<'_>,
        closes: bool,
    ) -> Self {
        let (module, loading) = (Arc::clone(module), visit.loading);
        Self { session: Some(session), module, loading, closes, checkpoint_key: Cell::new(None) }
    }

    /// Goes into the module with it.
    ///
    /// # Errors
    ///
    /// The module is being loaded again, or was.
    pub(super) fn enter(&self) -> Result<Inside<'_>, HsmError> {
        let visit = self.module.enter_in(self.loading)?;
        let session = self.session.as_ref().ok_or(HsmError::Reloaded)?;
        Ok(Inside { session, checkpoint_key: &self.checkpoint_key, turn: None, _visit: visit })
    }

    /// The same, for a job.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`], or the job was given up.
    pub(super) fn enter_for<'a>(&'a self, turn: &'a Turn) -> Result<Inside<'a>, HsmError> {
        let inside = Inside { turn: Some(turn), ..self.enter()? };
        inside.still_wanted()?;
        Ok(inside)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(session) = self.session.take().filter(|_| self.closes) else { return };
        match self.module.enter_in(self.loading) {
            Ok(_visit) => close(session),
            // Whether it is still one shows when that is over.
            Err(HsmError::Reloading) => self.module.unclosed.lock().push((self.loading, session)),
            Err(_) => {}
        }
    }
}

fn close(session: Session) {
    if let Err(error) = session.close() {
        // Lost sessions are what is dropped most.
        tracing::debug!(%error, "a session was not closed");
    }
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;
    use portcullis_policy::id::KeyId;

    use super::super::config::{HsmConfig, TokenSelector};
    use super::super::error::SignFault;
    use super::super::pool::After;
    use super::super::session::SigningSession;
    use super::super::testing::{PIN, SOFTHSM, in_own_process};
    use super::super::token::{Access, Token};
    use super::*;
    use crate::pin::PinSource;

    #[test]
    fn it_is_loaded_again_only_when_nobody_is_inside_and_turns_away_what_is_from_before() {
        in_own_process(
            module_path!(),
            "it_is_loaded_again_only_when_nobody_is_inside_and_turns_away_what_is_from_before",
            |tokens| {
                tokens.make("vault");
                let label = TokenSelector::Label("vault".to_owned());
                let pin = PinSource::File(tokens.pin_file(PIN));
                let token = Token::find(&HsmConfig::new(SOFTHSM.into(), label, pin)).unwrap();
                let mut held = token.open(Access::Sign).unwrap();
                let module = load(SOFTHSM.as_ref()).unwrap();

                let inside = held.enter().unwrap();
                let refused = module.reload(Duration::from_millis(20));
                assert!(matches!(refused, Err(HsmError::ModuleHeld { inside: 1 })), "{refused:?}");
                assert!(inside.session.get_session_info().is_ok(), "it was pulled from under us");
                drop(inside);
                assert!(held.enter().is_ok(), "the door was left shut");

                module.reload(Duration::from_millis(20)).unwrap();
                assert!(matches!(held.enter().err(), Some(HsmError::Reloaded)));
                let fresh = token.open(Access::Sign).unwrap();
                // A handle from before may be somebody else's now, and must not close it.
                held.closes = true;
                drop(held);
                assert!(fresh.enter().unwrap().session.get_session_info().is_ok());
            },
        );
    }

    #[test]
    fn sessions_are_from_before_only_if_the_module_has_ended_in_between() {
        let fails = |code, function| Err(Error::Pkcs11(code, function));
        let refused = || fails(RvError::FunctionFailed, Function::Finalize);
        let already = || fails(RvError::CryptokiAlreadyInitialized, Function::Initialize);
        let broken = || fails(RvError::GeneralError, Function::Initialize);
        let untouched = begun_anew(refused(), already());
        let Begun::Not(Error::Pkcs11(RvError::FunctionFailed, _)) = untouched else {
            panic!("{untouched:?}")
        };
        for (finalized, initialized, well) in [
            (Ok(()), Ok(()), true),
            (Ok(()), already(), true),
            (refused(), Ok(()), true),
            (Ok(()), broken(), false),
            (refused(), broken(), false),
        ] {
            let begun = begun_anew(finalized, initialized);
            let Begun::Anew(outcome) = begun else { panic!("{begun:?}") };
            assert_eq!(outcome.is_ok(), well, "{outcome:?}");
        }
    }

    #[test]
    fn a_session_outlives_the_time_in_which_the_module_is_loaded_again() {
        in_own_process(
            module_path!(),
            "a_session_outlives_the_time_in_which_the_module_is_loaded_again",
            |tokens| {
                tokens.make("vault");
                let label = TokenSelector::Label("vault".to_owned());
                let pin = PinSource::File(tokens.pin_file(PIN));
                let token = Token::find(&HsmConfig::new(SOFTHSM.into(), label, pin)).unwrap();
                let mut session = SigningSession::open(token).unwrap();
                let module = load(SOFTHSM.as_ref()).unwrap();
                module.door.lock().shut = true;
                let turn = Turn::fake(false);
                let turned_away = session.self_test(&KeyId::from_bytes([7; 16]), &turn);
                let told = turned_away.err().unwrap();
                assert_eq!((told.fault, told.after), (SignFault::Unavailable, After::Keep));
            },
        );
    }

    #[test]
    fn who_comes_while_it_is_loaded_again_is_told_so_at_once() {
        in_own_process(
            module_path!(),
            "who_comes_while_it_is_loaded_again_is_told_so_at_once",
            |_| {
                let module = load(SOFTHSM.as_ref()).unwrap();
                module.door.lock().shut = true;
                assert!(matches!(module.enter().err(), Some(HsmError::Reloading)));
                let twice = module.reload(Duration::from_millis(20));
                assert!(matches!(twice, Err(HsmError::Reloading)), "{twice:?}");
            },
        );
    }
}
