use super::*;
use crate::sys::bits::Bits;
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

/// Under Miri a case takes seconds.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: if cfg!(miri) { 4 } else { config.cases }, ..config }
}

proptest! {
    #![proptest_config(config())]

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

/// What a consumer gets: the input and the value of each tuple, and the control items but for numbers of inputs.
fn arrivals(rx: &mut LaneRx<(), u32>, input: &mut usize, count: usize) -> Vec<Result<(usize, u32), Control>> {
    let mut arrivals = Vec::new();
    while arrivals.len() < count {
        let Some(slot) = rx.pop() else { break };
        match slot.as_control() {
            Some(Control::Input(number)) => *input = number,
            Some(control) => arrivals.push(Err(control)),
            None => arrivals.push(Ok((*input, slot.into_tuple().1))),
        }
    }
    arrivals
}

fn shared(lane: LaneTx<(), u32>, inputs: &[usize]) -> Vec<EdgeLane<(), u32>> {
    let edges = EdgeLane::of_edges(lane, inputs);
    assert!(edges.iter().all(|edge| matches!(edge, EdgeLane::Shared(_))));
    edges
}

#[test]
fn the_only_edge_of_a_pair_has_the_lane_to_itself() {
    let (tx, mut rx) = local::<(), u32>(8, signal(), 0);
    let mut edges = EdgeLane::of_edges(tx, &[5]);
    assert!(matches!(edges[..], [EdgeLane::Own(_)]) && edges[0].local_end().is_some());
    assert_eq!(edges[0].send((), 1), Sent::BelowLowWater);
    assert_eq!(rx.len(), 1, "nobody asks which input it is");
    assert_eq!(values(&mut rx), [1]);
}

#[test]
fn what_concerns_a_shared_lane_is_sent_once() {
    let (tx, mut rx) = local::<(), u32>(16, signal(), 0);
    let mut edges = shared(tx, &[0, 1, 2]);
    assert!(edges.iter().all(|edge| edge.local_end().is_none()), "the others would be overtaken");
    edges[2].send((), 7);
    let sent: Vec<Sent> = edges.iter_mut().map(|edge| edge.control(Control::End)).collect();
    assert_eq!(sent, [Sent::BelowLowWater; 3]);
    assert_eq!(arrivals(&mut rx, &mut 0, 9), [Ok((2, 7)), Err(Control::Sent(2)), Err(Control::End)]);
}

#[test]
fn a_shared_lane_is_blocked_by_the_edge_that_has_found_it_full() {
    let (tx, mut rx) = local::<(), u32>(1, signal(), 0);
    let mut edges = shared(tx, &[3, 4]);
    let mut input = 3;
    assert_eq!(edges[0].send((), 0), Sent::AboveLowWater);
    assert_eq!(edges[1].send((), 1), Sent::Blocked, "the number of its input had no place");
    assert_eq!(edges[0].send((), 2), Sent::Kept);
    assert_eq!(edges[1].control(Control::End), Sent::BelowLowWater, "the other's to send");
    assert_eq!(edges[0].control(Control::End), Sent::Kept, "nor what tells how much has been sent");
    let mut all = Vec::new();
    while !edges[1].drain() {
        all.extend(arrivals(&mut rx, &mut input, 1));
    }
    all.extend(arrivals(&mut rx, &mut input, 9));
    assert_eq!(all, [Ok((3, 0)), Ok((4, 1)), Ok((3, 2)), Err(Control::Sent(5)), Err(Control::End)]);
    assert_eq!(edges[0].send((), 5), Sent::AboveLowWater, "the input is as before: no number goes with it");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Control,
    Drain,
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3usize).prop_map(Step::Send),
        1 => Just(Step::Control),
        2 => Just(Step::Drain),
        4 => (1..4usize).prop_map(Step::Take),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(config())]

    /// However full the lane gets: every tuple comes under its input, all in the order in which they were sent, and
    /// whenever there is overflow one edge, and one alone, has been told to drain it.
    #[test]
    fn edges_share_a_lane_in_the_order_of_their_emits(
        capacity in 1usize..6,
        edges in 2usize..4,
        is_remote in any::<bool>(),
        steps in steps(),
    ) {
        let (tx, mut rx) = if is_remote {
            let ((tx, rx), peers) = (ring(capacity), Rc::new(Peers::new(1)));
            (remote_tx(tx, 0, peers.clone(), None), remote_rx(rx, 0, peers))
        } else {
            local::<(), u32>(capacity, signal(), 0)
        };
        let inputs: Vec<usize> = (0..edges).map(|edge| 10 * edge).collect();
        let mut edges = shared(tx, &inputs);
        let (mut input, mut sent, mut got, mut blocked_by) = (inputs[0], Vec::new(), Vec::new(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(edge) => {
                    let edge = edge % edges.len();
                    sent.push(Ok((inputs[edge], number as u32)));
                    if edges[edge].send((), number as u32) == Sent::Blocked {
                        blocked_by.push(edge);
                    }
                }
                Step::Control => {
                    sent.push(Err(Control::Watermark(number as i64)));
                    for (edge, lane) in edges.iter_mut().enumerate() {
                        if lane.control(Control::Watermark(number as i64)) == Sent::Blocked {
                            blocked_by.push(edge);
                        }
                    }
                }
                Step::Drain => blocked_by.retain(|&edge| !edges[edge].drain()),
                Step::Take(count) => got.extend(arrivals(&mut rx, &mut input, count)),
            }
            prop_assert!(blocked_by.len() <= 1, "{blocked_by:?}");
        }
        loop {
            blocked_by.retain(|&edge| !edges[edge].drain());
            let more = arrivals(&mut rx, &mut input, 2);
            if more.is_empty() && blocked_by.is_empty() {
                break;
            }
            got.extend(more);
        }
        prop_assert_eq!(got, sent);
    }
}
