//! proxy-protocols
