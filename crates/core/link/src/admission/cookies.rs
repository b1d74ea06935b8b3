//! Cookies: HMAC-SHA256 over address and port under a secret that lives two minutes.

use crate::door::{COOKIE_LEN, Cookie};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use rand_chacha::rand_core::Rng;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long one secret makes cookies; a cookie is taken for this long to twice this long.
pub(crate) const SECRET_LIFETIME: Duration = Duration::from_secs(120);

/// Makes and checks cookies without remembering whom they were made for.
pub(crate) struct CookieJar {
    secrets: Option<Secrets>,
}

struct Secrets {
    since: Instant,
    current: Key,
    previous: Option<Key>,
}

impl CookieJar {
    pub(crate) fn new() -> Self {
        Self { secrets: None }
    }

    /// The cookie of an address and port.
    pub(crate) fn bake(&mut self, now: Instant, rng: &mut impl Rng, address: SocketAddr) -> Cookie {
        cookie(&self.renew(now, rng).current, address)
    }

    /// True when `cookie` was made for this address and port, by the present or the last secret.
    pub(crate) fn accepts(&mut self, now: Instant, rng: &mut impl Rng, address: SocketAddr, sent: &Cookie) -> bool {
        let secrets = self.renew(now, rng);
        let fits = |key: &Key| verify_slices_are_equal(&cookie(key, address), sent).is_ok();
        fits(&secrets.current) || secrets.previous.as_ref().is_some_and(fits)
    }

    fn renew(&mut self, now: Instant, rng: &mut impl Rng) -> &Secrets {
        let age = self.secrets.as_ref().map(|secrets| now.saturating_duration_since(secrets.since));
        let last = match age {
            Some(age) if age < SECRET_LIFETIME => None,
            Some(age) => Some(self.secrets.take().filter(|_| age < 2 * SECRET_LIFETIME).map(|old| old.current)),
            None => Some(None),
        };
        if let Some(previous) = last {
            let mut secret = Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut *secret);
            self.secrets = Some(Secrets { since: now, current: Key::new(HMAC_SHA256, &*secret), previous });
        }
        self.secrets.as_ref().expect("made above when there was none")
    }
}

fn cookie(key: &Key, address: SocketAddr) -> Cookie {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut message = [0; 18];
    message[..16].copy_from_slice(&ip.octets());
    message[16..].copy_from_slice(&address.port().to_be_bytes());
    let mut cookie = [0; COOKIE_LEN];
    cookie.copy_from_slice(&sign(key, &message).as_ref()[..COOKIE_LEN]);
    cookie
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn a_cookie_is_bound_to_address_port_and_time() {
        let (start, mut rng, mut jar) = (Instant::now(), ChaCha20Rng::from_seed([1; 32]), CookieJar::new());
        let at = |seconds| start + Duration::from_secs(seconds);
        let address = SocketAddr::from(([192, 0, 2, 1], 1000));
        let cookie = jar.bake(at(0), &mut rng, address);
        assert!(jar.accepts(at(119), &mut rng, address, &cookie));
        assert!(!jar.accepts(at(119), &mut rng, SocketAddr::from(([192, 0, 2, 1], 1001)), &cookie));
        assert!(!jar.accepts(at(119), &mut rng, SocketAddr::from(([192, 0, 2, 2], 1000)), &cookie));
        assert!(!jar.accepts(at(119), &mut rng, address, &[0; 16]));
        assert!(jar.accepts(at(125), &mut rng, address, &cookie), "the last secret counts");
        assert!(!jar.accepts(at(250), &mut rng, address, &cookie), "the one before does not");
        let cookie = jar.bake(at(300), &mut rng, address);
        assert!(!jar.accepts(at(1000), &mut rng, address, &cookie), "nor a last one that is hours old");
    }
}
