//! Builder methods of the contract that have no code yet. They check their values and refuse.

use super::GraphBuilder;
use crate::{GraphError, ValueId};

macro_rules! unsupported {
    ($($name:ident $wit:literal)*) => {
        /// Names (as in `wit/graph.wit`) of the ops that this host knows without having code.
        pub(crate) const UNSUPPORTED: &[&str] = &[$($wit),*];

        impl GraphBuilder { $(
            #[doc = concat!("`", $wit, "` of the contract; this host has no code for it yet.")]
            ///
            /// # Errors
            /// [`GraphError::UnknownValue`], else always [`GraphError::Unsupported`].
            pub fn $name(&mut self, inputs: &[ValueId]) -> Result<Vec<ValueId>, GraphError> {
                self.unsupported($wit, inputs)
            }
        )* }
    };
}

unsupported! {
    state_append "state-append"
}

impl GraphBuilder {
    fn unsupported(
        &self,
        op: &'static str,
        inputs: &[ValueId],
    ) -> Result<Vec<ValueId>, GraphError> {
        for &input in inputs {
            self.spec(input)?;
        }
        Err(GraphError::unsupported(op, "no kernel yet"))
    }
}
