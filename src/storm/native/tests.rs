use std::time::Duration;

use super::emits::TickTuples;
use crate::task::dynamic::Value;

#[test]
fn ticks_are_tuples_of_the_system() {
    let tick = TickTuples::new(Duration::from_secs(5)).tuple();
    assert_eq!(tick.to_string(), "__system.__tick task -1 [5]");
    assert!(matches!(tick.get("rate_secs"), Ok(Value::Int32(5))));
    let short = TickTuples::new(Duration::from_millis(50)).tuple();
    assert_eq!(short.values(), [Value::Float(0.05)]);
}
