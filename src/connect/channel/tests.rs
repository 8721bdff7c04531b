use super::waiting::block_on;
use super::*;
use crate::sys::sync::Arc;
use crate::sys::thread;
use crate::task::component::{Polled, Source};
use crate::task::context::SpoutContext;
use crate::task::waker::Waker;

fn opened<T: crate::task::payload::Payload>(mut spout: ChannelSpout<T>, index: usize) -> ChannelSpout<T> {
    let mut ctx = SpoutContext::detached();
    ctx.info.index = index;
    spout.open(&mut ctx).unwrap();
    spout
}

fn value<T>(polled: Polled<T>) -> Option<T> {
    if let Polled::Item { value, .. } = polled { Some(value) } else { None }
}

/// Polls until the source is finished.
fn drain(spout: &mut ChannelSpout<u32>) -> Vec<u32> {
    let mut values = Vec::new();
    loop {
        match spout.poll().unwrap() {
            Polled::Item { value, .. } => values.push(value),
            Polled::Finished => return values,
            _ => thread::yield_now(),
        }
    }
}

#[test]
fn values_arrive_in_order_and_the_spout_ends_with_the_last_sender() {
    let (sender, spout) = channel(4);
    let mut spout = opened(spout, 0);
    assert_eq!(spout.poll().unwrap(), Polled::Idle);
    let second = sender.clone();
    sender.send(1).unwrap();
    drop(sender);
    second.try_send(2).unwrap();
    drop(second);
    assert_eq!(drain(&mut spout), [1, 2]);
}

#[test]
fn a_full_channel_gives_the_value_back() {
    let (sender, spout) = channel(1);
    let mut spout = opened(spout, 0);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(SendError::Full(2)));
    assert_eq!(value(spout.poll().unwrap()), Some(1));
    assert_eq!(sender.try_send(2), Ok(()));
}

#[test]
fn blocked_senders_are_woken_by_room() {
    let (sender, spout) = channel(1);
    let mut spout = opened(spout, 0);
    let threads: Vec<_> = (0..3u32)
        .map(|number| {
            let sender = sender.clone();
            let send = move || (0..2_000).try_for_each(|value| sender.send(number * 10_000 + value));
            thread::spawn_named("send-test", send).unwrap()
        })
        .collect();
    drop(sender);
    let values = drain(&mut spout);
    for (number, thread) in threads.into_iter().enumerate() {
        thread.join().unwrap().unwrap();
        let sent: Vec<u32> = values.iter().copied().filter(|value| *value / 10_000 == number as u32).collect();
        assert_eq!(sent, (0..2_000).map(|value| number as u32 * 10_000 + value).collect::<Vec<_>>());
    }
}

#[test]
fn a_dropped_send_has_sent_nothing() {
    let (sender, spout) = channel(1);
    let mut spout = opened(spout, 0);
    sender.send(1).unwrap();
    let mut waiting = Box::pin(sender.send_async(2));
    let mut ctx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waiting.as_mut().poll(&mut ctx).is_pending());
    drop(waiting);
    assert_eq!(value(spout.poll().unwrap()), Some(1));
    assert_eq!(spout.poll().unwrap(), Polled::Idle);
    block_on(sender.send_async(3)).unwrap();
    assert_eq!(value(spout.poll().unwrap()), Some(3));
}

#[test]
fn senders_learn_that_the_topology_has_stopped_even_while_they_wait() {
    let (sender, spout) = channel(1);
    let (mut first, mut second) = (opened(spout.clone(), 0), opened(spout.clone(), 1));
    sender.send(1).unwrap();
    let blocked = thread::spawn_named("send-test", {
        let sender = sender.clone();
        move || sender.send(2)
    })
    .unwrap();
    first.close();
    assert_eq!(sender.try_send(3), Err(SendError::Full(3)), "another task is left");
    second.close();
    assert_eq!(blocked.join().unwrap(), Err(SendError::Closed(2)));
    drop((spout, first, second));
    assert_eq!(sender.send(4), Err(SendError::Closed(4)));
}

#[test]
fn a_rebuilt_spout_goes_on_where_the_broken_one_stopped() {
    let (sender, spout) = channel(4);
    let mut broken = opened(spout.clone(), 0);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!(value(broken.poll().unwrap()), Some(1));
    drop(broken);
    sender.send(3).unwrap();
    let mut rebuilt = opened(spout, 0);
    assert_eq!(value(rebuilt.poll().unwrap()), Some(2));
    assert_eq!(value(rebuilt.poll().unwrap()), Some(3));
}

#[test]
fn an_idle_task_is_woken_by_a_value_and_by_the_end() {
    let mailbox = Arc::new(crate::task::waker::Mailbox::new(2));
    let mut ctx = SpoutContext::detached();
    ctx.waker = Waker::new(mailbox.clone(), 1);
    let (sender, mut spout) = channel(4);
    spout.open(&mut ctx).unwrap();
    let woken = || {
        let mut tasks = Vec::new();
        mailbox.tasks.drain(|task| tasks.push(task));
        tasks
    };
    assert_eq!(spout.poll().unwrap(), Polled::Idle);
    assert!(woken().is_empty());
    sender.send(1).unwrap();
    assert_eq!(woken(), [1]);
    sender.send(2).unwrap();
    assert!(woken().is_empty(), "it has been woken and has not gone idle since");
    assert_eq!((value(spout.poll().unwrap()), value(spout.poll().unwrap())), (Some(1), Some(2)));
    assert_eq!(spout.poll().unwrap(), Polled::Idle);
    drop(sender);
    assert_eq!(woken(), [1]);
    assert_eq!(spout.poll().unwrap(), Polled::Finished);
}
