//! The two error types of the crate: [`Failure`] for user code that runs per tuple, [`Error`] for everything else.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Shorthand for results of the library's own operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What user code returns when a tuple, a tick or a callback did not succeed.
///
/// `?` on any [`std::error::Error`] makes a *retry* failure: the tuple's tree fails and its spout decides what to do
/// (shipped sources replay it with back-off and dead-letter it after a limit). [`Failure::reject`] dead-letters at
/// once, [`Failure::fatal`] stops the topology.
///
/// Cloning is one reference count; the engine clones a failure when one tuple belongs to several trees.
///
/// # Examples
///
/// ```
/// use squall::Failure;
///
/// fn parse(text: &str) -> Result<u32, Failure> {
///     if text.is_empty() {
///         return Err(Failure::reject("an empty line can never be parsed"));
///     }
///     Ok(text.parse::<u32>()?) // any error converts: "try again"
/// }
/// assert!(parse("").unwrap_err().is_reject());
/// assert!(parse("x").unwrap_err().is_retry());
/// ```
#[derive(Clone)]
pub struct Failure(Arc<FailureInner>);

#[derive(Clone)]
struct FailureInner {
    kind: FailureKind,
    message: Cow<'static, str>,
    origin: Option<Origin>,
    /// Of a fatal one: the state that the topology stops in.
    state: Option<&'static str>,
    /// Nothing can be emitted again, whatever the kind.
    is_final: bool,
}

/// What a [`Failure`] asks the engine to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// Fail the tree; the spout may emit it again.
    Retry,
    /// Fail the tree and tell the spout that trying again is pointless.
    Reject,
    /// Stop the topology.
    Fatal,
    /// The tree was not completed before its deadline.
    Timeout,
    /// A held tuple was dropped without being acked or failed.
    Dropped,
    /// User code panicked, or the process that ran it died, while it had this tuple and no other.
    Panic,
    /// The tuple was under way where something else failed: in the same child process, executor or restart. Never held
    /// against the tuple: it is replayed, and not counted.
    Collateral,
    /// The tuple was in a window that was still open at the end. Its tree is forgotten: the spout is told neither of an
    /// ack nor of a failure, as under Storm.
    LeftOpen,
}

impl FailureKind {
    /// As reports and dead letters have it.
    pub fn word(self) -> &'static str {
        match self {
            FailureKind::Retry => "retry",
            FailureKind::Reject => "reject",
            FailureKind::Fatal => "fatal",
            FailureKind::Timeout => "timeout",
            FailureKind::Dropped => "dropped",
            FailureKind::Panic => "panic",
            FailureKind::Collateral => "collateral",
            FailureKind::LeftOpen => "left_open",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where a failure happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Id of the component.
    pub component: Arc<str>,
    /// Index of the task within its component, from 0.
    pub task_index: usize,
}

impl Failure {
    fn new(kind: FailureKind, message: impl Into<Cow<'static, str>>) -> Self {
        Failure(Arc::new(FailureInner { kind, message: message.into(), origin: None, state: None, is_final: false }))
    }

    /// A failure worth another attempt.
    pub fn retry(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Retry, message)
    }

    /// A failure that no further attempt can mend: the tuple is dead-lettered at once.
    pub fn reject(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Reject, message)
    }

    /// A failure that makes going on pointless: the topology stops in the state `failed`.
    pub fn fatal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Fatal, message)
    }

    /// Of a tuple that its bolt has not settled long after the end of input.
    pub(crate) fn still_held() -> Self {
        Self::new(FailureKind::Dropped, "still held long after the end of input")
    }

    /// As [`fatal`](Self::fatal), in a state of its own.
    pub(crate) fn fatal_in(state: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let mut failure = Self::fatal(message);
        Arc::make_mut(&mut failure.0).state = Some(state);
        failure
    }

    /// The state that the topology stops in.
    pub(crate) fn state(&self) -> &'static str {
        self.0.state.unwrap_or("failed")
    }

    pub(crate) fn timeout() -> Self {
        Self::new(FailureKind::Timeout, "not completed before its deadline")
    }

    pub(crate) fn dropped() -> Self {
        Self::new(FailureKind::Dropped, "the tuple's handle was dropped without ack or fail")
    }

    /// The process or thread that worked on this tuple, and on no other, has died. As a panic, it is a bug until shown
    /// otherwise: the tuple is tried again a few times, then it is a dead letter.
    pub fn panic(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Panic, message)
    }

    /// The tuple was under way where something else failed; see [`FailureKind::Collateral`].
    pub fn collateral(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Collateral, message)
    }

    /// The same failure of something that was under way meanwhile.
    pub(crate) fn as_collateral(&self) -> Self {
        let mut failure = self.clone();
        Arc::make_mut(&mut failure.0).kind = FailureKind::Collateral;
        failure
    }

    /// The same failure, as of an instance that is broken.
    pub(crate) fn as_panic(&self) -> Self {
        let mut failure = self.clone();
        Arc::make_mut(&mut failure.0).kind = FailureKind::Panic;
        failure
    }

    /// The same failure after the end of its source, which cannot emit the value again.
    pub(crate) fn after_end(&self) -> Self {
        let mut failure = self.clone();
        let inner = Arc::make_mut(&mut failure.0);
        (inner.is_final, inner.message) = (true, format!("ended: {}", self.0.message).into());
        failure
    }

    pub(crate) fn left_open() -> Self {
        Self::new(FailureKind::LeftOpen, "in a window that was open at the end")
    }

    /// The same failure with its origin filled in, unless it already has one.
    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        if self.0.origin.is_none() {
            Arc::make_mut(&mut self.0).origin = Some(origin.clone());
        }
        self
    }

    /// What this failure asks for.
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    /// True unless the failure is a [reject](Failure::reject) or [fatal](Failure::fatal).
    pub fn is_retry(&self) -> bool {
        !self.is_reject() && !self.is_fatal()
    }

    /// True if trying again is pointless: the kind says so, or the spout has come to its end.
    pub fn is_reject(&self) -> bool {
        self.0.kind == FailureKind::Reject || self.0.is_final
    }

    /// True if the topology is to stop.
    pub fn is_fatal(&self) -> bool {
        self.0.kind == FailureKind::Fatal
    }

    /// True if the tuple was only under way where something else failed.
    pub fn is_collateral(&self) -> bool {
        self.0.kind == FailureKind::Collateral
    }

    /// True if the tree ran into its deadline.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == FailureKind::Timeout
    }

    /// The message, without the origin.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The component and task that failed, where known. A time-out has none.
    pub fn origin(&self) -> Option<&Origin> {
        self.0.origin.as_ref()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.component, self.task_index)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.0.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failure({:?}: {self})", self.0.kind)
    }
}

