//! Verbs as types, so that a route and the handler behind it cannot disagree.
//!
//! A route names an [`Access`]; its handler must take [`Admitted<V>`](crate::admission::Admitted)
//! of the same verb, right after the state, or the router does not compile. There is no route
//! without one: [`Open`] is a word that somebody has to write.

use super::roles::Verb;
use crate::admission::Admitted;
use crate::router::{Recognized, Shared};

/// Who may use a route: somebody with [`Access::VERB`], or anybody.
pub(crate) trait Access: Copy + Send + Sync + 'static {
    /// The verb that is asked for; absent if the route is open.
    const VERB: Option<Verb>;
}

/// An [`Access`] that wants an identity.
pub(crate) trait Guarded: Access {
    /// The verb that is asked for.
    const NEEDS: Verb;
}

/// Anybody, without an identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open;

impl Access for Open {
    const VERB: Option<Verb> = None;
}

macro_rules! verbs {
    ($($name:ident),*) => {$(
        #[doc = concat!("[`Verb::", stringify!($name), "`] as a type.")]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl Access for $name {
            const VERB: Option<Verb> = Some(Verb::$name);
        }

        impl Guarded for $name {
            const NEEDS: Verb = Verb::$name;
        }
    )*};
}

verbs!(Read, Infer, Operate, Administer);

/// The parameters of a handler (as axum names them: a marker, then one type each) hold what access
/// `A` proves.
#[diagnostic::on_unimplemented(
    message = "this handler does not hold `Admitted<{A}>`, which its route asks for",
    note = "the handler takes `State(gateway): Shared` and then `Admitted<{A}>`; a route with `Open` takes neither"
)]
pub(crate) trait Holds<A> {}

impl<M> Holds<Open> for (M, Shared) {}
impl<M> Holds<Open> for (M, Shared, Recognized) {}
impl<M, V: Guarded> Holds<V> for (M, Shared, Admitted<V>) {}
impl<M, V: Guarded, X> Holds<V> for (M, Shared, Admitted<V>, X) {}
impl<M, V: Guarded, X, Y> Holds<V> for (M, Shared, Admitted<V>, X, Y) {}
impl<M, V: Guarded, X, Y, Z> Holds<V> for (M, Shared, Admitted<V>, X, Y, Z) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::oip_infer;
    use axum::handler::Handler;
    use std::marker::PhantomData;
    use std::sync::Arc;

    /// `held` answers for parameters that hold `A`, `other` for all; method lookup takes the first
    /// that fits.
    struct Probe<T, A>(PhantomData<(T, A)>);

    trait Other {
        fn held(&self) -> bool {
            false
        }
    }

    impl<T: Holds<A>, A> Probe<T, A> {
        fn held(&self) -> bool {
            true
        }
    }

    impl<T, A> Other for &Probe<T, A> {}

    fn parameters<H: Handler<T, Arc<crate::router::Gateway>>, T>(_: H) -> PhantomData<T> {
        PhantomData
    }

    macro_rules! held {
        ($handler:expr, $access:ty) => {{
            fn probe<T>(_: PhantomData<T>) -> Probe<T, $access> {
                Probe(PhantomData)
            }
            #[allow(clippy::needless_borrow)]
            (&probe(parameters($handler))).held()
        }};
    }

    async fn forgetful(_: Shared) {}

    #[test]
    fn a_handler_fits_the_routes_of_its_verb_only() {
        assert!(held!(oip_infer::infer, Infer));
        assert!(!held!(oip_infer::infer, Operate));
        assert!(!held!(oip_infer::infer, Open));
        assert!(held!(forgetful, Open));
        assert!(!held!(forgetful, Read));
    }
}
