//! A service, a directory and many clients on virtual time.

mod faults;
mod floods;
mod reference;
mod world;