// `Failure` deliberately does not implement `std::error::Error`: that is what allows this conversion.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Failure::retry(message)
    }
}

/// One thing that is wrong with a topology or its settings, with the place to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: a component with its file and line, a settings key with the file it came from, an option.
    pub place: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Problem { place: place.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that can go wrong outside user code that handles tuples: a bad topology, bad settings, a failed run.
///
/// The type is opaque; ask it questions ([`is_usage`](Error::is_usage), [`problems`](Error::problems)).
#[derive(Clone, Debug)]
pub struct Error(Box<ErrorKind>);

#[derive(Clone, Debug)]
enum ErrorKind {
    /// Bad usage, a bad topology, bad settings: found before anything started.
    Invalid(Vec<Problem>),
    /// The topology started and ended in a failed state.
    Failed { state: &'static str, message: String },
    /// The operating system refused something.
    Io { what: String, message: String },
    /// Stored state cannot be used as it is.
    State { message: String },
}

impl Error {
    /// An error that lists everything wrong with a topology or its settings.
    pub fn invalid(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty());
        Error(Box::new(ErrorKind::Invalid(problems)))
    }

    /// Bad usage with a single cause.
    pub fn usage(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![Problem::new(place, message)])
    }

    pub(crate) fn failed(state: &'static str, message: impl Into<String>) -> Self {
        Error(Box::new(ErrorKind::Failed { state, message: message.into() }))
    }

    /// An operating-system error, with what was being attempted.
    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Error(Box::new(ErrorKind::Io { what: what.into(), message: error.to_string() }))
    }

    /// Stored state that cannot be used: damaged, of another format, or with parts nobody owns.
    pub fn bad_state(message: impl Into<String>) -> Self {
        Error(Box::new(ErrorKind::State { message: message.into() }))
    }

    /// True if stored state cannot be used as it is (exit code 2).
    pub fn is_bad_state(&self) -> bool {
        matches!(*self.0, ErrorKind::State { .. })
    }

    /// True if nothing was started because the usage, the settings or the topology are wrong (exit code 2).
    pub fn is_usage(&self) -> bool {
        matches!(*self.0, ErrorKind::Invalid(_))
    }

    /// True if the topology ran and failed (exit code 1).
    pub fn is_failed(&self) -> bool {
        matches!(*self.0, ErrorKind::Failed { .. })
    }

    /// The named final state of a failed topology, such as `failed`, `rebuild_limit` or `cycle_full`.
    pub fn state(&self) -> Option<&'static str> {
        match *self.0 {
            ErrorKind::Failed { state, .. } => Some(state),
            _ => None,
        }
    }

    /// All problems of an invalid topology; empty for other errors.
    pub fn problems(&self) -> &[Problem] {
        match &*self.0 {
            ErrorKind::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            ErrorKind::Invalid(problems) => {
                for (index, problem) in problems.iter().enumerate() {
                    if index > 0 {
                        f.write_str("\n")?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
            ErrorKind::Failed { state, message } => write!(f, "the topology stopped ({state}): {message}"),
            ErrorKind::Io { what, message } => write!(f, "{what}: {message}"),
            ErrorKind::State { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_converts_into_a_retry_with_its_causes() {
        let failure: Failure = "x".parse::<i32>().unwrap_err().into();
        assert!(failure.is_retry());
        assert!(failure.message().contains("invalid digit"));
    }

    #[test]
    fn the_first_origin_stays() {
        let at = |name: &str| Origin { component: name.into(), task_index: 1 };
        let failure = Failure::reject("bad").at(&at("split")).at(&at("count"));
        assert_eq!(failure.to_string(), "split[1]: bad");
    }
}
