use super::*;
use crate::task::header::Root;

fn table() -> HeldTable {
    HeldTable::new(Waker::disconnected(), 1, false)
}

fn roots(n: u32) -> Roots {
    Roots::One(Root::new(0, n, 1), 77)
}

fn events(table: &mut HeldTable) -> Vec<String> {
    let mut seen = Vec::new();
    table.take_events(|event| {
        seen.push(match event {
            HeldEvent::Acked { drawn, .. } => format!("ack {drawn}"),
            HeldEvent::Failed { failure, dropped, .. } => format!("fail {} {dropped}", failure.message()),
            HeldEvent::Reset { .. } => "reset".into(),
        })
    });
    seen.sort();
    seen
}

#[test]
fn handles_settle_from_another_thread() {
    let mut table = table();
    let (a, b, c) = (
        table.hold(roots(1), Lineage::NONE, None),
        table.hold(roots(2), Lineage::NONE, None),
        table.hold(roots(3), Lineage::NONE, None),
    );
    a.as_held().unwrap().1.draw(5);
    crate::sys::thread::spawn_named("held-test", move || {
        a.reset_deadline();
        a.ack();
        b.fail(Failure::retry("why"));
        drop(c);
    })
    .unwrap()
    .join()
    .unwrap();
    let seen = events(&mut table);
    assert_eq!(seen[0], "ack 5");
    assert!(seen.contains(&"fail why false".into()) && seen.contains(&"reset".into()));
    assert!(seen.iter().any(|event| event.ends_with("true")));
    assert_eq!(table.open(), 0);
}

#[test]
fn slots_are_used_again_and_segments_added() {
    let mut table = table();
    let many: Vec<Anchor> = (0..SEGMENT_SLOTS as u32 + 1).map(|n| table.hold(roots(n), Lineage::NONE, None)).collect();
    assert_eq!(table.segments.len(), 2);
    many.into_iter().for_each(Anchor::ack);
    assert_eq!(events(&mut table).len(), SEGMENT_SLOTS + 1);
    let again: Vec<Anchor> = (0..SEGMENT_SLOTS as u32 + 1).map(|n| table.hold(roots(n), Lineage::NONE, None)).collect();
    assert_eq!(table.segments.len(), 2);
    drop(again);
}

#[test]
fn after_the_task_is_gone_handles_do_nothing() {
    let mut table = table();
    let anchor = table.hold(roots(1), Lineage::NONE, None);
    drop(table);
    anchor.ack();
}
