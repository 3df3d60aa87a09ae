//! The thread that makes free segments, as a coroutine: it runs when the dice say so, one I/O at a
//! time, so that a seed repeats every interleaving exactly.

use std::cell::RefCell;

use generator::{Generator, Gn};

thread_local! {
    static HELPER: RefCell<Option<Generator<'static, (), ()>>> = const { RefCell::new(None) };
}

/// In words; it makes a few calls, and a panic prints.
const STACK: usize = 8192;

pub(super) fn start(work: Box<dyn FnOnce() + Send>) {
    let helper = Gn::<()>::new_opt(STACK, move || {
        work();
        generator::done!()
    });
    HELPER.with(|place| *place.borrow_mut() = Some(helper));
}

/// Whether it is the helper that asks.
pub(super) fn is_this() -> bool {
    generator::is_generator()
}

/// Lets the other one of the two go on; whether there was one.
pub(super) fn let_the_other_go_on() -> bool {
    if is_this() {
        pause();
        return true;
    }
    let Some(mut helper) = HELPER.with(|place| place.borrow_mut().take()) else { return false };
    helper.resume();
    if !helper.is_done() {
        HELPER.with(|place| *place.borrow_mut() = Some(helper));
    }
    true
}

/// Lets it run to its end.
pub(super) fn join() {
    while let_the_other_go_on() {}
}

#[expect(deprecated, reason = "the scoped one cannot be reached from the disk that it calls")]
fn pause() {
    generator::yield_with(());
}
