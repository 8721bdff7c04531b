//! Typed handles of streams: what makes a wrong subscription a compile error.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::task::edge::{By, Convert, Same};
use crate::task::many::Many;
use crate::task::payload::{Outputs, Payload, Ports};
use crate::topology::draft::Draft;

/// One output of a component, carrying values of type `T`. Cheap to clone; belongs to the builder that made it.
pub struct Stream<T> {
    pub(crate) draft: Rc<RefCell<Draft>>,
    pub(crate) component: usize,
    pub(crate) port: usize,
    types: PhantomData<fn() -> T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Stream { draft: self.draft.clone(), component: self.component, port: self.port, types: PhantomData }
    }
}

impl<T: Payload> Stream<T> {
    pub(crate) fn new(draft: &Rc<RefCell<Draft>>, component: usize, port: usize) -> Self {
        Stream { draft: draft.clone(), component, port, types: PhantomData }
    }

    /// This stream as input of another type: the subscriber gets what `convert` makes of each value.
    ///
    /// The conversion runs on the producing task, before the grouping, whose key function therefore sees the new type.
    pub fn via<U: Payload, F: Fn(T) -> U + Send + Sync + 'static>(&self, convert: F) -> Via<T, U, F> {
        Via { stream: self.clone(), convert, types: PhantomData }
    }
}

/// A stream with a conversion; see [`Stream::via`].
pub struct Via<T, U, F> {
    stream: Stream<T>,
    convert: F,
    types: PhantomData<fn() -> U>,
}

/// What can be subscribed to as input of type `In`: a stream, a component with one output, or either with a conversion.
#[diagnostic::on_unimplemented(
    message = "this stream does not carry `{In}`, the input type of the bolt",
    note = "convert it: `stream.via(|value| ...)`"
)]
pub trait Upstream<In> {
    #[doc(hidden)]
    type Item: Payload;
    #[doc(hidden)]
    type Convert: Convert<Self::Item, In>;
    #[doc(hidden)]
    fn resolve(self) -> (Stream<Self::Item>, Self::Convert);
}

impl<T: Payload> Upstream<T> for &Stream<T> {
    type Item = T;
    type Convert = Same;
    fn resolve(self) -> (Stream<T>, Same) {
        (self.clone(), Same)
    }
}

impl<T: Payload, U: Payload, F: Fn(T) -> U + Send + Sync + 'static> Upstream<U> for Via<T, U, F> {
    type Item = T;
    type Convert = By<F>;
    fn resolve(self) -> (Stream<T>, By<F>) {
        (self.stream, By(self.convert))
    }
}

/// The stream handles of a component's outputs: one [`Stream`], or a tuple of them for [`Ports`].
pub trait Streams: Outputs {
    /// The handles.
    type Handles;
    #[doc(hidden)]
    fn handles(draft: &Rc<RefCell<Draft>>, component: usize) -> Self::Handles;
    /// Name and type of each port, before the user renames them.
    #[doc(hidden)]
    fn ports() -> Vec<(String, String)>;
}

impl<T: Payload> Streams for T {
    type Handles = Stream<T>;
    fn handles(draft: &Rc<RefCell<Draft>>, component: usize) -> Stream<T> {
        Stream::new(draft, component, 0)
    }
    fn ports() -> Vec<(String, String)> {
        vec![("default".to_owned(), short_type_name::<T>())]
    }
}

/// The streams of a component whose outputs are [`Many`].
pub struct ManyStreams<T> {
    draft: Rc<RefCell<Draft>>,
    component: usize,
    types: PhantomData<fn() -> T>,
}

impl<T: Payload> ManyStreams<T> {
    /// The stream of a port.
    ///
    /// # Panics
    /// If the component has fewer streams.
    pub fn stream(&self, port: usize) -> Stream<T> {
        let ports = self.draft.borrow().components[self.component].ports.len();
        assert!(port < ports, "the component has {ports} streams, there is none at {port}");
        Stream::new(&self.draft, self.component, port)
    }
}

impl<T: Payload> Streams for Many<T> {
    type Handles = ManyStreams<T>;
    fn handles(draft: &Rc<RefCell<Draft>>, component: usize) -> ManyStreams<T> {
        ManyStreams { draft: draft.clone(), component, types: PhantomData }
    }
    fn ports() -> Vec<(String, String)> {
        Vec::new()
    }
}

macro_rules! streams {
    ($($ty:ident $index:literal),+) => {
        impl<$($ty: Payload),+> Streams for Ports<($($ty,)+)> {
            type Handles = ($(Stream<$ty>,)+);
            fn handles(draft: &Rc<RefCell<Draft>>, component: usize) -> Self::Handles {
                ($(Stream::<$ty>::new(draft, component, $index),)+)
            }
            fn ports() -> Vec<(String, String)> {
                vec![$((if $index == 0 { "default".to_owned() } else { format!("out{}", $index) },
                    short_type_name::<$ty>())),+]
            }
        }
    };
}

streams!(A 0);
streams!(A 0, B 1);
streams!(A 0, B 1, C 2);
streams!(A 0, B 1, C 2, D 3);

/// A type's name without module paths: `SmallVec<[u8; 24]>` for `smallvec::SmallVec<[u8; 24]>`.
pub(crate) fn short_type_name<T: ?Sized>() -> String {
    let mut short = String::new();
    let mut rest = std::any::type_name::<T>();
    while let Some(first) = rest.chars().next() {
        let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let path = &rest[..rest.find(|c| !in_path(c)).unwrap_or(rest.len())];
        if path.is_empty() {
            short.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            short.push_str(path.rsplit("::").next().unwrap_or(path));
            rest = &rest[path.len()..];
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::short_type_name;

    #[test]
    fn type_names_lose_their_paths_and_keep_their_shape() {
        assert_eq!(short_type_name::<u64>(), "u64");
        assert_eq!(short_type_name::<(Vec<std::sync::Arc<str>>, [u8; 3])>(), "(Vec<Arc<str>>, [u8; 3])");
    }
}
