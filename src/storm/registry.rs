//! Class names and what they are here: how a Flux file gets its native components.

pub(crate) mod arguments;
pub(crate) mod native;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::error::Problem;
use crate::storm::tuple::StormTuple;
use crate::sys::sync::{Arc, Mutex};
use crate::task::component::Custom;

pub use arguments::{Argument, Arguments};
pub use native::{NativeBolt, NativeSpout};

/// Makes a component of the arguments that a file gives it.
type Make<T> = Arc<dyn Fn(&Arguments<'_>) -> Result<T, Problem> + Send + Sync>;
/// Makes one instance of a grouping for every producing task.
pub type GroupingFactory = Arc<dyn Fn() -> Box<dyn Custom<StormTuple>> + Send + Sync>;

/// The native components by class name.
///
/// Any name will do: that of a Java class which a component stands in for, or one's own.
#[derive(Clone, Default)]
pub struct Registry {
    spouts: BTreeMap<String, Make<NativeSpout>>,
    bolts: BTreeMap<String, Make<NativeBolt>>,
    groupings: BTreeMap<String, Make<GroupingFactory>>,
}

impl Registry {
    /// A spout of this class name.
    pub fn spout(
        &mut self,
        class: impl Into<String>,
        make: impl Fn(&Arguments<'_>) -> Result<NativeSpout, Problem> + Send + Sync + 'static,
    ) -> &mut Self {
        self.spouts.insert(class.into(), Arc::new(make));
        self
    }

    /// A bolt of this class name.
    pub fn bolt(
        &mut self,
        class: impl Into<String>,
        make: impl Fn(&Arguments<'_>) -> Result<NativeBolt, Problem> + Send + Sync + 'static,
    ) -> &mut Self {
        self.bolts.insert(class.into(), Arc::new(make));
        self
    }

    /// A grouping of this class name, for `customClass`.
    pub fn grouping(
        &mut self,
        class: impl Into<String>,
        make: impl Fn(&Arguments<'_>) -> Result<GroupingFactory, Problem> + Send + Sync + 'static,
    ) -> &mut Self {
        self.groupings.insert(class.into(), Arc::new(make));
        self
    }

    pub(crate) fn find_spout(&self, class: &str) -> Option<&Make<NativeSpout>> {
        self.spouts.get(&current(class))
    }

    pub(crate) fn find_bolt(&self, class: &str) -> Option<&Make<NativeBolt>> {
        self.bolts.get(&current(class))
    }

    pub(crate) fn find_grouping(&self, class: &str) -> Option<&Make<GroupingFactory>> {
        self.groupings.get(&current(class))
    }

    /// The names of spouts, for suggestions.
    pub(crate) fn spout_names(&self) -> impl Iterator<Item = &str> {
        self.spouts.keys().map(String::as_str)
    }

    /// The names of bolts, for suggestions.
    pub(crate) fn bolt_names(&self) -> impl Iterator<Item = &str> {
        self.bolts.keys().map(String::as_str)
    }

    /// The names of groupings, for suggestions.
    pub(crate) fn grouping_names(&self) -> impl Iterator<Item = &str> {
        self.groupings.keys().map(String::as_str)
    }
}

/// Storm 0.x had its classes in another package.
pub(crate) fn current(class: &str) -> String {
    let moved = [("backtype.storm.", "org.apache.storm."), ("storm.starter.", "org.apache.storm.starter.")];
    let renamed = moved.iter().find_map(|(old, new)| Some(format!("{new}{}", class.strip_prefix(old)?)));
    renamed.unwrap_or_else(|| class.to_owned())
}

/// A class's own name, without its package and the class around it.
pub(crate) fn simple_name(class: &str) -> &str {
    class.rsplit(['.', '$']).next().unwrap_or(class)
}

fn shared() -> &'static Mutex<Registry> {
    static SHARED: OnceLock<Mutex<Registry>> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut registry = Registry::default();
        crate::storm::native::register(&mut registry);
        Mutex::new(registry)
    })
}

/// Adds components to those that Flux files can name, before [`cli::run_one_of`](crate::cli::run_one_of). What is there
/// already under a name is replaced.
///
/// ```
/// use squall::storm::registry::{NativeBolt, register};
/// use squall::storm::tuple::StormTuple;
/// use squall::task::many::Many;
/// use squall::Outlet;
///
/// register(|registry| {
///     registry.bolt("com.example.Discard", |_| {
///         Ok(NativeBolt::new([], |_: StormTuple, _: &mut Outlet<Many<StormTuple>>| {}))
///     });
/// });
/// ```
pub fn register(add: impl FnOnce(&mut Registry)) {
    add(&mut shared().lock().unwrap_or_else(std::sync::PoisonError::into_inner));
}

/// The components there are now.
pub(crate) fn registered() -> Registry {
    shared().lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}
