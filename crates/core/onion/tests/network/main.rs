//! Circuits over relays on virtual time: cells are lost, doubled, overtaken, altered; relays restart and links go down.

mod endings;
mod floods;
mod net;
mod properties;
mod way;
