//! shaped-tunnel
