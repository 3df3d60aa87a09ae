//! Kills the process that has it preloaded (`LD_PRELOAD`) at one named moment of its file system
//! calls, so that the signer which is killed is the one that is shipped.
//!
//! `PORTCULLIS_CRASH_AT` is `FILE:CALL:WHEN N`, for instance `segment:write:half 7`: at the 7th
//! write to a segment, when half of it is done. Without it, or if it cannot be read, nothing
//! happens; whoever sets it sees whether the process dies.
//!
//! | `FILE` | which |
//! | --- | --- |
//! | `segment` | `*.journal`, and what gets such a name |
//! | `spare` | `*.spare` and what is being made one |
//! | `checkpoints` | the file of that name |
//! | `snapshot` | whatever is in a folder `snapshots` |
//! | `folder` | a folder: syncing it makes names last |
//!
//! `CALL` is `write`, `sync` or `rename` (by its new name); `WHEN` is `before`, `half` (writes
//! alone) or `after`. Only what comes by the C library is seen: what the standard library does.

mod point;

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::OnceLock;

use libc::{off64_t, size_t, ssize_t};

use crate::point::{Call, Point, When};

/// The point of this process, if it has one.
fn point() -> Option<&'static Point> {
    static POINT: OnceLock<Option<Point>> = OnceLock::new();
    POINT.get_or_init(|| Point::parse(&std::env::var("PORTCULLIS_CRASH_AT").ok()?)).as_ref()
}

/// The point, if this call on this open file is the one.
fn of_file(call: Call, file: c_int) -> Option<When> {
    let point = point().filter(|point| point.call == call)?;
    let path = std::fs::read_link(format!("/proc/self/fd/{file}")).ok()?;
    point.reached(&path)
}

/// The end, as by `kill -9`: nothing is flushed, nothing unwinds.
fn die() -> ! {
    loop {
        // SAFETY: takes no argument.
        let process = unsafe { libc::getpid() };
        // SAFETY: a signal to ourselves, which needs no memory of ours.
        unsafe { libc::kill(process, libc::SIGKILL) };
    }
}

/// Does a call, or dies before or after it.
fn around<T>(when: Option<When>, call: impl FnOnce() -> T) -> T {
    if when == Some(When::Before) {
        die();
    }
    let answer = call();
    if when.is_some() {
        die();
    }
    answer
}

/// The C library's own function of this name.
macro_rules! real {
    ($name:literal as $kind:ty) => {{
        static REAL: OnceLock<Option<$kind>> = OnceLock::new();
        REAL.get_or_init(|| {
            // SAFETY: a name that ends with a zero, looked up behind this library.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, $name.as_ptr()) };
            if found.is_null() {
                return None;
            }
            // SAFETY: the C library's function of that name has this type.
            Some(unsafe { std::mem::transmute::<*mut c_void, $kind>(found) })
        })
    }};
}

type WriteAt = unsafe extern "C" fn(c_int, *const c_void, size_t, off64_t) -> ssize_t;
type Write = unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t;
type Sync = unsafe extern "C" fn(c_int) -> c_int;
type Rename = unsafe extern "C" fn(*const c_char, *const c_char) -> c_int;

/// What a call answers that cannot be made.
const FAILED: c_int = -1;

/// # Safety
///
/// As the C library's `pwrite64`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    file: c_int,
    bytes: *const c_void,
    count: size_t,
    at: off64_t,
) -> ssize_t {
    let Some(real) = real!(c"pwrite64" as WriteAt) else { return -1 };
    let when = of_file(Call::Write, file);
    let count = if when == Some(When::Half) { count.wrapping_div(2) } else { count };
    // SAFETY: the caller's own arguments, or fewer of its bytes.
    around(when, || unsafe { real(file, bytes, count, at) })
}

/// # Safety
///
/// As the C library's `write`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    let Some(real) = real!(c"write" as Write) else { return -1 };
    let when = of_file(Call::Write, file);
    let count = if when == Some(When::Half) { count.wrapping_div(2) } else { count };
    // SAFETY: the caller's own arguments, or fewer of its bytes.
    around(when, || unsafe { real(file, bytes, count) })
}

/// # Safety
///
/// As the C library's `fdatasync`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    let Some(real) = real!(c"fdatasync" as Sync) else { return FAILED };
    // SAFETY: the caller's own argument.
    around(of_file(Call::Sync, file), || unsafe { real(file) })
}

/// # Safety
///
/// As the C library's `fsync`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(file: c_int) -> c_int {
    let Some(real) = real!(c"fsync" as Sync) else { return FAILED };
    // SAFETY: the caller's own argument.
    around(of_file(Call::Sync, file), || unsafe { real(file) })
}

/// # Safety
///
/// As the C library's `rename`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let Some(real) = real!(c"rename" as Rename) else { return FAILED };
    let point = point().filter(|point| point.call == Call::Rename && !to.is_null());
    let when = point.and_then(|point| {
        // SAFETY: a name that the caller says ends with a zero.
        let name = unsafe { CStr::from_ptr(to) };
        point.reached(Path::new(OsStr::from_bytes(name.to_bytes())))
    });
    // SAFETY: the caller's own arguments.
    around(when, || unsafe { real(from, to) })
}
