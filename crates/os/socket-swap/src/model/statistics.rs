//! Nothing is counted.

#[derive(Clone, Copy)]
pub(crate) enum Count {
    RingSends,
    RingReceives,
    Spills,
    Bells,
    Plain,
}

pub(crate) fn add(_count: Count) {}
