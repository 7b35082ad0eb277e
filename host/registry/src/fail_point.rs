//! Named points at which a test may fail or kill the registry.

use std::io;

/// A point between two steps of a write; [`FailPoint::ALL`] lists them in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailPoint {
    /// The staging directory and its lock exist, nothing is in it.
    StagingCreated,
    /// A file of the package is written, not yet durable.
    FileWritten,
    /// All files and directories of the package are durable, in staging.
    StagingSynced,
    /// The write lock is held, nothing is changed.
    TransactionBegun,
    /// The staged directory has its final name.
    Renamed,
    /// The final name is durable.
    RenameSynced,
    /// A plugin's statement is replaced by a newer one.
    StatementReplaced,
    /// Leftovers are moved to the trash, their rows not yet deleted.
    MovedToTrash,
    /// All rows of the transaction are written.
    RowsWritten,
    /// The transaction is durable; the caller does not know it yet.
    Committed,
    /// The trash is about to be deleted.
    TrashListed,
}

impl FailPoint {
    /// Every point, in the order in which a publish and a sweep meet them.
    pub const ALL: [Self; 11] = [
        Self::StagingCreated,
        Self::FileWritten,
        Self::StagingSynced,
        Self::TransactionBegun,
        Self::Renamed,
        Self::RenameSynced,
        Self::StatementReplaced,
        Self::MovedToTrash,
        Self::RowsWritten,
        Self::Committed,
        Self::TrashListed,
    ];
}

/// Decides whether a write goes on at a [`FailPoint`]; for crash tests.
pub trait FailPoints: Send + Sync {
    /// Called at every point; an error makes the call fail there as a broken disk would.
    ///
    /// # Errors
    /// Whatever the test injects.
    fn hit(&self, point: FailPoint) -> io::Result<()>;
}

/// Never fails: what [`Registry::open`](crate::Registry::open) uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFailPoints;

impl FailPoints for NoFailPoints {
    fn hit(&self, _point: FailPoint) -> io::Result<()> {
        Ok(())
    }
}
