//! Loads the real module once, and hands out a table with our functions in it.

use std::env;
use std::path::Path;
use std::sync::OnceLock;

use cryptoki_sys::{
    CK_FUNCTION_LIST, CK_FUNCTION_LIST_PTR_PTR, CK_RV, CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR, CKR_OK,
};
use libloading::{Library, Symbol};

use crate::instant::Instant;
use crate::log::CallLog;
use crate::script::Script;

/// The module of this process. Made by the first `C_GetFunctionList`, kept until the end.
pub(crate) struct Module {
    /// The real module's functions.
    pub(crate) real: CK_FUNCTION_LIST,
    /// What goes wrong, if anything may.
    pub(crate) script: Option<Script>,
    /// Where calls are written, if anywhere.
    pub(crate) log: Option<CallLog>,
    /// Instant mode, if on.
    pub(crate) instant: Option<Instant>,
    table: CK_FUNCTION_LIST,
    /// Keeps the pointers in `real` and `table` valid.
    _library: Library,
}

/// The one symbol a PKCS#11 2.40 module must export.
///
/// Answers `CKR_GENERAL_ERROR` if the real module cannot be loaded, is not version 2, or the log
/// cannot be opened.
///
/// # Safety
///
/// `list` is null or points to a place for one pointer, as PKCS#11 demands.
#[allow(non_snake_case, reason = "the name is PKCS#11's")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    let Some(module) = module() else { return CKR_GENERAL_ERROR };
    // SAFETY: not null, and the caller promises that it is a place for a pointer. The table lives
    // in a static, and callers only read it: PKCS#11 has the pointer mutable out of habit.
    unsafe { list.write((&raw const module.table).cast_mut()) };
    CKR_OK
}

/// The module, loaded at the first call.
pub(crate) fn module() -> Option<&'static Module> {
    static MODULE: OnceLock<Option<Module>> = OnceLock::new();
    MODULE.get_or_init(load).as_ref()
}

const TARGET_DEFAULT: &str = "/usr/lib/softhsm/libsofthsm2.so";

fn load() -> Option<Module> {
    let target = env::var_os("PORTCULLIS_FAULT_MODULE_TARGET");
    let target = target.unwrap_or_else(|| TARGET_DEFAULT.into());
    // SAFETY: loading a PKCS#11 module runs its initialisers; whoever set the target vouches.
    let library = unsafe { Library::new(Path::new(&target)) }.ok()?;
    let real = function_list(&library)?;
    let log = match env::var_os("PORTCULLIS_FAULT_LOG") {
        Some(path) => Some(CallLog::open(Path::new(&path)).ok()?),
        None => None,
    };
    let instant = match env::var_os("PORTCULLIS_FAULT_INSTANT") {
        Some(on) if on == "1" => Some(Instant::new()?),
        Some(_) | None => None,
    };
    let script = env::var_os("PORTCULLIS_FAULT_SCRIPT").map(|path| Script::new(path.into()));
    let table = crate::calls::table(&real);
    Some(Module { real, script, log, instant, table, _library: library })
}

fn function_list(library: &Library) -> Option<CK_FUNCTION_LIST> {
    type GetFunctionList = unsafe extern "C" fn(CK_FUNCTION_LIST_PTR_PTR) -> CK_RV;
    // SAFETY: the symbol has this type in every PKCS#11 module.
    let get: Symbol<'_, GetFunctionList> = unsafe { library.get(b"C_GetFunctionList\0") }.ok()?;
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a place for one pointer.
    let answer = unsafe { get(&raw mut list) };
    // SAFETY: null or, after CKR_OK, the module's table, which lives as long as the module.
    let list = unsafe { list.as_ref() }?;
    (answer == CKR_OK && list.version.major == 2).then_some(*list)
}

/// Calls the real module's function, if it has it.
macro_rules! real {
    ($module:expr, $name:ident($($argument:expr),*)) => {
        match $module.real.$name {
            // SAFETY: the arguments are the caller's own, passed on untouched, so what the caller
            // promises the real module holds; the pointer is valid while the module is loaded.
            Some(function) => unsafe { function($($argument),*) },
            None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}

pub(crate) use real;
