//! Which vector instructions this process uses, found out once.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Instruction set that the kernels use. Results do not depend on it; speed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Portable code: whatever the compiler makes of it for the target's baseline.
    Scalar = 1,
    /// aarch64, whose baseline has NEON.
    Neon = 2,
    /// x86-64 with AVX2 and FMA.
    Avx2 = 3,
    /// x86-64 with AVX-512 F, VL, BW and DQ.
    Avx512 = 4,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);
static DOT_PRODUCTS: AtomicBool = AtomicBool::new(true);

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

/// The level in use.
pub fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = FORCED.get() {
        return level;
    }
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Level::Scalar,
        2 => Level::Neon,
        3 => Level::Avx2,
        4 => Level::Avx512,
        _ => set_level_max(Level::Avx512),
    }
}

/// Uses no more than `max`, for comparisons and for working around a processor; returns the level
/// that is in use from now on.
pub fn set_level_max(max: Level) -> Level {
    let level = detect().min(max);
    CHOSEN.store(level as u8, Ordering::Relaxed);
    level
}

/// Uses dot products of bytes (VNNI), where the processor has them, or never, for comparisons with
/// processors that have none; they are used unless this says otherwise.
pub fn set_dot_products(allowed: bool) {
    DOT_PRODUCTS.store(allowed, Ordering::Relaxed);
}

/// Whether dot products of bytes may be used.
pub(crate) fn dot_products() -> bool {
    DOT_PRODUCTS.load(Ordering::Relaxed)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    match (avx2, avx512) {
        (true, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, _) => Level::Scalar,
    }
}

#[cfg(target_arch = "aarch64")]
fn detect() -> Level {
    Level::Neon
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detect() -> Level {
    Level::Scalar
}

/// Runs `test` on this thread once for every level that the processor has.
#[cfg(test)]
pub(crate) fn for_each_level(mut test: impl FnMut(Level)) {
    let all = [Level::Scalar, Level::Neon, Level::Avx2, Level::Avx512];
    for level in all {
        // NEON is the only level of its architecture.
        let exists = level != Level::Neon || cfg!(target_arch = "aarch64");
        if exists && level <= detect() {
            FORCED.set(Some(level));
            test(level);
        }
    }
    FORCED.set(None);
}

/// Compiles the same portable body once for every level and calls the one in use.
///
/// The body must be one call of an `#[inline(always)]` function, so that it is compiled inside
/// the function that enables the instructions.
macro_rules! leveled {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$t:ident: $bound:path>)? (
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? = $body:expr;) => {
        $(#[$meta])*
        $vis fn $name $(<$t: $bound>)? ($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "calls what needs the instructions that were found")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512 $(<$t: $bound>)? ($($arg: $ty),*) $(-> $ret)? { $body }
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<$t: $bound>)? ($($arg: $ty),*) $(-> $ret)? { $body }
                match $crate::level::level() {
                    // SAFETY: `level` found these instructions on this processor.
                    $crate::level::Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::level::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::level::Level::Scalar | $crate::level::Level::Neon => {}
                }
            }
            $body
        }
    };
}
pub(crate) use leveled;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_never_above_what_the_processor_has() {
        assert!(level() <= detect());
        let mut seen = Vec::new();
        for_each_level(|forced| {
            assert_eq!(level(), forced);
            seen.push(forced);
        });
        assert_eq!(seen[0], Level::Scalar);
    }
}
