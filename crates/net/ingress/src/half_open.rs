//! Connections whose application has not said what it wants, or reads its last answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::task::AbortHandle;

/// All of them, oldest first. There are never more than the bound: one more ends the oldest, which is the one
/// that had the most time to speak.
pub(crate) struct HalfOpen {
    max: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, AbortHandle>,
    next: u64,
    evicted: u64,
}

impl HalfOpen {
    pub(crate) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self { max: max.max(1), state: RefCell::default() })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.state.borrow().tasks.len()
    }

    /// How many were ended to make room.
    pub(crate) fn evicted(&self) -> u64 {
        self.state.borrow().evicted
    }

    /// Ends all of them.
    pub(crate) fn clear(&self) {
        let tasks = std::mem::take(&mut self.state.borrow_mut().tasks);
        tasks.values().for_each(AbortHandle::abort);
    }

    /// Takes in a connection, served by `task`, until the result is dropped.
    pub(crate) fn enter(self: &Rc<Self>, task: AbortHandle) -> HalfOpenGuard {
        let mut state = self.state.borrow_mut();
        let number = state.next;
        state.next += 1;
        state.tasks.insert(number, task);
        if state.tasks.len() > self.max
            && let Some((_, oldest)) = state.tasks.pop_first()
        {
            state.evicted += 1;
            oldest.abort();
        }
        HalfOpenGuard { registry: self.clone(), number }
    }
}

/// One connection's place.
pub(crate) struct HalfOpenGuard {
    registry: Rc<HalfOpen>,
    number: u64,
}

impl Drop for HalfOpenGuard {
    fn drop(&mut self) {
        self.registry.state.borrow_mut().tasks.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_goes_when_there_is_no_room() {
        let half_open = HalfOpen::new(2);
        let local = tokio::task::LocalSet::new();
        let tasks: Vec<_> = (0..3).map(|_| local.spawn_local(std::future::pending::<()>())).collect();
        let guards: Vec<_> = tasks.iter().map(|task| half_open.enter(task.abort_handle())).collect();
        assert_eq!((half_open.count(), half_open.evicted()), (2, 1));
        let mut tasks = tasks.into_iter();
        let first = tasks.next().expect("three tasks");
        let ended = local.run_until(first).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        assert!(tasks.all(|task| !task.is_finished()));
        drop(guards);
        assert_eq!(half_open.count(), 0);
    }
}
