//! Relays, clients and the links between them on virtual time.

mod endings;
mod fairness;
mod floods;
mod meeting;
mod net;
mod way;
