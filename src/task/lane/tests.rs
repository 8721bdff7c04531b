use super::*;
use proptest::prelude::*;

fn signal() -> Rc<Signal> {
    Rc::new(Signal { ready: Rc::new(Bits::new(1)), position: 0, lanes: Bits::new(1) })
}

fn values<H>(rx: &mut LaneRx<H, u32>) -> Vec<u32> {
    std::iter::from_fn(|| rx.pop())
        .map(|slot| if slot.as_control().is_some() { u32::MAX } else { slot.into_tuple().1 })
        .collect()
}

#[test]
fn a_full_local_lane_keeps_overflow_in_order() {
    let signal = signal();
    let (mut tx, mut rx) = local::<(), u32>(2, signal.clone(), 0);
    let sent: Vec<Sent> = (0..4).map(|n| tx.send(Slot::tuple((), n))).collect();
    assert_eq!(sent, [Sent::AboveLowWater, Sent::AboveLowWater, Sent::Blocked, Sent::Kept]);
    assert!(signal.ready.get(0) && signal.lanes.get(0));
    assert!(!tx.drain());
    assert_eq!(values(&mut rx), [0, 1]);
    tx.send(Slot::control(Control::End));
    assert!(!tx.drain(), "capacity 2 has no room for three");
    assert_eq!(values(&mut rx), [2, 3]);
    assert!(tx.drain());
    assert_eq!(values(&mut rx), [u32::MAX]);
}

#[test]
fn a_ring_carries_values_across_threads_and_notes_the_peer() {
    let (tx, rx) = ring::<(), Box<u32>>(4);
    let producer = crate::sys::thread::spawn_named("lane-test", move || {
        let peers = Rc::new(Peers::new(2));
        let mut tx = remote_tx(tx, 1, peers.clone(), None);
        for n in 0..100 {
            tx.send(Slot::tuple((), Box::new(n)));
            while !tx.drain() {
                crate::sys::thread::yield_now();
            }
        }
        peers.pushed.get(1)
    })
    .unwrap();
    let peers = Rc::new(Peers::new(2));
    let mut rx = remote_rx(rx, 0, peers.clone());
    let mut expected = 0;
    while expected < 100 {
        match rx.pop() {
            Some(slot) => {
                assert_eq!(slot.as_control(), None, "the prefault must leave nothing behind");
                assert_eq!(*slot.into_tuple().1, expected);
                expected += 1;
            }
            None => crate::sys::thread::yield_now(),
        }
    }
    assert!(producer.join().unwrap());
    assert!(peers.popped.get(0));
}

proptest! {
    /// Against a queue of the standard library: the same items in the same order, refused at the same length, and
    /// each dropped once.
    #[test]
    fn a_fifo_is_a_bounded_queue(capacity in 1usize..70, steps in proptest::collection::vec(any::<bool>(), 0..400)) {
        let counted = std::sync::Arc::new(());
        let (mut fifo, mut model) = (Fifo::new(capacity), VecDeque::new());
        for (number, pushes) in steps.into_iter().enumerate() {
            if pushes {
                let refused = fifo.push((number, counted.clone())).is_err();
                prop_assert_eq!(refused, model.len() == capacity);
                if !refused {
                    model.push_back(number);
                }
            } else {
                prop_assert_eq!(fifo.pop().map(|(number, _)| number), model.pop_front());
            }
            prop_assert_eq!(fifo.len(), model.len());
            prop_assert_eq!(std::sync::Arc::strong_count(&counted), 1 + model.len());
        }
        drop(fifo);
        prop_assert_eq!(std::sync::Arc::strong_count(&counted), 1);
    }
}

#[test]
fn dropping_a_lane_drops_what_is_in_it() {
    let value = std::sync::Arc::new(());
    let (mut tx, rx) = local::<(), _>(1, signal(), 0);
    tx.send(Slot::tuple((), value.clone()));
    tx.send(Slot::tuple((), value.clone()));
    drop((tx, rx));
    assert_eq!(std::sync::Arc::strong_count(&value), 1);
}
