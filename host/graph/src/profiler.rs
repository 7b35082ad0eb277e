//! Watching a run: which step and which part of a step took how long.
//!
//! The clock is the watcher's: the executor only says when something begins and ends. A run that
//! nobody watches is compiled with `()`, whose marks have no size and whose calls are empty.

/// Sees every step of a run, and every part of a step that fuses several ops.
///
/// [`Plan::run_profiled`](crate::Plan::run_profiled) takes one. Steps and parts are numbered as in
/// [`PlanReport`](crate::PlanReport). Parts are computed block by block of rows, on several threads
/// at once: a part is reported once a block, by the thread that computed it.
pub trait Profiler: Sync {
    /// A moment, as [`Profiler::mark`] answers it.
    type Mark: Copy;

    /// The present moment.
    fn mark(&self) -> Self::Mark;

    /// Step `step` has run since `since`; called by the thread that runs the plan.
    fn step(&self, step: usize, since: Self::Mark);

    /// Part `part` of step `step` has been computed for one block of rows since `since`.
    fn part(&self, step: usize, part: usize, since: Self::Mark);
}

/// Nobody watches.
impl Profiler for () {
    type Mark = ();

    #[inline(always)]
    fn mark(&self) {}

    #[inline(always)]
    fn step(&self, _: usize, (): ()) {}

    #[inline(always)]
    fn part(&self, _: usize, _: usize, (): ()) {}
}
