//! Messages to the operator. A plugin that writes any needs the grant `log`.

pub use crate::bindings::aimass::plugin::log::Level;

use crate::bindings::aimass::plugin::log as host;

pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace,
    __log_warn as warning,
};

/// Writes one message, at most 4 KiB; longer ones are cut.
pub fn write(level: Level, message: &str) {
    host::write(level, message);
}

/// From now on a panic writes its message as an error before the plugin traps.
///
/// Without it the operator sees where the plugin trapped, but not why.
pub fn panics() {
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string())));
}

/// Writes a message of level error, as `format!` makes it.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($message)*)) };
}

/// Writes a message of level warn, as `format!` makes it.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($message)*)) };
}

/// Writes a message of level info, as `format!` makes it.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($message)*)) };
}

/// Writes a message of level debug, as `format!` makes it.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($message)*)) };
}

/// Writes a message of level trace, as `format!` makes it.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($message)*)) };
}
