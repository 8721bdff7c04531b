//! Storm's groupings that depend on Java's hashes: fields and partial key.

use std::sync::Arc;

use crate::storm::java::{JavaRandom, JavaValue, array_hash, bytes_hash, to_java_string, value_hash};
use crate::storm::tuple::StormTuple;
use crate::task::TaskId;
use crate::task::component::Custom;

/// `Math.floorMod`.
fn index_of(hash: i32, tasks: usize) -> usize {
    i64::from(hash).rem_euclid(tasks as i64) as usize
}

/// The index, among the tasks in ascending order, that Storm's fields grouping gives these selected values.
///
/// ```
/// use squall::storm::grouping::fields_index;
/// use squall::storm::java::JavaValue;
///
/// assert_eq!(fields_index(&[JavaValue::text("nathan")], 4), 3);
/// ```
///
/// # Panics
/// If there are no tasks.
pub fn fields_index(values: &[JavaValue], tasks: usize) -> usize {
    index_of(array_hash(values.iter().map(JavaValue::java_hash)), tasks)
}

/// The two tasks, by index, between which partial key grouping chooses for a key of these bytes; the same one twice if
/// there is only one.
///
/// # Panics
/// If there are no tasks, or more than `i32::MAX`.
pub fn partial_key_candidates(key_bytes: &[u8], tasks: usize) -> [usize; 2] {
    let bound = i32::try_from(tasks).expect("so many tasks do not exist");
    let mut random = JavaRandom::new(bytes_hash(key_bytes).into());
    let (first, second) = (random.next_int(bound), random.next_int(bound));
    let second = if first == second { (second + 1) % bound } else { second };
    [first as usize, second as usize]
}

/// The bytes by which partial key grouping tells keys apart when it was given fields: the hash of each value.
pub fn partial_key_bytes(hashes: impl IntoIterator<Item = i32>) -> impl Iterator<Item = u8> {
    hashes.into_iter().flat_map(i32::to_be_bytes)
}

/// One instance of Storm's partial key grouping: of a key's two tasks, the one that got less so far.
#[derive(Clone, Debug)]
pub struct PartialKey {
    sent: Vec<u64>,
}

impl PartialKey {
    /// One that has sent nothing yet.
    ///
    /// # Panics
    /// If there are no tasks.
    pub fn new(tasks: usize) -> Self {
        assert!(tasks > 0, "a grouping chooses among one task or more");
        PartialKey { sent: vec![0; tasks] }
    }

    /// The task index of the next tuple with this key.
    pub fn choose(&mut self, key_bytes: &[u8]) -> usize {
        let [first, second] = partial_key_candidates(key_bytes, self.sent.len());
        let chosen = if self.sent[second] < self.sent[first] { second } else { first };
        self.sent[chosen] += 1;
        chosen
    }
}

/// Fields grouping with Java's hashes, for the producer's side of an edge.
pub(super) struct JavaFields {
    /// Positions of the selected fields, in the order of the grouping.
    pub selected: Arc<[usize]>,
    pub tasks: Vec<TaskId>,
}

impl Custom<StormTuple> for JavaFields {
    fn prepare(&mut self, _source: TaskId, tasks: &[TaskId]) {
        self.tasks = tasks.to_vec();
    }

    fn choose(&mut self, tuple: &StormTuple, chosen: &mut Vec<TaskId>) {
        let hashes = self.selected.iter().map(|&position| value_hash(selected(tuple, position)));
        chosen.push(self.tasks[index_of(array_hash(hashes), self.tasks.len())]);
    }
}

/// Partial key grouping, for the producer's side of an edge.
pub(super) struct JavaPartialKey {
    /// Positions of the selected fields; none: the text of the first value is the key.
    pub selected: Option<Arc<[usize]>>,
    pub tasks: Vec<TaskId>,
    pub state: PartialKey,
    /// Of the last tuple; kept for its room.
    key: Vec<u8>,
}

impl JavaPartialKey {
    pub fn new(selected: Option<Arc<[usize]>>) -> Self {
        JavaPartialKey { selected, tasks: Vec::new(), state: PartialKey::new(1), key: Vec::new() }
    }
}

