//! What the token and the module are like as a whole, beside what single calls are spoilt by: a
//! token out of its slot, sessions that are lost or all taken, a module that somebody holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use crate::module::{Module, real};
use crate::script::{Standing, Unreadable};

/// The world of this process.
static WORLD: Mutex<World> = Mutex::new(World::new());

struct World {
    /// Sessions that are open in the real module.
    open: BTreeSet<CK_SESSION_HANDLE>,
    /// Sessions that are lost, and what they answer.
    lost: BTreeMap<CK_SESSION_HANDLE, CK_RV>,
    /// What the module answers until it is finalised.
    broken: Option<CK_RV>,
    /// The token was out at the last look.
    removed: bool,
    /// A call holds the module, and no other goes in.
    held: bool,
}

impl World {
    const fn new() -> Self {
        Self {
            open: BTreeSet::new(),
            lost: BTreeMap::new(),
            broken: None,
            removed: false,
            held: false,
        }
    }
}

fn world() -> MutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the call is answered without being made, if the world is such.
pub(crate) fn answers(
    module: &'static Module,
    function: &str,
    session: Option<CK_SESSION_HANDLE>,
) -> Result<Option<CK_RV>, Unreadable> {
    let Some(script) = &module.script else { return Ok(None) };
    if matches!(function, "C_Initialize" | "C_Finalize") {
        return Ok(None);
    }
    let standing = script.standing()?;
    let mut world = world();
    remove(module, &mut world, standing.removed);
    world.broken = standing.broken.or(world.broken);
    let whole = world.broken.or_else(|| absent(standing, function, session));
    Ok(whole.or_else(|| session.and_then(|session| world.lost.get(&session).copied())))
}

/// A token that leaves takes its sessions and its login with it.
fn remove(module: &'static Module, world: &mut World, removed: bool) {
    if removed && !world.removed {
        let all = std::mem::take(&mut world.open);
        if let Some(any) = all.first().copied() {
            // Whether it was logged in is nobody's business.
            real!(module, C_Logout(any));
        }
        world.lost.extend(all.into_iter().map(|session| (session, CKR_SESSION_HANDLE_INVALID)));
    }
    world.removed = removed;
}

fn absent(standing: Standing, function: &str, session: Option<CK_SESSION_HANDLE>) -> Option<CK_RV> {
    let of_the_token =
        matches!(function, "C_GetTokenInfo" | "C_OpenSession" | "C_GetMechanismInfo");
    match (standing.removed, session) {
        (false, _) => None,
        (true, Some(_)) => Some(CKR_DEVICE_REMOVED),
        (true, None) => of_the_token.then_some(CKR_TOKEN_NOT_PRESENT),
    }
}

/// The session answers this from now on.
pub(crate) fn lose(session: CK_SESSION_HANDLE, answer: CK_RV) {
    let mut world = world();
    world.open.remove(&session);
    world.lost.insert(session, answer);
}

/// A call came back well: what it opened or closed is kept account of.
pub(crate) fn came_back(function: &str, session: Option<CK_SESSION_HANDLE>) {
    let mut world = world();
    match (function, session) {
        ("C_CloseSession", Some(session)) => {
            world.open.remove(&session);
        }
        ("C_Finalize", _) => *world = World { held: world.held, ..World::new() },
        ("C_CloseAllSessions", _) => world.open.clear(),
        _ => {}
    }
}

/// The real module opened this session.
pub(crate) fn opened(session: CK_SESSION_HANDLE) {
    let mut world = world();
    // Handles are given anew after the module was finalised.
    world.lost.remove(&session);
    world.open.insert(session);
}

/// How many sessions the token has, and how many of them are open; `None` if it has enough.
pub(crate) fn sessions(module: &'static Module) -> Option<(CK_ULONG, CK_ULONG)> {
    let standing = module.script.as_ref()?.standing().ok()?;
    let open = CK_ULONG::try_from(world().open.len()).ok()?;
    Some((standing.sessions?, open))
}

/// Whether there is a token to be seen.
pub(crate) fn is_removed() -> bool {
    world().removed
}

/// Takes hold of the module; false if somebody has it.
pub(crate) fn hold() -> bool {
    !std::mem::replace(&mut world().held, true)
}

/// Lets go of it.
pub(crate) fn let_go() {
    world().held = false;
}

/// Whether somebody holds it.
pub(crate) fn is_held() -> bool {
    world().held
}
