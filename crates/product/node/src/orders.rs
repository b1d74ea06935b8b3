//! Orders for the shaped process from beside the supervisor, such as budget to release measurements with.

use serde_json::Value;
use thiserror::Error;
use tokio::sync::mpsc;

/// Orders that may wait for the supervisor; further ones are refused.
const ORDERS_MAX: usize = 16;

/// An order was not taken. Whoever gave it does as if it had been carried out or not, as is safer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OrderRefused {
    /// Many wait: the supervisor is busy.
    #[error("many orders wait for the supervisor")]
    Full,
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}

/// Gives orders to the shaped process, whichever instance runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OrderHandle(mpsc::Sender<Value>);

impl OrderHandle {
    /// Passes an order on as it is. It is lost when no shaped process runs, or the process ends before it reads it.
    ///
    /// # Errors
    /// If the supervisor does not take it.
    pub fn give(&self, order: Value) -> Result<(), OrderRefused> {
        self.0.try_send(order).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => OrderRefused::Full,
            mpsc::error::TrySendError::Closed(_) => OrderRefused::Ended,
        })
    }
}

/// Both ends: for whoever gives orders, and for the supervisor.
pub(crate) fn orders() -> (OrderHandle, mpsc::Receiver<Value>) {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    (OrderHandle(sender), receiver)
}

/// Questions that may wait for whoever answers them; further ones are dropped, and the process asks again.
const ASKS_MAX: usize = 64;

/// Where questions of the shaped process go. The answers are orders.
#[derive(Debug, Clone)]
pub struct AskHandle(mpsc::Sender<Value>);

impl AskHandle {
    /// False: it was dropped.
    pub(crate) fn pass_on(&self, body: Value) -> bool {
        self.0.try_send(body).is_ok()
    }
}

/// Both ends: for a plan, and for whoever answers.
pub fn asks() -> (AskHandle, mpsc::Receiver<Value>) {
    let (sender, receiver) = mpsc::channel(ASKS_MAX);
    (AskHandle(sender), receiver)
}
