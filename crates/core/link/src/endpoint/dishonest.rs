//! What an honest endpoint never does: cells of any content. For the fuzz body of the authenticated receive path.

use super::Endpoint;
use crate::event::LinkId;
use wire::packet::{HEADER_LEN, TAG_LEN};

impl Endpoint {
    /// Seals `body`, cut or filled up with zeros, as the whole body of a packet of a link that is up; empty if it is not.
    pub(crate) fn seal_any(&mut self, link: LinkId, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; self.config.packet_size.packet()];
        let end = packet.len() - TAG_LEN;
        let room = &mut packet[HEADER_LEN..end];
        let count = body.len().min(room.len());
        room[..count].copy_from_slice(&body[..count]);
        let up = self.state_mut(link).and_then(|state| state.up.as_mut());
        let sealed = up.is_some_and(|up| up.keys.seal(up.path.place().hop, &mut packet).is_ok());
        if sealed { packet } else { Vec::new() }
    }
}