impl Custom<StormTuple> for JavaPartialKey {
    fn prepare(&mut self, _source: TaskId, tasks: &[TaskId]) {
        self.tasks = tasks.to_vec();
        self.state = PartialKey::new(tasks.len());
    }

    fn choose(&mut self, tuple: &StormTuple, chosen: &mut Vec<TaskId>) {
        // An empty tuple has no key, and goes nowhere.
        let Some(first) = tuple.values().first() else { return };
        self.key.clear();
        match &self.selected {
            Some(positions) => {
                let hashes = positions.iter().map(|&position| value_hash(selected(tuple, position)));
                self.key.extend(partial_key_bytes(hashes));
            }
            None => self.key.extend(to_java_string(first).bytes()),
        }
        chosen.push(self.tasks[self.state.choose(&self.key)]);
    }
}

/// Storm fails at the same place, with an index error.
fn selected(tuple: &StormTuple, position: usize) -> &crate::task::dynamic::Value {
    let missing = || panic!("{tuple} has no value for field {position}, by which a grouping chooses the task");
    tuple.values().get(position).unwrap_or_else(missing)
}

/// A grouping of the user's own, by name.
pub(super) struct Named(pub Box<dyn Custom<StormTuple>>);

impl Custom<StormTuple> for Named {
    fn prepare(&mut self, source: TaskId, tasks: &[TaskId]) {
        self.0.prepare(source, tasks);
    }

    fn choose(&mut self, tuple: &StormTuple, chosen: &mut Vec<TaskId>) {
        self.0.choose(tuple, chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::dynamic::Value;

    /// What Storm's own class chose on a JVM.
    #[test]
    fn candidates_are_those_of_storm() {
        let by_field = |text: &str| partial_key_bytes([JavaValue::text(text).java_hash()]).collect::<Vec<_>>();
        for (tasks, expected) in [(2, [1, 0]), (4, [2, 3]), (5, [2, 1]), (8, [5, 6])] {
            assert_eq!(partial_key_candidates(&by_field("nathan"), tasks), expected, "{tasks}");
        }
        for (tasks, expected) in [(2, [0, 1]), (4, [1, 3]), (5, [1, 3]), (8, [3, 6])] {
            assert_eq!(partial_key_candidates(&by_field("bob"), tasks), expected, "{tasks}");
        }
        assert_eq!(partial_key_candidates(b"nathan", 5), [3, 1]);
        assert_eq!(partial_key_candidates(b"bob", 5), [4, 2]);
        assert_eq!(partial_key_candidates(b"bob", 1), [0, 0]);
    }

    #[test]
    fn a_key_alternates_between_its_two_tasks_and_the_first_wins_a_tie() {
        let mut grouping = PartialKey::new(5);
        let key: Vec<u8> = partial_key_bytes([JavaValue::text("nathan").java_hash()]).collect();
        let chosen: Vec<usize> = (0..4).map(|_| grouping.choose(&key)).collect();
        assert_eq!(chosen, [2, 1, 2, 1]);
    }

    #[test]
    fn counts_span_all_keys() {
        let mut grouping = PartialKey::new(5);
        let [nathan, bob] =
            ["nathan", "bob"].map(|text| partial_key_bytes([JavaValue::text(text).java_hash()]).collect::<Vec<_>>());
        // bob's candidates are 1 and 3; after nathan's 2, 1 the task 1 has one already.
        assert_eq!([&nathan, &nathan, &bob, &bob].map(|key| grouping.choose(key)), [2, 1, 3, 1]);
    }

    #[test]
    fn a_tuple_without_values_has_no_partial_key() {
        let source = Arc::new(crate::storm::tuple::Source {
            component: "a".into(),
            stream: "default".into(),
            fields: crate::task::dynamic::Fields::new(["x"]).unwrap(),
        });
        let mut grouping = JavaPartialKey::new(None);
        grouping.prepare(TaskId(1), &[TaskId(2), TaskId(3)]);
        let mut chosen = Vec::new();
        grouping.choose(&StormTuple::new(&source, TaskId(1), []), &mut chosen);
        assert!(chosen.is_empty());
        grouping.choose(&StormTuple::new(&source, TaskId(1), [Value::from("bob")]), &mut chosen);
        assert_eq!(chosen.len(), 1);
    }
}
