//! What every cache layer must do, as functions that try it.
//!
//! Each behaviour is one clause of the contract that [`CacheLayer`] states. A layer whose
//! files are in a directory is tried in three lines, and each behaviour is a test of its own name:
//!
//! ```no_run
//! # use std::{path::Path, sync::Arc};
//! # use cache_layer_testkit::doubles::Noop as MyLayer;
//! # trait Open: Sized { fn open(_: &Path) -> Option<Self>; }
//! # impl Open for MyLayer { fn open(_: &Path) -> Option<Self> { None } }
//! mod conformance {
//! #   use {super::MyLayer, super::Open};
//!     cache_layer_testkit::conformance_tests_in_a_directory!(|root| MyLayer::open(root).unwrap());
//! }
//! # fn main() {}
//! ```
//!
//! That opens it again, and kills a process in the midst of a put, too. For a layer that keeps things elsewhere,
//! [`conformance_tests!`](crate::conformance_tests) takes a [`Place`]: a closure that opens the layer, or a type of
//! your own. [`check_all`] does all of it in one call and says which behaviours a layer does not have.
//!
//! What only the layer's author can bring about has a function of its own:
//! [`a_store_that_cannot_be_used_is_an_error_and_no_miss`].

mod cancelled;
mod case;
mod deviation;
mod entries;
mod killed;
mod place;
mod requests;
mod together;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cache_layer::{CacheLayer, LayerErrorKind, Lookup};

pub use case::Case;
pub use deviation::{Deviation, Deviations};
pub use killed::a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none;
use place::Opened;
pub use place::{Directory, MaybePlace, Place};

pub use cancelled::*;
pub use entries::*;
pub use requests::*;
pub use together::*;

/// One thing that a layer must do.
#[derive(Clone, Copy)]
pub struct Behaviour {
    name: &'static str,
    check: fn(Case) -> Checking,
}

type Checking = Pin<Box<dyn Future<Output = Result<(), Deviation>> + Send>>;

/// No behaviour takes longer to try; one that does hangs. Long enough for a store on a slow machine.
const LIMIT: Duration = Duration::from_secs(180);

