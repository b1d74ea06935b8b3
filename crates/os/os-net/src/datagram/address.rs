//! Socket addresses as the kernel has them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an address of either family. All zeroes is a valid one of no family.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    /// Bytes of the whole room.
    pub(super) const BYTES: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    /// An address of no family.
    pub(super) const fn empty() -> Self {
        // `sockaddr_in6` is the largest member, so every byte is set.
        Self {
            v6: libc::sockaddr_in6 {
                sin6_family: 0,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            },
        }
    }

    /// The kernel's form, and how many bytes of it count.
    pub(super) fn of(address: SocketAddr) -> (Self, libc::socklen_t) {
        let mut raw = Self::empty();
        match address {
            SocketAddr::V4(address) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(address) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// The address, if it is one of IP.
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        // SAFETY: every byte of the union is initialised by `empty` or by the kernel, and the family is its first field
        // in each form.
        match i32::from(unsafe { self.family }) {
            libc::AF_INET => {
                // SAFETY: every byte is initialised, and any bytes are a valid `sockaddr_in`.
                let raw = unsafe { self.v4 };
                let host = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(host, u16::from_be(raw.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: every byte is initialised, and any bytes are a valid `sockaddr_in6`.
                let raw = unsafe { self.v6 };
                let host = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(host, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["192.0.2.7:53", "[2001:db8::9]:65535", "[fe80::1%3]:1"] {
            let address: SocketAddr = text.parse().expect("a literal address");
            assert_eq!(RawAddress::of(address).0.decode(), Some(address));
        }
        assert_eq!(RawAddress::empty().decode(), None);
    }
}
