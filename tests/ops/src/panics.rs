//! Panics of cases, caught and told as text.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most characters of a text; comparisons of long lists print them.
const TEXT_CHARS_MAX: usize = 2000;

/// Who changes the hook of the process.
static TURN: Mutex<()> = Mutex::new(());

thread_local! {
    /// Whether panics of this thread are caught.
    static CATCHES: Cell<bool> = const { Cell::new(false) };
    /// The last one that was.
    static TEXT: RefCell<Option<String>> = const { RefCell::new(None) };
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

/// While it lives, the panic hook of the process keeps the texts of panics that [`Catcher::caught`] catches,
/// and passes others on to the hook that was there, which is put back when it is dropped.
pub(crate) struct Catcher {
    usual: Option<Arc<Hook>>,
    _turn: MutexGuard<'static, ()>,
}

impl Catcher {
    /// Waits for those of other threads to end.
    pub(crate) fn new() -> Catcher {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let usual = Arc::new(panic::take_hook());
        let others = usual.clone();
        panic::set_hook(Box::new(move |info| match CATCHES.get() {
            true => TEXT.set(Some(text(info))),
            false => others(info),
        }));
        Catcher { usual: Some(usual), _turn: turn }
    }

    /// Runs `work`; the text of its panic with the place, in one line, if it panics.
    pub(crate) fn caught(&self, work: impl FnOnce()) -> Option<String> {
        CATCHES.set(true);
        let outcome = panic::catch_unwind(AssertUnwindSafe(work));
        CATCHES.set(false);
        let text = TEXT.take();
        outcome.err().map(|_| text.unwrap_or_else(|| "a panic that no hook saw".to_owned()))
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        // A thread that panics must not change the hook; this one passes on what is not caught.
        if std::thread::panicking() {
            return;
        }
        drop(panic::take_hook());
        if let Some(usual) = self.usual.take().and_then(Arc::into_inner) {
            panic::set_hook(usual);
        }
    }
}

fn text(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("a panic without a text");
    let line = text.lines().map(str::trim).collect::<Vec<&str>>().join("; ");
    let short = match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    };
    let place = info.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
    short + &place.unwrap_or_default()
}