/// All behaviours, by name.
#[doc(hidden)]
#[macro_export]
macro_rules! each_behaviour {
    ($then:ident $with:tt) => {
        $crate::$then! { $with
            what_was_never_put_is_a_miss
            what_was_put_is_a_hit_with_its_bytes_and_its_manifest
            what_was_put_outlives_its_source
            putting_it_again_succeeds
            what_was_removed_is_a_miss_and_can_be_put_again
            removing_what_is_not_there_succeeds
            an_entry_is_none_of_the_others_business
            a_snapshot_in_hand_outlives_its_entry
            what_was_put_is_there_when_the_layer_is_opened_again
            it_prints_its_name_and_keeps_it
            another_request_under_the_same_key_is_a_miss
            a_hit_stands_on_the_base_image_of_who_asks
            bytes_that_are_not_those_of_their_manifest_are_no_hit
            a_snapshot_whose_file_is_gone_is_an_error
            a_reader_sees_a_whole_entry_or_none
            many_tasks_do_each_other_no_harm
            a_put_that_is_cancelled_leaves_the_whole_entry_or_none
            a_get_that_is_cancelled_leaves_nothing
            a_remove_that_is_cancelled_leaves_the_whole_entry_or_none
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! behaviour_list {
    ($with:tt $($name:ident)+) => {
        /// All of them.
        pub const ALL: &[Behaviour] = &[$(Behaviour {
            name: stringify!($name),
            check: |case| Box::pin(async move { $name(&case).await }),
        }),+];
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! behaviour_tests {
    ({ $place:expr } $($name:ident)+) => {
        $(#[test]
        fn $name() {
            $crate::conformance::test(stringify!($name), || $place);
        })+
    };
}

/// A test for each behaviour, by its name, of the layer at a [`Place`]: an expression that makes a fresh one for each
/// test, before the test's runtime starts. It may be an `Option`: `None` passes over a place that cannot be had,
/// which whoever makes it has told of.
///
/// ```
/// mod conformance {
///     use cache_layer_testkit::doubles::Memory;
///
///     cache_layer_testkit::conformance_tests!({
///         let layer = Memory::new();
///         move || layer.clone()
///     });
/// }
/// ```
#[macro_export]
macro_rules! conformance_tests {
    ($place:expr) => {
        $crate::each_behaviour! { behaviour_tests { $place } }
    };
}

/// The same for a layer with its files in a directory, which a closure is given and opens the layer in. Another
/// process opens it too, and is killed: the closure is to depend on nothing but the directory.
#[macro_export]
macro_rules! conformance_tests_in_a_directory {
    ($open:expr) => {
        $crate::each_behaviour! { behaviour_tests { $crate::conformance::Directory::new($open) } }

        #[test]
        fn a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none() {
            let path = concat!(
                module_path!(),
                "::a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none"
            );
            let kept = $crate::conformance::a_process_that_is_killed_in_a_put_leaves_the_whole_entry_or_none(path, $open);
            if let Err(deviation) = kept {
                panic!("{deviation}");
            }
        }
    };
}

each_behaviour! { behaviour_list {} }

/// Tries `behaviour` on the layer at `place`, which must be a fresh one. A panic of the layer, or no answer within
/// three minutes, is a deviation.
///
/// # Errors
///
/// The layer does otherwise.
pub async fn check(behaviour: Behaviour, place: Arc<dyn Place>) -> Result<(), Deviation> {
    let trying = tokio::spawn(async move {
        let case = Case::at(place).await?;
        (behaviour.check)(case).await
    });
    let stop = trying.abort_handle();
    let checked = match tokio::time::timeout(LIMIT, trying).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(error)) => Err(Deviation::new(match error.try_into_panic() {
            Ok(panic) => format!("it panics: {}", message(&*panic)),
            Err(cancelled) => cancelled.to_string(),
        })),
        Err(_) => {
            stop.abort();
            Err(Deviation::new(format!("no answer after {LIMIT:?}")))
        }
    };
    checked.map_err(|deviation| deviation.in_behaviour(behaviour.name))
}

/// Tries every behaviour, each on the layer at a fresh place that `fresh` makes.
///
/// # Errors
///
/// Names every behaviour that the layer does not have, with what it did instead.
pub async fn check_all<P: Place + 'static>(fresh: impl Fn() -> P) -> Result<(), Deviations> {
    let mut deviations = Vec::new();
    for behaviour in ALL {
        deviations.extend(check(*behaviour, Arc::new(fresh())).await.err());
    }
    match deviations.is_empty() {
        true => Ok(()),
        false => Err(Deviations::new(deviations)),
    }
}

/// Runs the behaviour of this name as a test: what [`conformance_tests!`](crate::conformance_tests) is made of.
///
/// # Panics
///
/// The layer does otherwise, or there is no such behaviour.
pub fn test<P: MaybePlace>(name: &str, place: impl FnOnce() -> P) {
    let behaviour = Behaviour::named(name).expect("there is a behaviour of this name");
    let Some(place) = place().into_option() else {
        return;
    };
    let place = Arc::new(place);
    if let Err(deviation) = runtime().block_on(check(behaviour, place.clone())) {
        panic!("{deviation}");
    }
    // Last: it may be a server, which the runtime's end would not outlive.
    drop(place);
}

/// Tries a layer whose store its author has made unusable: stopped, with a wrong key, without a bucket. It must not be
/// taken for an empty one.
///
/// # Errors
///
/// The layer answers a miss or a hit, or takes the blame off the store: [`Unavailable`](LayerErrorKind::Unavailable)
/// and [`Denied`](LayerErrorKind::Denied) are what it can be.
pub async fn a_store_that_cannot_be_used_is_an_error_and_no_miss(
    layer: Arc<dyn CacheLayer>,
) -> Result<(), Deviation> {
    let name = "a_store_that_cannot_be_used_is_an_error_and_no_miss";
    let case = Case::at(Arc::new(Opened(layer))).await?;
    let spec = case.workshop().spec("a==1");
    let got = case.layer().get(&spec, case.workshop().staging()).await;
    let put = case.layer().put(&case.snapshot(&spec)?).await;
    let got = got.map(|lookup| match lookup {
        Lookup::Hit(_) => "a hit",
        Lookup::Miss => "a miss",
    });
    for (what, answer) in [("get", got), ("put", put.map(|_| "success"))] {
        let deviation = match answer {
            Ok(answer) => format!("{what} answers with {answer}"),
            Err(error) => match error.kind() {
                LayerErrorKind::Unavailable { .. } | LayerErrorKind::Denied => continue,
                kind => format!("{what} fails as {}: {error}", kind.as_str()),
            },
        };
        return Err(Deviation::new(deviation).in_behaviour(name));
    }
    Ok(())
}

impl Behaviour {
    /// The behaviour of this name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|behaviour| behaviour.name == name)
    }

    /// Its name, which says what it is.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Behaviour").field(&self.name).finish()
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(4).enable_all().build();
    runtime.expect("a test may start threads")
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied())
        .unwrap_or("with no message")
}
