//! The client's side of all layers of a circuit. A cell's inner part stays at one place; layers grow in front of it.

use super::{OpenError, OpenKey, Opened, Position, SealKey, WornOut};
use crate::schedule::HopKeys;

/// The layers of a circuit, the first hop's first.
#[derive(Default)]
pub(crate) struct ClientLayers(Vec<ClientLayer>);

struct ClientLayer {
    forward: SealKey,
    backward: OpenKey,
    /// Cells below this number were sealed before the circuit changed here the last time.
    from: u64,
}

/// A cell that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The hop that made it.
    pub(crate) hop: Position,
    /// True for a control message of that hop; else it is an inner part of the last one.
    pub(crate) addressed: bool,
    /// Its number.
    pub(crate) number: u64,
}

/// Why a cell was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeError {
    /// One of its layers was not opened.
    Layer(OpenError),
    /// It was under way when the circuit changed at the hop that sealed it.
    Stale,
}

impl ClientLayers {
    /// The last hop.
    pub(crate) fn last(&self) -> Option<Position> {
        u8::try_from(self.0.len()).ok().and_then(Position::new)
    }

    /// Cells that were sealed for the last hop.
    pub(crate) fn sealed(&self) -> u64 {
        self.0.last().map_or(0, |layer| layer.forward.sealed())
    }

    /// Adds a hop behind the last one.
    pub(crate) fn push(&mut self, keys: &HopKeys) {
        let (forward, backward) = (SealKey::new(&keys.forward), OpenKey::new(&keys.backward));
        self.0.push(ClientLayer { forward, backward, from: 0 });
    }

    /// Forgets all hops behind the one that said in this cell that there are none.
    pub(crate) fn cut(&mut self, said: Taken) {
        self.0.truncate(usize::from(said.hop.number()));
        self.note(said);
    }

    /// The circuit changes at a hop that said so in this cell: what it sealed before is stale from now on.
    pub(crate) fn note(&mut self, said: Taken) {
        if let Some(layer) = self.0.get_mut(said.hop.before()) {
            layer.from = layer.from.max(said.number);
        }
    }

    /// Seals a cell for `target`, a hop that is there: everything behind that hop's [`Position::client_body`] is its body.
    #[inline]
    pub(crate) fn seal(&mut self, target: Position, addressed: bool, region: &mut [u8]) -> Result<(), WornOut> {
        let mut own = addressed;
        for at in (0..=target.before().min(self.0.len().saturating_sub(1))).rev() {
            let position = Position(at as u8 + 1);
            self.0[at].forward.seal(&mut region[position.client_layer()..], own)?;
            own = false;
        }
        Ok(())
    }

    /// Opens a cell. The body of the hop that made it is then at its [`Position::client_body`].
    #[inline]
    pub(crate) fn open(&mut self, region: &mut [u8]) -> Result<Taken, TakeError> {
        let last = self.0.len();
        for (at, layer) in self.0.iter_mut().enumerate() {
            let hop = Position(at as u8 + 1);
            let opened = layer.backward.open(&mut region[hop.client_layer()..]);
            let Opened { number, addressed } = opened.map_err(TakeError::Layer)?;
            if number < layer.from {
                return Err(TakeError::Stale);
            }
            if addressed || at + 1 == last {
                return Ok(Taken { hop, addressed, number });
            }
        }
        Err(TakeError::Layer(OpenError::Forged))
    }

    /// Wears the forward key of the last hop out, but for `left` cells.
    #[cfg(test)]
    pub(crate) fn wear(&mut self, left: u64) {
        if let Some(layer) = self.0.pop() {
            let forward = layer.forward.with_sealed(super::LAYER_CELLS_MAX - left);
            self.0.push(ClientLayer { forward, ..layer });
        }
    }
}
